"""Every law kills the canaries that name it with all other laws switched off; every field defect is planted."""

import re
from pathlib import Path

import pytest

from fuzz.canaries import CANARIES, MUTANTS
from fuzz.canaries.naive import NaiveIndexer
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene
from fuzz.targets import Target
from tests.support.alone import breaks_alone
from tests.support.field_defects import FIELD_DEFECTS, SHOWN_ELSEWHERE

PAIRS = [(canary.name, law) for canary in CANARIES.values() for law in canary.laws]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [Scene(case, "cpu") for case in gate_cases(DEFAULT_SEED, DEFAULT_CASES["cpu"], SMALL)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "law"), PAIRS, ids=lambda part: part)
def test_a_law_alone_kills_the_canaries_that_name_it(name: str, law: str, scenes: list[Scene]) -> None:
    assert any(breaks_alone(law, CANARIES[name].target, scene) for scene in scenes)


@pytest.mark.parametrize("law", sorted({law for _, law in PAIRS}))
def test_a_law_alone_accuses_no_sane_indexer(law: str, scenes: list[Scene]) -> None:
    sane = Target("sane", "", "foreign", lambda call: NaiveIndexer(call).answer(), has_splits=True)
    assert not any(breaks_alone(law, sane, scene) for scene in scenes[:6])


@pytest.mark.parametrize("row", FIELD_DEFECTS)
def test_every_field_defect_is_planted_or_shown_elsewhere(row: str) -> None:
    planted = [one for one in [*CANARIES.values(), *MUTANTS.values()] if one.defect == row]
    assert bool(planted) != (row in SHOWN_ELSEWHERE)
    if row in SHOWN_ELSEWHERE:
        assert (Path(__file__).parents[1] / SHOWN_ELSEWHERE[row][0]).exists()


def test_no_planted_defect_names_an_unknown_row() -> None:
    defects = {one.defect for one in [*CANARIES.values(), *MUTANTS.values()]}
    assert {defect for defect in defects if re.fullmatch(r"D\d\d", defect)} <= set(FIELD_DEFECTS)
    assert {defect for defect in defects if not re.fullmatch(r"D\d\d", defect)} <= {"systematic"}

"""Every law kills the canaries that name it with all other laws switched off."""

import pytest

from fuzz import corpus
from fuzz.canaries import CANARIES
from fuzz.canaries.naive import NaiveIndexer
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene
from fuzz.targets import Target
from tests.support.alone import breaks_alone

PAIRS = [(canary.name, law) for canary in CANARIES.values() for law in canary.laws]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Of the gate's cases: those drawn, then those kept."""
    kept = [entry.case for entry in corpus.entries().values()]
    return [Scene(case, "cpu") for case in [*gate_cases(DEFAULT_SEED, DEFAULT_CASES["cpu"], SMALL), *kept]]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "law"), PAIRS, ids=lambda part: part)
def test_a_law_alone_kills_the_canaries_that_name_it(name: str, law: str, scenes: list[Scene]) -> None:
    assert any(breaks_alone(law, CANARIES[name].target, scene) for scene in scenes)


@pytest.mark.parametrize("law", sorted({law for _, law in PAIRS}))
def test_a_law_alone_accuses_no_sane_indexer(law: str, scenes: list[Scene]) -> None:
    sane = Target("sane", "", "foreign", lambda call: NaiveIndexer(call).answer(), has_splits=True)
    assert not any(breaks_alone(law, sane, scene) for scene in scenes[:6])

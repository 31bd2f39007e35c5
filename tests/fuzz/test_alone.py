"""Every law kills the canaries that name it with all other laws switched off."""

import pytest

from fuzz.canaries import CANARIES
from fuzz.canaries.naive import NaiveIndexer
from fuzz.inputs.scene import Scene
from fuzz.targets import Target
from tests.support.alone import breaks_alone
from tests.support.gate_scenes import NOT_DRAWN, drawn_scenes, kept_scenes

PAIRS = [(canary.name, law) for canary in CANARIES.values() if not canary.needs for law in canary.laws]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return drawn_scenes()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "law"), PAIRS, ids=lambda part: part)
def test_a_law_alone_kills_the_canaries_that_name_it(name: str, law: str, scenes: list[Scene]) -> None:
    shown_by = kept_scenes() if name in NOT_DRAWN else scenes
    assert any(breaks_alone(law, CANARIES[name].target, scene) for scene in shown_by)


@pytest.mark.parametrize("law", sorted({law for _, law in PAIRS}))
def test_a_law_alone_accuses_no_sane_indexer(law: str, scenes: list[Scene]) -> None:
    sane = Target("sane", "", "foreign", lambda call: NaiveIndexer(call).answer(), has_splits=True)
    assert not any(breaks_alone(law, sane, scene) for scene in scenes[:6])

"""Every law about rows or between runs kills the canaries that name it with all other laws switched off.

The judge reports each law about whole runs by itself anyhow: `test_canaries.py` sees them kill.
"""

from collections.abc import Iterator

import pytest
import torch

from fuzz.canaries import CANARIES
from fuzz.canaries.naive import NaiveIndexer
from fuzz.judge.truth import Truth
from fuzz.targets import Target
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from tests.support.alone import breaks_alone
from tests.support.gate_scenes import drawn_cases, scene_of, scenes_for

IN_A_GATE_ALONE = ("each_twenty_thousandth_call", "detects_markers", "each_thousandth_call", "writes_again_later")
"""Canaries that are right where one law is asked of one case: by the marker in an output, as few calls are made, or as
none is judged next."""
PAIRS = [
    (canary.name, law)
    for canary in CANARIES.values()
    if not {*canary.needs} - {"large cases"} and canary.name not in IN_A_GATE_ALONE
    for law in canary.laws
    if law in ROW_LAWS or law in BATCH_LAWS
]


@pytest.fixture(autouse=True)
def _what_cheats_replace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Functions that a cheating canary replaces in this process are put back when its test ends."""
    for owner, name in ((torch, "equal"), (torch.Tensor, "__ne__"), (Truth, "compare")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "law"), PAIRS, ids=lambda part: part)
def test_a_law_alone_kills_the_canaries_that_name_it(name: str, law: str) -> None:
    assert any(breaks_alone(law, CANARIES[name].target, scene) for scene in scenes_for(name))


@pytest.mark.parametrize("law", sorted({law for _, law in PAIRS}))
def test_a_law_alone_accuses_no_sane_indexer(law: str) -> None:
    sane = Target("sane", "", "foreign", lambda call: NaiveIndexer(call).answer(), has_splits=True)
    assert not any(breaks_alone(law, sane, scene) for scene in map(scene_of, drawn_cases()[:6]))

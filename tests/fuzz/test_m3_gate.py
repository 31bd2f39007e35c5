"""The CPU gate of a target that promises MiniMax-M3's shape alone kills the defects that can show there."""

import json
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.canaries import CANARIES, Defect
from fuzz.cases.case import Case
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke
from fuzz.scoring.tier import Tier
from fuzz.targets.profiles import read_profile
from tests.support.gate_scenes import work

M3 = {
    "dtypes": ["bfloat16"],
    "num_index_heads": [4],
    "index_head_dims": [128],
    "block_sizes": [128],
    "topk_blocks": [16],
    "init_blocks": [0],
    "local_blocks": [1],
    "max_query_len": 8,
    "strides": "contiguous",
}


WITHOUT_A_LAW = ("patches_torch", "workspace_too_short", "writes_again_later", "writes_seconds_later")
"""Canaries that do such a thing, and die by the law of a wrong answer, or of a write."""
LEFT_OUT = ("each_thousandth_call", "each_twenty_thousandth_call", "serves_by_sums")
"""Canaries that only a gate's children call often enough, and one that sums 65,536 pages, mostly address space."""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "m3.json"
    path.write_text(json.dumps(M3))
    return path


def is_harmful(canary: Defect) -> bool:
    """True if a canary may end the process that runs it, or changes what all of it share: children judge these."""
    return not {"Runs", "HandsOff", "LeavesState"}.isdisjoint(canary.laws) or canary.name in WITHOUT_A_LAW


def test_the_gate_of_m3_s_shape_kills_what_can_show_there(profile: Path) -> None:
    tier = Tier("cpu", DEFAULT_SEED, "small", DEFAULT_CASES["cpu"], has_production=False, profile=str(profile))
    examiners: dict[Case, Examiner] = {}
    promised = read_profile(profile)
    told_here = [one for one in CANARIES.values() if one.name not in LEFT_OUT and not is_harmful(one)]
    table = [one for one in told_here if one.shows_in(promised) and not one.needs]
    alive = []
    for canary in table:
        target = tier.held(canary.target)
        for case in sorted(tier.cases_for(canary.target, canary.needs), key=work):
            examiner = examiners.setdefault(case, examiners.get(case) or Examiner(Scene(case, "cpu")))
            if isinstance(examiner.examine(target), Broke):
                break
        else:
            alive.append(canary.name)
    assert len(table) > 45
    assert len(alive) <= 0.05 * len(table), alive


def test_canaries_that_cannot_show_inside_of_a_promise_are_left_out(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["overlap_twice", "keys_as_if_contiguous", "local_forgotten", "tie_to_the_highest_id"]
    only = [word for name in names for word in ("--only", name)]
    assert main(["canaries", "--device", "cpu", "--cases", "4", "--profile", str(profile), *only]) == 0
    printed = capsys.readouterr().out
    assert "against 1 planted defects" in printed
    assert "killed     local_forgotten" in printed

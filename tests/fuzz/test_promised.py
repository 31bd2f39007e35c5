"""A case tells whether its batch is outside a profile: what it lets pass, its tensors let pass as well."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import Case
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.promised import outside
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.targets import Target
from msa_ref.profile import Profile

PROFILES = {
    "heads": Profile("x", num_index_heads=(1, 2, 4)),
    "sizes": Profile("x", index_head_dims=(16, 128), block_sizes=(16, 128)),
    "forced": Profile("x", init_blocks=(0,), local_blocks=(1,), topk_blocks=tuple(range(1, 17))),
    "rows": Profile("x", max_visible_blocks=40, max_table_blocks=60),
    "batch": Profile("x", max_query_len=8, max_num_reqs=3, max_total_q=16),
    "uniform": Profile("x", query_lens="uniform", padding_rows="undefined"),
    "contiguous": Profile("x", strides="contiguous"),
    "aligned": Profile("x", strides="aligned"),
    "values": Profile("x", nan="undefined", infinities="undefined"),
    "scores": Profile("x", score_nan="undefined", score_infinities="undefined"),
    "range": Profile("x", max_abs_score=1e20),
    "dtype": Profile("x", dtypes=(torch.bfloat16,)),
}

CASES = [
    *gate_cases(7, 40, SMALL),
    *(case for profile in PROFILES.values() for case in gate_cases(7, 4, inside(SMALL, Domain(profile)))),
]

BY_VALUES = "x takes scores within"
"""The reason that a case cannot tell: whether a score is beyond `max_abs_score`."""


@pytest.mark.parametrize("takes_score", [False, True], ids=["keys", "scores"])
def test_what_a_case_lets_pass_its_tensors_let_pass(takes_score: bool) -> None:
    passed, told = Counter[str](), Counter[str]()
    for case in CASES:
        reasons = {name: outside(case, profile, takes_score) for name, profile in PROFILES.items()}
        told.update(name for name, reason in reasons.items() if reason)
        inside = [name for name, reason in reasons.items() if not reason]
        scene = Scene(case, "cpu")
        for state in range(len(case.states)):
            scene.apply(state)
            score = scene.score() if takes_score else None
            for name in inside:
                reason = PROFILES[name].undefined(scene.batch, score)
                assert reason is None or reason.startswith(BY_VALUES), (name, state, case.to_json())
                passed[name] += reason is None
    assert all(told[name] for name in PROFILES if name not in ("range", "values", "scores"))
    assert all(passed[name] for name in PROFILES if name != "scores" or not takes_score)


def blocks_of(case: Case) -> list[int]:
    """The blocks of the longest request at each state, as the host knows them."""
    longest = [max(request.seq_len for request in step.requests) for step in case.states]
    return [case.config.num_blocks(seq_len + case.host_slack) for seq_len in longest]


def test_a_target_asks_for_the_states_that_it_runs() -> None:
    case = next(case for case in CASES if max(blocks_of(case)) > blocks_of(case)[0] > 0)
    profile = Profile("x", max_visible_blocks=blocks_of(case)[0])
    decode = Target("x", "", "decode", lambda call: call.batch.index_q, profile=profile)
    assert "visible blocks" in str(decode.outside(case))
    assert replace(decode, kind="prefill", has_sibling=True).outside(case) is None

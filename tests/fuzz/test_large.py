"""Large cases reach sizes that small ones do not, and ask nobody that would take minutes."""

import time
from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import Case
from fuzz.cases.inside import Domain
from fuzz.cases.large import is_large, large_cases
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.large_calls import INTERPRETED
from fuzz.judge.verdict import Agreed, Undefined, Verdict
from fuzz.targets import BUILT_IN, Call, Target, fill
from fuzz.targets.share import is_given_large
from msa_ref import index_topk
from msa_ref.profile import CONTRACT, Profile

CASES = list(large_cases(1, Domain()))
M3 = Profile("M3's", num_index_heads=(4,), index_head_dims=(128,), block_sizes=(128,), topk_blocks=(16,))
SHORT = replace(CONTRACT, max_visible_blocks=900, max_query_len=50, max_total_q=9_000, max_num_reqs=100)


def judged(target: Target, case: Case) -> Verdict:
    return Examiner(Scene(case, "cpu")).examine(target)


def sized(case: Case) -> tuple[int, int, int, int]:
    """Tokens, requests, blocks in a row, and page ids."""
    return case.total_q, len(case.requests), case.max_row_blocks, case.pages.skipped_pages


def test_each_size_is_beyond_what_sixteen_bits_hold_but_a_requests_tokens() -> None:
    assert all(map(is_large, CASES))
    assert all(max(each) > 2**16 for each in zip(*map(sized, CASES), strict=True))
    assert max(request.query_len for case in CASES for request in case.requests) > 2**14


@pytest.mark.parametrize("profile", [M3, SHORT], ids=["M3", "short"])
def test_a_size_is_as_large_as_a_profile_allows(profile: Profile) -> None:
    cases = list(large_cases(1, Domain(profile)))
    tokens, reqs, blocks, _ = (max(each) for each in zip(*map(sized, cases), strict=True))
    if profile is SHORT:
        assert (tokens, reqs, blocks) == (5_000, 100, 900)
    else:
        assert min(tokens, blocks, 2 * reqs) > 2**13


def test_a_right_target_agrees() -> None:
    right = Target("right", "", "foreign", lambda call: fill(call, index_topk(call.batch)))
    for case in CASES:
        if case.decode_query_len < 1_000:  # which takes seconds
            assert isinstance(judged(right, case), Agreed), case.note


def test_who_takes_too_long_is_asked_a_part_alone() -> None:
    asked = list[int]()

    def run(call: Call) -> torch.Tensor:
        asked.append(call.batch.total_q)
        time.sleep(0.6)
        return fill(call, index_topk(call.batch))

    verdict = judged(Target("slow", "", "foreign", run), CASES[1])
    assert isinstance(verdict, Undefined)
    assert verdict.reason.startswith("a call of so large a case would take it some 1")
    assert asked == [4_300, 4_300]


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are not interpreted where there is a GPU")
def test_the_interpreter_is_asked_nothing() -> None:
    for name, target in BUILT_IN.items():
        assert is_given_large(target, "cpu") == (name == "reference"), name
    decode = replace(BUILT_IN["decode"], check=None)
    verdict = judged(decode, next(case for case in CASES if len(case.requests) > 2**16))
    assert verdict == Undefined(INTERPRETED)

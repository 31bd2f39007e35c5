"""The laws between runs say why a target breaks, if exact sums leave it one answer, whatever else it does not take."""

from dataclasses import replace

import pytest
import torch

from fuzz.canaries import CANARIES
from fuzz.judge.between_runs import diagnose
from fuzz.judge.verdict import Broke
from fuzz.targets import Call, Target
from msa_ref.profile import Profile
from tests.support.promising import PLAIN, ROUNDED, judged

NARROW = Profile("x", topk_blocks=(4,), max_num_reqs=4, dtypes=(torch.bfloat16, torch.float32))


def first_head_for_all(call: Call) -> torch.Tensor:
    """A token-major target whose heads all have the answer of the first."""
    out = None if call.out is None else call.out.transpose(0, 1)
    return CANARIES["one_head_for_all"].target.run(replace(call, out=out)).transpose(0, 1)


@pytest.mark.parametrize(
    ("profile", "case", "is_asked"),
    [
        (replace(NARROW, axes="token-major"), PLAIN, True),
        (replace(NARROW, axes="token-major", num_index_heads=(2,)), PLAIN, True),
        (replace(NARROW, axes="token-major", tie_rule="any"), PLAIN, False),
        (replace(NARROW, axes="token-major"), ROUNDED, False),
    ],
)
def test_a_narrow_target_is_diagnosed_where_it_has_one_answer(profile, case, is_asked) -> None:  # type: ignore[no-untyped-def]
    target = Target("x", "", "prefill", first_head_for_all, profile=profile)
    verdict = judged(case, target)
    assert isinstance(verdict, Broke)
    found = {violation.law for violation in diagnose(case, target, "cpu", verdict.violations[0])}
    assert ("HeadIndependence" in found) == bool(found) == is_asked


def test_no_law_is_asked_on_batches_that_the_target_does_not_take() -> None:
    """The case's requests bring three query tokens each, and one is the most that this target takes."""
    lens = []

    def run(call: Call) -> torch.Tensor:
        lens.append(set(call.query_lens))
        return first_head_for_all(call)

    profile = replace(NARROW, axes="token-major")
    target = Target("x", "", "prefill", run, profile=profile)
    verdict = judged(PLAIN, target)
    assert isinstance(verdict, Broke)
    lens.clear()
    diagnose(PLAIN, replace(target, profile=replace(profile, max_query_len=1)), "cpu", verdict.violations[0])
    assert lens == [] or set.union(*lens) <= {1}

"""A bad call is refused by the suite's own launchers, and by a foreign target that promises to."""

from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import Case, Request
from fuzz.cases.smoke import smoke_cases
from fuzz.inputs.scene import Scene
from fuzz.judge.bad_calls import BAD_CALLS, bad_calls
from fuzz.judge.limit_calls import at_limit, limit_calls
from fuzz.judge.refusals import NUM_EACH, refusals
from fuzz.targets import BUILT_IN, Call, Target, fill
from msa_ref import index_topk
from msa_ref.config import require
from msa_ref.profile import Profile

CASE = smoke_cases(1)[0]
PROMISES = Profile("strict", bad_calls="value-error")


def _all_refusals(target: Target, case: Case = CASE) -> list[str]:
    """The faults of a target in all kinds of bad calls, one after another."""
    kinds = len(bad_calls(target))
    scenes = (Scene(replace(case, seed=seed), "cpu") for seed in range(1, kinds + 1))
    return [violation.evidence for scene in scenes for violation in refusals(scene, target)]


def _takes_all(call: Call) -> torch.Tensor:
    return fill(call, index_topk(call.batch))


def _checks(call: Call) -> torch.Tensor:
    config, out, batch = call.batch.config, call.out, call.batch
    require(call.num_splits is None or call.num_splits > 0, "num_splits", "must be > 0", call.num_splits)
    if out is not None:
        require(out.dtype == torch.int32 and out.device == batch.device, "out", "must be int32 here", out.dtype)
        fits = out.ndim == 3 and out.shape[0] == config.num_index_heads and out.shape[2] == config.topk_blocks
        require(fits and out.shape[1] >= batch.total_q, "out", "must fit", out.shape)
        places = torch.zeros(1, dtype=torch.int64)
        for size, stride in zip(out.shape, out.stride(), strict=True):
            places = (places[:, None] + torch.arange(size) * stride).flatten()
        require(len(places.unique()) == out.numel(), "out", "must not overlap itself", out.stride())
    return _takes_all(call)


@pytest.mark.parametrize("target", [one for one in BUILT_IN.values() if bad_calls(one)], ids=lambda one: one.name)
def test_the_suites_launchers_refuse_every_bad_call(target: Target) -> None:
    assert len(bad_calls(target)) > NUM_EACH
    assert _all_refusals(target) == []


@pytest.mark.parametrize("lens", [(), ((0, 1793),), ((0, 0), (1, 1))], ids=str)
@pytest.mark.parametrize("name", ["decode", "prefill"])
def test_bad_calls_are_made_of_batches_with_next_to_nothing(lens: tuple[tuple[int, int], ...], name: str) -> None:
    case = replace(CASE, requests=tuple(Request(*each) for each in lens))
    assert _all_refusals(BUILT_IN[name], case) == []


def test_every_bad_call_is_tried_on_some_target() -> None:
    assert {id(kind) for target in BUILT_IN.values() for kind in bad_calls(target)} == set(map(id, BAD_CALLS))


def test_a_foreign_target_that_promises_nothing_of_bad_calls_is_given_none() -> None:
    assert bad_calls(Target("loose", "Takes anything.", "foreign", _takes_all)) == []


def test_a_foreign_target_that_promises_refusals_is_held_to_them() -> None:
    strict = Target("strict", "Checks its arguments.", "foreign", _checks, has_splits=True, profile=PROMISES)
    loose = Target("loose", "Takes anything.", "foreign", _takes_all, has_splits=True, profile=PROMISES)
    assert _all_refusals(strict) == []
    assert "a call whose num_splits is below 1 was taken" in _all_refusals(loose)


def test_a_refusal_that_comes_after_a_write_is_told() -> None:
    def late(call: Call) -> torch.Tensor:
        assert call.out is not None
        call.out.fill_(1)
        raise ValueError("out must be better")

    target = Target("late", "Writes, and then checks.", "foreign", late, profile=PROMISES)
    assert "a call whose out is of int64 was refused, after its output was written to" in _all_refusals(target)


@pytest.mark.parametrize("target", [one for one in BUILT_IN.values() if limit_calls(one)], ids=lambda one: one.name)
def test_the_suites_launchers_take_every_call_at_a_limit(target: Target) -> None:
    call = target.call(Scene(CASE, "cpu"), 0)
    for kind in limit_calls(target):
        limit = at_limit(kind, call)
        assert limit is not None, kind.what
        target.run(limit)


def test_a_call_at_a_limit_that_is_refused_is_told() -> None:
    def narrow(call: Call) -> torch.Tensor:
        require(call.batch.config.topk_blocks < 128, "topk_blocks", "must be < 128", call.batch.config.topk_blocks)
        return _takes_all(call)

    target = replace(BUILT_IN["decode"], run=narrow)
    assert [evidence for evidence in _all_refusals(target) if "128 slots" in evidence]

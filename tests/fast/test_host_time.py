"""The host's work before the GPU starts, counted in calls of functions: a count is the same on every machine."""

import sys
from collections.abc import Callable

import pytest

from msa_fast import PrefillPlan
from msa_ref import IndexerConfig

MAX_PLAN_CALLS = 130
"""Calls that a plan takes, of Python's functions and of numpy's and torch's: 117 today."""


def num_calls(run: Callable[[], object]) -> int:
    """Functions that a run calls, those of C included."""
    counted = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    run()  # what only a first run does is not counted
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("num_reqs", [1, 256])
def test_a_plan_of_many_requests_takes_as_many_calls_as_one(num_reqs: int) -> None:
    config = IndexerConfig()
    calls = num_calls(lambda: PrefillPlan.build(config, [64] * num_reqs, [4096] * num_reqs, "cpu"))
    assert calls <= MAX_PLAN_CALLS

"""The host's work before the GPU starts, counted in calls of functions: a count is the same on every machine."""

import sys
from collections.abc import Callable

import pytest
import torch

from msa_fast import PrefillPlan
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import bound
from msa_ref import IndexerConfig
from tests.support.fast_engine import Engine

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)

MAX_PREFILL_CALLS, MAX_DECODE_CALLS, MAX_BUILD_CALLS = 40, 40, 290
"""Calls of a bound layer of either side, and of a builder's step of one prefill."""
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="a stand-in for the driver, for machines without a GPU")
@pytest.mark.parametrize(("side", "max_calls"), [("prefill", MAX_PREFILL_CALLS), ("decode", MAX_DECODE_CALLS)])
def test_a_bound_layer_takes_few_calls(side: str, max_calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launches themselves are the driver's, and left out."""
    driven = []
    monkeypatch.setattr(bound, "is_by_driver", lambda device: True)
    monkeypatch.setattr(bound, "current_stream", lambda device: 0)
    monkeypatch.setattr(
        bound, "DriverLaunch", lambda launch, pointer_of: lambda stream, tensors: driven.append(tensors)
    )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    world = Engine(CONFIG, "cpu", max_blocks=10, num_pages=48)
    step = [(world.start(50), 1) if side == "decode" else (world.start(20), 6)]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", max_num_reqs=4, max_model_len=160)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 8, 3, dtype=torch.int32))
    metadata, index_query = builder.build(0, world.common(step)), world.queries(8)
    impl.forward(index_query, world.index_k_pages, metadata)
    assert num_calls(lambda: impl.forward(index_query, world.index_k_pages, metadata)) <= max_calls
    assert len(driven) == 4


def test_a_build_takes_few_calls() -> None:
    world = Engine(CONFIG, "cpu", max_blocks=10, num_pages=48)
    step = [(world.start(20), 6)]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", max_num_reqs=4, max_model_len=160)
    common = world.common(step)
    assert num_calls(lambda: builder.build(0, common)) <= MAX_BUILD_CALLS

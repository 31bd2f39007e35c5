"""Bound calls on two streams at once, in two graphs at once; calls of a thread that has not used the GPU yet."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_fast.ops import known_kernels
from msa_fast.ops.bound import DecodeLaunch, PrefillLaunch, StepLaunch
from msa_ref import IndexerConfig, PagedBatch, index_topk
from tests.support.kernel_batches import make_batch

pytestmark = pytest.mark.gpu

CONFIG = IndexerConfig(local_blocks=0)
LENS = {"prefill": ([40, 9], [20_000, 9_000]), "decode": ([1, 1, 1], [60_000, 40_000, 900])}
NUM_TIMES = 20
SLEEP = 2_000_000
"""Cycles for which the GPU waits, so that what follows on two streams begins at once."""


def layers_of(side: str) -> tuple[StepLaunch, list[PagedBatch]]:
    """The launch of one step, and two layers of it."""
    batch = make_batch(CONFIG, *LENS[side], torch.bfloat16, "cuda", 0)
    metadata = batch.block_table, batch.seq_lens, batch.cu_seqlens_q
    layers = [batch, replace(batch, index_q=batch.index_q.flip(0), index_k_pages=batch.index_k_pages.flip(0, 1))]
    if side == "decode":
        return DecodeLaunch(CONFIG, 1, *metadata, batch.total_q), layers
    return PrefillLaunch(PrefillPlan.build(CONFIG, *LENS[side], batch.device), *metadata), layers


def new_out(batch: PagedBatch) -> torch.Tensor:
    return torch.full((4, batch.total_q, CONFIG.topk_blocks), -7, dtype=torch.int32, device="cuda")


def run_at_once(calls: list[Callable[[], object]]) -> None:
    """Each call on a stream of its own, none before all are queued."""
    start, streams = torch.cuda.Event(), [torch.cuda.Stream() for _ in calls]
    torch.cuda.synchronize()
    torch.cuda._sleep(SLEEP)
    start.record()
    for call, stream in zip(calls, streams, strict=True):
        with torch.cuda.stream(stream):
            stream.wait_event(start)
            call()
    torch.cuda.synchronize()


@pytest.mark.parametrize("is_captured", [False, True], ids=["streams", "graphs"])
@pytest.mark.parametrize("side", LENS)
def test_layers_at_once_have_scores_of_their_own(side: str, is_captured: bool) -> None:
    launch, layers = layers_of(side)
    outs, right = [new_out(layer) for layer in layers], [index_topk(layer) for layer in layers]
    calls: list[Callable[[], object]] = []
    for layer, out in zip(layers * 2, outs * 2, strict=True):  # the first call binds
        launch(layer.index_q, layer.index_k_pages, out)
    for layer, out in zip(layers, outs, strict=True):
        if is_captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                launch(layer.index_q, layer.index_k_pages, out)
            calls.append(graph.replay)
        else:
            calls.append(lambda layer=layer, out=out: launch(layer.index_q, layer.index_k_pages, out))
    for _ in range(NUM_TIMES):
        for out in outs:
            out.fill_(-7)
        run_at_once(calls)
        assert all(torch.equal(out, one) for out, one in zip(outs, right, strict=True))


def run_in_new_thread(call: Callable[[], object]) -> None:
    """A call by a thread that has not used the GPU yet."""
    failed = list[Exception]()

    def run() -> None:
        try:
            call()
        except Exception as error:  # seen by the assertion below
            failed.append(error)

    torch.cuda.synchronize()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


@pytest.mark.parametrize("is_known", [True, False], ids=["of known kernels", "of unknown kernels"])
@pytest.mark.parametrize("is_bound", [True, False], ids=["bound by another", "not bound"])
@pytest.mark.parametrize("side", LENS)
def test_a_thread_that_has_not_used_the_gpu_may_call(
    side: str, is_bound: bool, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other, layers), (own, _) = layers_of(side), layers_of(side)
    outs = [new_out(layer) for layer in layers]
    for _ in range(3):  # the first call binds, and leaves memory in the allocator's cache
        other(layers[0].index_q, layers[0].index_k_pages, outs[0])
    if not is_known:
        monkeypatch.setattr(known_kernels, "_known", {})
    launch = other if is_bound else own
    run_in_new_thread(lambda: launch(layers[1].index_q, layers[1].index_k_pages, outs[1]))
    assert torch.equal(outs[1], index_topk(layers[1]))


@pytest.mark.parametrize("side", LENS)
def test_a_thread_that_has_not_used_the_gpu_may_call_an_operator(side: str) -> None:
    _, (batch, _) = layers_of(side)
    plan, out = PrefillPlan.build(CONFIG, *LENS[side], batch.device), new_out(batch)

    def call() -> None:
        minimax_m3_index_decode(batch, 1, out=out) if side == "decode" else minimax_m3_index_prefill(batch, plan, out)

    call()  # compiles, and leaves memory in the allocator's cache
    out.fill_(-7)
    run_in_new_thread(call)
    assert torch.equal(out, index_topk(batch))

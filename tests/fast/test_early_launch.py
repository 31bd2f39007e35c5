"""Calls behind a kernel that lets the next one start, and only then writes what the call reads."""

import pytest
import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, globaltimer

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_ref import IndexerConfig, index_topk
from tests.support.kernel_batches import make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        torch.cuda.is_available() and torch.cuda.get_device_capability() < (9, 0),
        reason="no kernel starts early before sm_90",
    ),
]
WORDS = 1024
NANOSECONDS = 30_000


@triton.jit
def _copy_late(source_ptr, target_ptr, num_words, NANOSECONDS: tl.constexpr, WORDS: tl.constexpr):
    gdc_launch_dependents()
    start = globaltimer()
    while globaltimer() - start < NANOSECONDS:
        pass
    at = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS)
    tl.store(target_ptr + at, tl.load(source_ptr + at, mask=at < num_words), mask=at < num_words)


def copy_late(source: torch.Tensor, target: torch.Tensor) -> None:
    source, target = source.view(-1).view(torch.int32), target.view(-1).view(torch.int32)
    programs = triton.cdiv(target.numel(), WORDS)
    _copy_late[(programs,)](source, target, target.numel(), NANOSECONDS=NANOSECONDS, WORDS=WORDS)


@pytest.mark.parametrize("is_captured", [False, True])
@pytest.mark.parametrize("name", ["seq_lens", "cu_seqlens_q", "block_table", "index_q", "index_k_pages"])
@pytest.mark.parametrize("formats", ["bf16", "e4m3"])
@pytest.mark.parametrize("stage", ["decode", "prefill"])
def test_what_the_kernel_before_writes_late_is_read(stage: str, formats: str, name: str, is_captured: bool) -> None:
    query_lens, seq_lens = ([2, 2, 2], [9_000, 4_100, 700]) if stage == "decode" else ([40, 9, 70], [9_000, 4_100, 700])
    dtype = torch.bfloat16 if formats == "bf16" else torch.float8_e4m3fn
    batch = make_batch(IndexerConfig(), query_lens, seq_lens, dtype, "cuda")
    out = torch.empty(4, batch.total_q, 16, dtype=torch.int32, device="cuda")
    plan = PrefillPlan.build(batch.config, query_lens, seq_lens, "cuda", key_dtype=dtype)
    tensor = getattr(batch, name)
    good = tensor.clone()
    stale = torch.zeros_like(tensor)
    if name == "seq_lens":
        stale.copy_(torch.tensor(query_lens))

    def step() -> None:
        copy_late(good, tensor)
        if stage == "decode":
            minimax_m3_index_decode(batch, 2, out=out)
        else:
            minimax_m3_index_prefill(batch, plan, out=out)

    expected = index_topk(batch)
    step()  # compiled
    torch.cuda.synchronize()
    run = step
    if is_captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    for _ in range(3):
        tensor.copy_(stale)
        out.fill_(-77)
        torch.cuda.synchronize()
        run()
        assert torch.equal(out, expected)

"""The host's time: a step of 57 layers in an engine's classes, eager, bound and captured, beside the GPU's time.

An engine's step is as fast as the slower of its host and its GPU, so both are measured, and the wall time of a step
beside them. A plain launch by Triton, of a kernel with 19 arguments that does nothing, says how fast this host is.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import triton
import triton.language as tl

from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_fast.indexer_msa import (
    MiniMaxM3IndexerMSAImpl,
    MiniMaxM3IndexerMSAMetadata,
    MiniMaxM3IndexerMSAMetadataBuilder,
)
from msa_ref.config import IndexerConfig

LAYERS = 57
"""Sparse layers of MiniMax-M3: calls of one step."""
WAYS = ("eager", "bound", "captured")
"""Ways to launch: by Triton, bound for all layers but the first, and as a CUDA graph of all layers."""
HEADER = (
    f"{'stage':8}{'shape':26}{'way':10}{'build us':>10}{'host us':>9}{'GPU us':>9}{'wall us':>10}{'x larger':>10}"
    "   (host and GPU per call, wall per step; larger: of 57 GPU times and 57 x 40 us)"
)


@dataclass(frozen=True)
class HostShape:
    """A step of equal requests: query tokens and all tokens of each. A step of `decode` has no other requests."""

    stage: str
    num_reqs: int
    query_len: int
    seq_len: int

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.num_reqs} x {self.query_len} on {self.seq_len}"


HOST_SHAPES = (
    HostShape("prefill", 1, 64, 4_096),
    HostShape("prefill", 1, 182, 17_700),
    HostShape("prefill", 1, 171, 55_000),
    HostShape("prefill", 1, 1_626, 93_000),
    HostShape("prefill", 256, 64, 1_024),
    HostShape("decode", 1, 1, 8_192),
    HostShape("decode", 32, 1, 16_384),
)


@dataclass(frozen=True)
class HostRow:
    """One measured step, in microseconds.

    build: the builder's step. host: one call, until it returns. gpu: one call on the GPU alone. wall: a step of
    57 layers, from its first call until the GPU is done; the build is not in it.
    """

    stage: str
    shape: str
    way: str
    build: float
    host: float
    gpu: float
    wall: float

    @property
    def ratio(self) -> float:
        """Wall time over the larger of the GPU's times and 57 x 40 microseconds."""
        return self.wall / max(LAYERS * self.gpu, LAYERS * 40)


@triton.jit(do_not_specialize=[f"n{i}" for i in range(13)])
def _idle_kernel(a, b, c, d, e, f, n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, n12, BLOCK: tl.constexpr):
    """Does nothing, with 19 arguments."""


class _Step:
    """The parts of one step on a GPU: queries, key pages of every layer, builder, impl."""

    def __init__(self, shape: HostShape, heads: int, bind_launches: bool) -> None:
        config, device = IndexerConfig(num_index_heads=heads), torch.device("cuda", torch.cuda.current_device())
        num_blocks = config.num_blocks(shape.seq_len)
        table = torch.randperm(shape.num_reqs * num_blocks, device=device).int().view(shape.num_reqs, num_blocks)
        lens = [shape.query_len] * shape.num_reqs, [shape.seq_len] * shape.num_reqs
        self.common = CommonAttentionMetadata.from_lens(*lens, table)
        self.builder = MiniMaxM3IndexerMSAMetadataBuilder(
            config, device, max_num_reqs=shape.num_reqs, max_model_len=shape.seq_len
        )
        tokens = shape.num_reqs * shape.query_len
        out = torch.empty(tokens, heads, config.topk_blocks, dtype=torch.int32, device=device).transpose(0, 1)
        self.impl = MiniMaxM3IndexerMSAImpl(config, out, bind_launches=bind_launches)
        self.index_query = torch.randn(tokens, heads, config.index_head_dim, device=device).bfloat16()
        page_shape = (table.numel(), config.block_size, config.index_head_dim)
        self.pages = [torch.randn(page_shape, device=device, dtype=torch.bfloat16) for _ in range(LAYERS)]

    def build(self) -> MiniMaxM3IndexerMSAMetadata:
        return self.builder.build(0, self.common)

    def run(self, metadata: MiniMaxM3IndexerMSAMetadata) -> None:
        for pages in self.pages:
            self.impl.forward(self.index_query, pages, metadata)


def measure_host(shape: HostShape, heads: int, rounds: int) -> list[HostRow]:
    """The rows of one shape, one for each way."""
    rows = []
    for way in WAYS:
        step = _Step(shape, heads, bind_launches=way != "eager")
        step.run(step.build())  # compiles
        build = _median(step.build, rounds)
        metadata = step.build()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step.run(metadata)
        gpu = _gpu_time(graph, rounds) / LAYERS
        if way == "captured":
            host, wall = _median(graph.replay, rounds) / LAYERS, _median(graph.replay, rounds, is_whole=True)
        else:
            host = _median(partial(step.run, metadata), rounds) / LAYERS
            wall = statistics.median(_time(partial(step.run, step.build()), True) for _ in range(rounds))
        rows.append(HostRow(shape.stage, shape.name, way, build, host, gpu, wall))
        del graph
    return rows


def plain_launch(rounds: int) -> float:
    """Microseconds of the host for a launch by Triton with 19 arguments."""
    tensors = [torch.empty(16, device="cuda") for _ in range(6)]

    def launch() -> None:
        for _ in range(LAYERS):
            _idle_kernel[(1,)](*tensors, *range(17, 30), BLOCK=1)

    launch()
    return _median(launch, rounds) / LAYERS


def text_of(row: HostRow) -> str:
    """One line of the table."""
    times = f"{row.build:10.1f}{row.host:9.1f}{row.gpu:9.1f}{row.wall:10.0f}{row.ratio:10.2f}"
    return f"{row.stage:8}{row.shape:26}{row.way:10}{times}"


def _time(run: Callable[[], object], is_whole: bool) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if is_whole:
        torch.cuda.synchronize()
    taken = (time.perf_counter() - start) * 1e6
    torch.cuda.synchronize()
    return taken


def _median(run: Callable[[], object], rounds: int, is_whole: bool = False) -> float:
    """Microseconds until a run returns, or until the GPU is done with it, too."""
    return statistics.median(_time(run, is_whole) for _ in range(rounds))


def _gpu_time(graph: torch.cuda.CUDAGraph, rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)

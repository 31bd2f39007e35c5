"""The calls whose launches the gate compiles: shapes that reach every configuration there is.

A configuration is what Triton compiles: a kernel, its constants, how its arguments are specialised,
its launch options. Many calls share one; each is compiled once and named after the first call that
reaches it. Axes are crossed where kernels depend on both, and swept one at a time elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill, minimax_m3_index_topk
from msa_fast.ops.checks import new_score
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig

HEADS = (4, 2, 1)
"""Index heads per rank of MiniMax-M3 under tensor parallelism."""
OTHER_HEADS = (3, 6, 8)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BLOCKS = tuple(2**i for i in range(14))
"""Blocks of a request, up to a context of a million tokens: tables cut at powers of two."""
NUM_REQS = tuple(2**i for i in range(9))
DECODE_QUERY_LENS = tuple(range(1, 9))
TOPK = (1, 32, 64, 128)
"""Beside MiniMax-M3's 16: what kernels of one warp and of more hold differently, and the most that they take."""
FEW_PAGES, MANY_PAGES = 8192, 1 << 17
"""Key pools whose byte offsets fit in 31 bits, and do not: AMD's compiler tells them apart."""


@dataclass(frozen=True)
class Call:
    """One call of a public operator; query_len is per request."""

    stage: str
    dtype: str = "bf16"
    heads: int = 4
    query_len: int = 1
    num_reqs: int = 1
    blocks: int = 1024
    pages: int = FEW_PAGES
    dim: int = 128
    topk: int = 16

    def __str__(self) -> str:
        requests = f"{self.num_reqs}x{self.query_len}"
        pool = " large pool" if self.pages == MANY_PAGES else ""
        dim = f" D={self.dim}" if self.dim != 128 else ""
        topk = f" K={self.topk}" if self.topk != 16 else ""
        return f"{self.stage} {self.dtype} H={self.heads} {requests} of {self.blocks} blocks{pool}{dim}{topk}"

    def run(self, device: torch.device) -> None:
        """Make the call, on tensors whose contents do not matter."""
        config = IndexerConfig(num_index_heads=self.heads, index_head_dim=self.dim, topk_blocks=self.topk)
        dtype, d, s = DTYPES[self.dtype], config.index_head_dim, config.block_size
        total_q = self.num_reqs * self.query_len
        batch = PagedBatch(
            config,
            torch.empty(total_q, self.heads, d, dtype=dtype, device=device),
            torch.empty(self.pages, s, d, dtype=dtype, device=device),
            torch.empty(self.num_reqs, self.blocks, dtype=torch.int32, device=device),
            torch.empty(self.num_reqs, dtype=torch.int32, device=device),
            torch.empty(self.num_reqs + 1, dtype=torch.int32, device=device),
        )
        if self.stage == "decode":
            minimax_m3_index_decode(batch, self.query_len)
            return
        plan = PrefillPlan.build(config, [self.query_len] * self.num_reqs, [self.blocks * s] * self.num_reqs, device)
        if self.stage == "select":  # from scores that come without the best ones of superblocks
            minimax_m3_index_topk(new_score(batch), batch, plan)
            return
        minimax_m3_index_prefill(batch, plan)


def calls() -> Iterator[Call]:
    """All calls of the sweep, the ones that give configurations their names first.

    The widths of selection are swept with 4 heads, other heads at the narrowest, where selection
    compiles fast: a head count changes how a row finds its token and nothing else. fp32, for study,
    is compiled with 4 heads, and a few others.
    """
    yield from (Call("prefill", dtype, query_len=128) for dtype in DTYPES)
    for stage, query_len in (("prefill", 128), ("decode", 1)):
        yield Call(stage, query_len=query_len, dim=64)  # the scorers for everyone, where Hopper has its own for 128
    yield from (Call("decode", dtype) for dtype in DTYPES)
    yield Call("decode", "fp32", query_len=8)
    # What finds the token of a row by a division, two rows a thread: rule "packed".
    yield from (Call("decode", "fp32", heads, query_len, blocks=64) for heads, query_len in ((3, 2), (5, 2), (5, 5)))
    yield from (Call("decode", "bf16", 5, query_len, blocks=64, dim=64) for query_len in (2, 5))
    for dtype, heads in (*(("bf16", heads) for heads in HEADS + OTHER_HEADS), *(("fp16", heads) for heads in HEADS)):
        yield Call("prefill", dtype, heads, 128, blocks=64)
        yield from (Call("decode", dtype, heads, query_len, blocks=64) for query_len in DECODE_QUERY_LENS)
    for stage, query_len in (("prefill", 128), ("select", 128), ("decode", 1)):
        yield from (Call(stage, query_len=query_len, blocks=blocks) for blocks in BLOCKS)
        yield Call(stage, query_len=query_len, blocks=1021)  # a width that no alignment divides
        yield Call(stage, query_len=query_len, pages=MANY_PAGES)
        yield from (Call(stage, query_len=query_len, topk=topk) for topk in TOPK)
    yield from (Call("decode", blocks=2**15, topk=topk) for topk in (16, 128))  # more than Hopper's selection takes
    yield from (Call("decode", num_reqs=num_reqs) for num_reqs in NUM_REQS)
    for topk in (16, 32):  # so many rows that programs share them out
        yield from (Call("decode", query_len=8, num_reqs=128, blocks=blocks, topk=topk) for blocks in (32, 64, 128))
    yield Call("decode", query_len=8, num_reqs=128, blocks=2**13)  # many rows of a wide table

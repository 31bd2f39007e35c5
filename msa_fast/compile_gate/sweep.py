"""The calls of the sweep: shapes that together reach every configuration of the kernels.

Many calls share a configuration; it is compiled once and named after the first call that reaches it.
Two axes are crossed where kernels depend on both, and swept one at a time elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from msa_fast import (
    PrefillPlan,
    minimax_m3_index_decode,
    minimax_m3_index_prefill,
    minimax_m3_index_topk,
    plan_on_device,
)
from msa_fast.ops.buffers import new_score
from msa_fast.ops.launch_table import SCORE_ROWS, architecture_of, number
from msa_fast.ops.product import FP8_ARCHITECTURES
from msa_fast.ops.sharing import IS_WIDE_FAST
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig
from msa_ref.formats import SHORT_PAIRS

HEADS = (4, 2, 1)
"""Index heads per rank of MiniMax-M3 under tensor parallelism."""
OTHER_HEADS = (3, 6, 8)
BLOCKS = tuple(2**i for i in range(14))
"""Blocks of a request up to a context of a million tokens: launch choices change at powers of two."""
NUM_REQS = tuple(2**i for i in range(9))
DECODE_QUERY_LENS = tuple(range(1, 9))
TOPK = (1, 32, 64, 128)
"""Values beside MiniMax-M3's 16: one warp or several hold them, in other ways; the last is the kernels' maximum."""
FEW_PAGES, MANY_PAGES = 8192, 1 << 17
"""Pages of a key pool whose byte offsets fit in 31 bits, and do not fit: AMD's compiler tells them apart."""


@dataclass(frozen=True)
class Call:
    """One call of a public operator; query_len is per request. tile_rows: of a prefill's plan; None: the GPU's own."""

    stage: str
    dtype: str = "bf16"
    heads: int = 4
    query_len: int = 1
    num_reqs: int = 1
    blocks: int = 1024
    pages: int = FEW_PAGES
    dim: int = 128
    topk: int = 16
    product: str = "exact"
    tile_rows: int | None = None

    def __str__(self) -> str:
        requests = f"{self.num_reqs}x{self.query_len}"
        pool = " large pool" if self.pages == MANY_PAGES else ""
        dim = f" D={self.dim}" if self.dim != 128 else ""
        topk = f" K={self.topk}" if self.topk != 16 else ""
        product = f" {self.product} product" if self.product != "exact" else ""
        tiles = f" tiles of {self.tile_rows}" if self.tile_rows else ""
        call = f"{self.stage} {self.dtype} H={self.heads} {requests} of {self.blocks} blocks"
        return f"{call}{pool}{dim}{topk}{product}{tiles}"

    def run(self, device: torch.device) -> None:
        """Make the call on tensors whose contents do not matter; none where the GPU has no such product."""
        if self.product == "fp8" and architecture_of(device) not in FP8_ARCHITECTURES:
            return
        config = IndexerConfig(num_index_heads=self.heads, index_head_dim=self.dim, topk_blocks=self.topk)
        formats, d, s = SHORT_PAIRS[self.dtype], config.index_head_dim, config.block_size
        total_q = self.num_reqs * self.query_len
        batch = PagedBatch(
            config,
            torch.empty(total_q, self.heads, d, dtype=formats.queries.dtype, device=device),
            torch.empty(self.pages, s, formats.keys.row_len(d), dtype=formats.keys.dtype, device=device),
            torch.empty(self.num_reqs, self.blocks, dtype=torch.int32, device=device),
            torch.empty(self.num_reqs, dtype=torch.int32, device=device),
            torch.empty(self.num_reqs + 1, dtype=torch.int32, device=device),
        )
        if self.stage == "decode":
            minimax_m3_index_decode(batch, self.query_len, product=self.product)
            return
        if self.stage == "plan":  # the plan that the device makes, of prefill in a captured graph
            plan_on_device(config, batch.seq_lens, batch.cu_seqlens_q, total_q, self.blocks)
            return
        lens = [self.query_len] * self.num_reqs, [self.blocks * s] * self.num_reqs
        tile_rows = self.tile_rows or number(SCORE_ROWS, architecture_of(device))
        plan = PrefillPlan.build(config, *lens, device, tile_rows=tile_rows)
        if self.stage == "select":  # selection from scores alone, without the best of each superblock
            minimax_m3_index_topk(new_score(batch), batch, plan)
            return
        minimax_m3_index_prefill(batch, plan, product=self.product)


def calls() -> Iterator[Call]:
    """All calls of the sweep. The first call that reaches a configuration gives it its name.

    Widths of selection are swept with 4 heads. Other head counts are swept at a narrow width, where
    selection compiles fast: a head count changes only how a row finds its token. fp32, for study, is
    compiled with 4 heads and a few others.
    """
    yield from (Call("prefill", dtype, query_len=128) for dtype in SHORT_PAIRS)
    for stage, query_len in (("prefill", 128), ("decode", 1)):
        yield Call(stage, query_len=query_len, dim=64)  # Hopper has scorers of its own for 128 alone
    yield from (Call("decode", dtype) for dtype in SHORT_PAIRS)
    yield from (Call("decode", dtype, query_len=8) for dtype in SHORT_PAIRS if "e4m3" in dtype)
    # Keys of other dims than 128 are not whole words, and are read byte by byte.
    yield from (Call(stage, "e4m3 x nvfp4", query_len=8, dim=64) for stage in ("prefill", "decode"))
    native = [("prefill", 128, 128), ("prefill", 128, 32), ("decode", 1, 128), ("decode", 8, 128), ("decode", 1, 32)]
    yield from (Call(stage, "e4m3", query_len=query_len, dim=dim, product="fp8") for stage, query_len, dim in native)
    yield Call("decode", "fp32", query_len=8)
    # Kernels that divide to find the token of a row, two rows a thread: the rule "packed" judges them.
    yield from (Call("decode", "fp32", heads, query_len, blocks=64) for heads, query_len in ((3, 2), (5, 2), (5, 5)))
    yield from (Call("decode", "bf16", 5, query_len, blocks=64, dim=64) for query_len in (2, 5))
    for dtype, heads in (*(("bf16", heads) for heads in HEADS + OTHER_HEADS), *(("fp16", heads) for heads in HEADS)):
        yield Call("prefill", dtype, heads, 128, blocks=64)
        yield from (Call("decode", dtype, heads, query_len, blocks=64) for query_len in DECODE_QUERY_LENS)
    if IS_WIDE_FAST:
        for rows in (192, 256):
            for dtype in ("bf16", "fp16"):
                yield from (Call("prefill", dtype, heads, 128, tile_rows=rows) for heads in HEADS)
            yield Call("prefill", heads=3, query_len=128, tile_rows=rows)  # queries that no descriptor copies
            yield Call("prefill", query_len=128, topk=64, tile_rows=rows)
    for stage, query_len in (("prefill", 128), ("select", 128), ("decode", 1)):
        yield from (Call(stage, query_len=query_len, blocks=blocks) for blocks in BLOCKS)
        yield Call(stage, query_len=query_len, blocks=1021)  # a width that no alignment divides
        yield Call(stage, query_len=query_len, pages=MANY_PAGES)
        yield from (Call(stage, query_len=query_len, topk=topk) for topk in TOPK)
    yield from (Call("decode", blocks=2**15, topk=topk) for topk in (16, 128))  # wider than Hopper's selection takes
    yield from (Call("decode", num_reqs=num_reqs) for num_reqs in NUM_REQS)
    for topk in (16, 32):  # enough rows for two per program
        yield from (Call("decode", query_len=8, num_reqs=128, blocks=blocks, topk=topk) for blocks in (32, 64, 128))
    yield Call("decode", query_len=8, num_reqs=128, blocks=2**13)  # many rows of a wide table
    yield from (Call("plan", heads=heads, query_len=128, blocks=64) for heads in HEADS + OTHER_HEADS)
    yield from (Call("plan", query_len=8, num_reqs=num_reqs, blocks=64) for num_reqs in (16, 256))

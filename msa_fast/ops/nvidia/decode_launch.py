"""The launch of a decode scorer in Gluon: they take the same arguments, and differ in how they go through pages."""

from typing import Any

import torch

from msa_fast.ops.buffers import SCORE_VECTOR
from msa_fast.ops.launch_table import next_power_of_2
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.decode_blocks import MAX_PRODUCT, num_rows_of, reciprocal_of
from msa_fast.ops.nvidia.tma import pages_of, queries_of
from msa_ref.batch import PagedBatch


def launch_decode(
    kernel: Any,
    batch: PagedBatch,
    score: torch.Tensor,
    num_programs: int,
    num_reqs: int,
    decode_query_len: int,
    *,
    parts: int = 1,
    numbers: tuple[int, ...] = (),
    num_warps: int,
    **constants: Any,
) -> Launched | None:
    """Launch on checked arguments that are served. num_reqs: as REQS of the generic scorer.

    More programs than the table has entries, or than fit MAX_PRODUCT, are not launched.

    Args:
        parts: copies in which a page comes.
        numbers: further arguments of the kernel, behind those that all take.
        constants: of the kernel, beside those that follow from the batch.
    """
    config = batch.config
    num_rows, tile_heads = num_rows_of(config, decode_query_len), next_power_of_2(config.num_index_heads)
    num_programs = min(num_programs, batch.num_reqs * batch.max_blocks, MAX_PRODUCT // batch.num_reqs)
    if num_programs == 0:
        return None
    return launched(
        batch.device,
        kernel,
        (num_programs,),
        pages_of(batch, parts),
        queries_of(batch, num_rows // tile_heads, tile_heads),
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        score,
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *score.stride()[:3],
        batch.num_reqs,
        reciprocal_of(num_programs),
        reciprocal_of(batch.num_reqs),
        *numbers,
        H=config.num_index_heads,
        TILE_HEADS=tile_heads,
        D=config.index_head_dim,
        S=config.block_size,
        TOPK=config.topk_blocks,
        REQS=max(32, num_reqs),  # fewer than a warp has threads cost more, not less
        ROWS=num_rows,
        SCORE_VECTOR=SCORE_VECTOR,
        WARPS=num_warps,
        num_warps=num_warps,
        **constants,
    )

"""A prefill plan that the GPU makes itself, from lengths in its memory, so that a captured graph may hold prefill.

The host's plan lists as many tiles as a batch has. A graph has one size for all batches that fit its bounds: here the
lists have room for the largest, a kernel fills them at every replay, and programs that find no tile in their slot
end at once. The answer depends on the plan in no bit.
"""

import torch
import triton
import triton.language as tl

from msa_fast.ops.buffers import aligned
from msa_fast.ops.checks import MAX_SCORED_REQS, check_config, check_int, check_reach, check_row_blocks, check_tensor
from msa_fast.ops.launch_table import (
    SCORE_ROWS,
    TOPK_ROWS,
    WORKSPACE_BYTES,
    architecture_of,
    next_power_of_2,
    num_processors,
    number,
)
from msa_fast.ops.launching import launched
from msa_fast.ops.plan_memory import TileLists
from msa_fast.ops.prefill_plan import PrefillPlan, Slab, scores_of_row, superblock_of
from msa_ref.config import IndexerConfig, require

PROGRAMS_PER_PROCESSOR = 2
"""Score programs of a multiprocessor, beside one for each query tile."""
NO_ROW = tl.constexpr(1 << 29)
"""First row of a slot without a tile: behind the rows of every request."""


@triton.jit(
    do_not_specialize=["num_reqs", "stride_seq_lens", "stride_cu"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _query_tiles_kernel(
    seq_lens_ptr, cu_seqlens_q_ptr, topk_tiles_ptr, num_blocks_ptr, num_reqs, stride_seq_lens, stride_cu,
    H: tl.constexpr, S: tl.constexpr, TILE_ROWS: tl.constexpr, REQS: tl.constexpr,
):  # fmt: skip
    """Grid: a program for each slot of a query tile; the batch's tiles take the first, in the order of its tokens.

    Writes topk_tiles[slot], its request and first row, and num_blocks[slot], the blocks that its last row sees: (0,
    NO_ROW) and 0 in a slot without a tile. REQS >= num_reqs is a power of two.
    """
    slot = tl.program_id(0)
    reqs = tl.arange(0, REQS)
    is_req = reqs < num_reqs
    starts = tl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    query_lens = tl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0) - starts
    seq_lens = tl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    num_tiles = (query_lens * H + TILE_ROWS - 1) // TILE_ROWS
    ends = tl.cumsum(num_tiles, axis=0)
    is_here = (ends > slot) & (ends - num_tiles <= slot)
    req = tl.sum(tl.where(is_here, reqs, 0), axis=0)
    row = (slot - tl.sum(tl.where(is_here, ends - num_tiles, 0), axis=0)) * TILE_ROWS
    query_len = tl.sum(tl.where(is_here, query_lens, 0), axis=0)
    context_len = tl.sum(tl.where(is_here, seq_lens, 0), axis=0) - query_len
    is_tile = slot < tl.sum(num_tiles, axis=0)
    last_token = tl.minimum((row + TILE_ROWS - 1) // H, query_len - 1)
    num_blocks = (tl.maximum(context_len + last_token + 1, 0) + S - 1) // S
    tl.store(topk_tiles_ptr + slot * 2, req)
    tl.store(topk_tiles_ptr + slot * 2 + 1, tl.where(is_tile, row, NO_ROW))
    tl.store(num_blocks_ptr + slot, tl.where(is_tile, num_blocks, 0))


@triton.jit(do_not_specialize=["num_tiles", "num_more"])
def _ranges_kernel(
    topk_tiles_ptr, num_blocks_ptr, score_tiles_ptr, num_tiles, num_more,
    SUPERBLOCK: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Grid: a program for each slot of a score tile, num_tiles + num_more of them. Writes score_tiles[slot].

    All query tiles are cut into ranges of one length, the shortest of whole superblocks that leaves no more than the
    slots; a slot without a range gets an empty one of request 0. TILES >= num_tiles is a power of two.
    """
    slot = tl.program_id(0)
    tiles = tl.arange(0, TILES)
    num_blocks = tl.load(num_blocks_ptr + tiles, mask=tiles < num_tiles, other=0)
    total = tl.sum(num_blocks.to(tl.int64), axis=0)
    each = (total + num_more - 1) // num_more
    each = tl.maximum((each + SUPERBLOCK - 1) // SUPERBLOCK, 1).to(tl.int32) * SUPERBLOCK
    num_ranges = (num_blocks + each - 1) // each
    ends = tl.cumsum(num_ranges, axis=0)
    is_here = (ends > slot) & (ends - num_ranges <= slot)
    tile = tl.sum(tl.where(is_here, tiles, 0), axis=0)
    first = (slot - tl.sum(tl.where(is_here, ends - num_ranges, 0), axis=0)) * each
    end = tl.minimum(first + each, tl.sum(tl.where(is_here, num_blocks, 0), axis=0))
    is_range = slot < tl.sum(num_ranges, axis=0)
    req = tl.load(topk_tiles_ptr + tile * 2)
    row = tl.load(topk_tiles_ptr + tile * 2 + 1)
    tl.store(score_tiles_ptr + slot * 4, tl.where(is_range, req, 0))
    tl.store(score_tiles_ptr + slot * 4 + 1, tl.where(is_range, row, 0))
    tl.store(score_tiles_ptr + slot * 4 + 2, tl.where(is_range, first, 0))
    tl.store(score_tiles_ptr + slot * 4 + 3, tl.where(is_range, end, 0))


def check_bounds(
    config: IndexerConfig,
    num_reqs: int,
    max_total_q: int,
    max_row_blocks: int,
    device: torch.device,
    workspace_bytes: int = WORKSPACE_BYTES,
) -> None:
    """Refuse bounds that one plan on the device cannot serve. Arguments: as `plan_on_device` takes them.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(num_reqs <= MAX_SCORED_REQS, "seq_lens", f"must have <= {MAX_SCORED_REQS} entries", num_reqs)
    superblock = superblock_of(config, architecture_of(device))
    needed = 4 * config.num_index_heads * aligned(max_total_q) * scores_of_row(max_row_blocks, superblock)
    rule = f"must be >= {needed} for max_total_q = {max_total_q} and max_row_blocks = {max_row_blocks}"
    require(workspace_bytes >= needed, "workspace_bytes", rule, workspace_bytes)


def plan_on_device(
    config: IndexerConfig,
    seq_lens: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    max_total_q: int,
    max_row_blocks: int,
    num_more: int | None = None,
    workspace_bytes: int = WORKSPACE_BYTES,
) -> PrefillPlan:
    """Plan a batch from lengths on the device: two small launches, capturable. Call it within the capture, once a step.

    At every replay the plan is that of the lengths which `seq_lens` and `cu_seqlens_q` then hold. Rows of `index_q`
    behind the last request's tokens are no request's: nothing is written for them.

    Args:
        config: the indexer.
        seq_lens, cu_seqlens_q: as `PagedBatch` takes them; on a GPU (on the CPU under Triton's interpreter).
        max_total_q: query tokens of the largest batch, and rows of the `index_q` of every one.
        max_row_blocks: bound on the blocks that a row sees; more are not scored, so it must hold.
        num_more: score programs beside one for each query tile, by default a few for each multiprocessor, or as many
            as a scorer likes that shares blocks out itself. Changes speed, never a bit of the answer.
        workspace_bytes: bound on the memory for scores, which is that of the largest batch.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_config(config)
    check_tensor(seq_lens, "seq_lens", ("num_reqs",), (torch.int32,))
    check_tensor(cu_seqlens_q, "cu_seqlens_q", ("num_reqs + 1",), (torch.int32,))
    num_reqs, device = len(seq_lens), seq_lens.device
    require(len(cu_seqlens_q) == num_reqs + 1, "cu_seqlens_q", f"must have {num_reqs + 1} entries", len(cu_seqlens_q))
    require(
        cu_seqlens_q.device == device, "cu_seqlens_q", f"must be on seq_lens' device, {device}", cu_seqlens_q.device
    )
    check_reach(seq_lens, "seq_lens", "tensor", 0)
    check_reach(cu_seqlens_q, "cu_seqlens_q", "tensor", 0)
    check_int(max_total_q, "max_total_q", 0)
    check_int(max_row_blocks, "max_row_blocks", 0)
    check_row_blocks(max_row_blocks, "max_row_blocks")
    check_bounds(config, num_reqs, max_total_q, max_row_blocks, device, workspace_bytes)
    architecture = architecture_of(device)
    superblock = superblock_of(config, architecture)
    heads = config.num_index_heads
    is_tiled = num_more is not None
    num_more = PROGRAMS_PER_PROCESSOR * num_processors(device) if num_more is None else num_more
    check_int(num_more, "num_more", 1)
    # A request has one tile more than its rows fill, at most.
    tile_rows = number(SCORE_ROWS, architecture)
    num_tiles = (max_total_q * heads + (tile_rows - 1) * min(num_reqs, max_total_q)) // tile_rows
    num_slots = num_tiles + num_more if num_tiles else 0
    memory = torch.empty(4 * num_slots + 2 * num_tiles, dtype=torch.int32, device=device)
    tiles = TileLists(memory, num_slots, num_tiles)
    if num_tiles:
        num_blocks = torch.empty(num_tiles, dtype=torch.int32, device=device)
        launched(
            device, _query_tiles_kernel, (num_tiles,), seq_lens, cu_seqlens_q, tiles.topk_tiles, num_blocks, num_reqs,
            seq_lens.stride(0), cu_seqlens_q.stride(0), H=heads, S=config.block_size, TILE_ROWS=tile_rows,
            REQS=next_power_of_2(num_reqs), num_warps=4,
        )  # fmt: skip
        launched(
            device, _ranges_kernel, (num_slots,), tiles.topk_tiles, num_blocks, tiles.score_tiles, num_tiles, num_more,
            SUPERBLOCK=superblock, TILES=next_power_of_2(num_tiles), num_warps=4,
        )  # fmt: skip
    whole = Slab(0, max_total_q, slice(None), slice(None))
    return PrefillPlan(
        config=config,
        tiles=tiles,
        slabs=(whole,) if num_tiles else (),
        score_rows=tile_rows,
        topk_rows=number(TOPK_ROWS, architecture),
        max_tile_rows=min(tile_rows, max_total_q * heads),
        superblock=superblock,
        max_row_blocks=max_row_blocks,
        total_q=max_total_q,
        num_reqs=num_reqs,
        is_tiled=is_tiled,
    )

"""Selection: the exact top-k of every row from its block scores.

A row of up to WIDTH blocks is settled at once. A longer one takes two rounds. A superblock is
SUPERBLOCK consecutive blocks, ranked by its best block, ties to the lower one. Every selected
block lies in one of the best K superblocks: if K of them rank above its own, each holds a block
that ranks above it. So the first round chooses superblocks and the second the blocks in them.
"""

import torch
import triton
import triton.language as tl

from msa_fast.ops.best import choose
from msa_fast.ops.launch import check_batch, check_out, new_topk_idx, next_power_of_2
from msa_fast.ops.rank import rank_of
from msa_fast.ops.score import check_plan, check_score
from msa_fast.ops.table import topk_warps
from msa_fast.plan import PrefillPlan
from msa_ref.batch import PagedBatch

LEAST_WIDTH = 64
"""Fewest candidates that a program ranks at once."""
LOADS_PER_THREAD = 32
"""Scores that a thread of the first round has in flight."""


@triton.jit
def _superblock_ranks(
    score_rows,
    num_visible,
    stride_score_b,
    SUPERBLOCK: tl.constexpr,
    SUPERBLOCKS: tl.constexpr,
    CHUNK: tl.constexpr,
    INIT_BLOCKS: tl.constexpr,
    LOCAL_BLOCKS: tl.constexpr,
):
    """uint32 [ROWS, SUPERBLOCKS]: the best rank in each superblock.

    The maxima are taken over floats and only they are ranked, so that a block costs little.
    """
    ROWS: tl.constexpr = score_rows.shape[0]
    superblock = tl.arange(0, SUPERBLOCKS)[None, :]
    best = tl.full([ROWS, SUPERBLOCKS, CHUNK], float("-inf"), tl.float32)
    for i in range(0, SUPERBLOCK, CHUNK):
        block = (superblock * SUPERBLOCK)[:, :, None] + i + tl.arange(0, CHUNK)[None, None, :]
        is_visible = block < num_visible[:, None, None]
        score = tl.load(
            score_rows[:, None, None] + block.to(tl.int64) * stride_score_b, mask=is_visible, other=float("-inf")
        )
        best = tl.maximum(best, tl.where(score == score, score, float("-inf")))
    best = tl.max(best, axis=2)
    # A superblock is forced if one of its visible blocks is, and absent if its first block is.
    first = superblock * SUPERBLOCK
    last = tl.minimum(first + SUPERBLOCK, num_visible[:, None]) - 1
    is_forced = (first < INIT_BLOCKS) | (last >= num_visible[:, None] - LOCAL_BLOCKS)
    return rank_of(best, is_forced, first < num_visible[:, None])


@triton.jit(
    do_not_specialize=["stride_out_h", "stride_out_t", "stride_out_k", "tiles_per_req"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "out_ptr"],
)
def _topk_kernel(
    score_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    tiles_ptr,
    out_ptr,
    stride_score_h,
    stride_score_t,
    stride_score_b,
    stride_seq_lens,
    stride_cu,
    stride_out_h,
    stride_out_t,
    stride_out_k,
    tiles_per_req,
    H: tl.constexpr,
    S: tl.constexpr,
    TOPK: tl.constexpr,
    INIT_BLOCKS: tl.constexpr,
    LOCAL_BLOCKS: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
    SUPERBLOCK: tl.constexpr,
    SUPERBLOCKS: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_TILES: tl.constexpr,
    IS_FLAT: tl.constexpr,
):
    """Grid: one program per ROWS consecutive rows (token, head) of one request.

    Which rows is listed in tiles_ptr (HAS_TILES), or counted: tiles_per_req for every request.
    Writes out[h, t, :] of its rows, every element: ids ascending, then PAD. Reads scores of
    visible blocks alone. Compares integers; nothing here rounds. K >= TOPK is a power of two;
    K * SUPERBLOCK candidates are ranked at once; SUPERBLOCKS is 0 if no row can have more blocks
    than that. In two rounds the row's own part of `out` carries the superblocks between them.
    """
    if HAS_TILES:
        req = tl.load(tiles_ptr + tl.program_id(0) * 2)
        first_row = tl.load(tiles_ptr + tl.program_id(0) * 2 + 1)
    else:
        req = tl.program_id(0) // tiles_per_req
        first_row = (tl.program_id(0) % tiles_per_req) * ROWS
    q_start = tl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = tl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = tl.load(seq_lens_ptr + req * stride_seq_lens) - query_len

    row = first_row + tl.arange(0, ROWS)
    token = row // H
    head = (row % H).to(tl.int64)
    is_row = token < query_len
    num_visible = tl.where(is_row, (tl.maximum(context_len + token + 1, 0) + S - 1) // S, 0)
    rows = (q_start + token).to(tl.int64)
    if IS_FLAT:  # rows of one stride: said so, the compiler sees which ones lie side by side
        score_rows = score_ptr + (q_start.to(tl.int64) * H + row) * stride_score_h
    else:
        score_rows = score_ptr + rows * stride_score_t + head * stride_score_h
    out_rows = (out_ptr + rows * stride_out_t + head * stride_out_h)[:, None]

    WIDTH: tl.constexpr = K * SUPERBLOCK
    slot = tl.arange(0, K)[None, :]
    superblock = tl.broadcast_to(slot, [ROWS, K])
    if SUPERBLOCKS > 0 and tl.max(num_visible, axis=0) > WIDTH:
        rank = _superblock_ranks(
            score_rows, num_visible, stride_score_b, SUPERBLOCK, SUPERBLOCKS, CHUNK, INIT_BLOCKS, LOCAL_BLOCKS
        )
        kept = tl.minimum((num_visible + SUPERBLOCK - 1) // SUPERBLOCK, TOPK)
        is_kept, place = choose(rank, kept, K)
        ids = tl.broadcast_to(tl.arange(0, SUPERBLOCKS)[None, :], [ROWS, SUPERBLOCKS])
        tl.store(out_rows + place * stride_out_k, ids, mask=is_kept)
        tl.debug_barrier()  # the rows were written by other threads of this program
        is_kept = slot < kept[:, None]
        superblock = tl.load(out_rows + slot * stride_out_k, mask=is_kept, other=0x7FFFFFFF // SUPERBLOCK)
        tl.debug_barrier()  # and are read before they are written again

    block = superblock[:, :, None] * SUPERBLOCK + tl.arange(0, SUPERBLOCK)[None, None, :]
    block = block.reshape(ROWS, WIDTH)
    is_visible = block < num_visible[:, None]
    score = tl.load(score_rows[:, None] + block.to(tl.int64) * stride_score_b, mask=is_visible, other=0.0)
    is_forced = (block < INIT_BLOCKS) | (block >= num_visible[:, None] - LOCAL_BLOCKS)
    rank = rank_of(score, is_forced, is_visible)
    selected = tl.minimum(num_visible, TOPK)
    is_selected, place = choose(rank, selected, K)
    tl.store(out_rows + place * stride_out_k, block, mask=is_selected)
    is_pad = is_row[:, None] & (slot >= selected[:, None]) & (slot < TOPK)
    tl.store(out_rows + slot * stride_out_k, tl.full([ROWS, K], -1, tl.int32), mask=is_pad)


def minimax_m3_index_topk(
    score: torch.Tensor, batch: PagedBatch, plan: PrefillPlan, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Select from the scores of a prefill batch.

    Args:
        score: [H, T, max_blocks] fp32, any strides; only entries of visible blocks are read.
        batch: the batch scored; its lengths say what each row sees.
        plan: built for this batch's lengths.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_plan(plan, batch)
    check_score(score, batch)
    if out is None:
        out = new_topk_idx(batch)
    check_out(out, batch)
    launch_topk(score, batch, out, plan.topk_rows, plan.most_blocks, plan.topk_tiles)
    return out[:, : batch.total_q]


def launch_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    out: torch.Tensor,
    rows: int,
    most_blocks: int,
    tiles: torch.Tensor | None = None,
    most_rows: int = 0,
) -> None:
    """Launch the selection kernel on checked arguments.

    rows: rows per program. most_blocks: no row sees more. tiles: the rows of each program, or None
    for a grid from shapes alone, in which every request has up to most_rows rows.
    """
    config = batch.config
    tiles_per_req = triton.cdiv(most_rows, rows)
    num_programs = batch.num_reqs * tiles_per_req if tiles is None else len(tiles)
    if num_programs == 0:
        return
    k = next_power_of_2(config.topk_blocks)
    superblock, superblocks = rounds(k, most_blocks)
    num_warps = topk_warps(rows, max(k * superblock, superblocks), most_blocks)
    chunk = LOADS_PER_THREAD * 32 * num_warps // (rows * max(1, superblocks))  # a power of two, or 0
    chunk = min(max(1, chunk), superblock)
    _topk_kernel[(num_programs,)](
        score,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        out,
        *score.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
        tiles_per_req,
        H=config.num_index_heads,
        S=config.block_size,
        TOPK=config.topk_blocks,
        INIT_BLOCKS=config.init_blocks,
        LOCAL_BLOCKS=config.local_blocks,
        ROWS=rows,
        K=k,
        SUPERBLOCK=superblock,
        SUPERBLOCKS=superblocks,
        CHUNK=chunk,
        HAS_TILES=tiles is not None,
        IS_FLAT=score.stride(1) == config.num_index_heads * score.stride(0),
        num_warps=num_warps,
    )


def rounds(k: int, most_blocks: int) -> tuple[int, int]:
    """Blocks per superblock and superblocks: both rounds about equally wide, or one round alone.

    k is a power of two, and so are the answers; superblocks is 0 where one round is enough.
    """
    superblock = max(1, LEAST_WIDTH // k)
    while k * superblock * superblock < most_blocks:
        superblock *= 2
    if most_blocks <= k * superblock:
        return superblock, 0
    return superblock, next_power_of_2(triton.cdiv(most_blocks, superblock))

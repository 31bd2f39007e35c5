"""Selection: the exact top-k of every row from its block scores.

Two rounds, neither of which sorts a row. A superblock is SUPERBLOCK consecutive blocks, ranked by
its best block, ties to the lower one. A selected block's superblock is among the best K: if K
superblocks rank above it, each holds a block that ranks above all of its own. So the first round
finds the best K superblocks, the second the best K blocks inside them.
"""

import torch
import triton
import triton.language as tl

from msa_fast.ops.key import KEY_ABSENT, RANK_ABSENT, block_of, key_of, rank_of
from msa_fast.ops.launch import check_batch, check_out, new_topk_idx, next_power_of_2
from msa_fast.ops.network import merge_top, top_sorted
from msa_fast.ops.score import check_plan, check_score
from msa_fast.plan import PrefillPlan
from msa_ref.batch import PagedBatch

SUPERBLOCK = 16
SUPERBLOCKS_PER_ROUND = 32


@triton.jit
def _rank_at(
    row_ptr, block, num_visible, is_live, stride_score_b, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr
):
    """Rank of one block per lane, RANK_ABSENT where it is not visible or not live."""
    is_live = is_live & (block < num_visible)
    score = tl.load(row_ptr + tl.cast(block, tl.int64) * stride_score_b, mask=is_live, other=0.0)
    rank = rank_of(score, block, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
    return tl.where(is_live, rank, RANK_ABSENT)


@triton.jit
def _best_superblocks(
    score_rows,
    num_visible,
    most_visible,
    stride_score_b,
    K: tl.constexpr,
    SUPERBLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    INIT_BLOCKS: tl.constexpr,
    LOCAL_BLOCKS: tl.constexpr,
):
    """Keys [ROWS, K] of every row's best superblocks, descending."""
    ROWS: tl.constexpr = score_rows.shape[0]
    best = tl.full([ROWS, K], KEY_ABSENT, tl.int64)
    for base in range(0, tl.cdiv(most_visible, SUPERBLOCK), CHUNK):
        superblock = (base + tl.arange(0, CHUNK))[None, :]
        rank = tl.full([ROWS, CHUNK], RANK_ABSENT, tl.int32)
        for i in tl.static_range(SUPERBLOCK):
            block = superblock * SUPERBLOCK + i
            rank = tl.maximum(
                rank,
                _rank_at(
                    score_rows[:, None],
                    block,
                    num_visible[:, None],
                    True,
                    stride_score_b,
                    INIT_BLOCKS,
                    LOCAL_BLOCKS,
                ),
            )
        best = merge_top(best, top_sorted(key_of(rank, superblock), K, False))
    return best


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
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
    SUPERBLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_TILES: tl.constexpr,
):
    """Grid: one program per TOKENS query tokens of one request, all H heads: ROWS rows.

    The tile is listed in tiles_ptr (HAS_TILES), or counted: tiles_per_req for every request.
    Writes out[:, t, :] of its tokens, every element: ids ascending, then PAD. Reads scores of
    visible blocks alone. Compares integer keys; nothing here rounds.
    """
    if HAS_TILES:
        req = tl.load(tiles_ptr + tl.program_id(0) * 2)
        first_token = tl.load(tiles_ptr + tl.program_id(0) * 2 + 1)
    else:
        req = tl.program_id(0) // tiles_per_req
        first_token = (tl.program_id(0) % tiles_per_req) * TOKENS
    q_start = tl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = tl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = tl.load(seq_lens_ptr + req * stride_seq_lens) - query_len

    row = tl.arange(0, ROWS)
    token = first_token + row // H
    head = (row % H).to(tl.int64)
    is_row = (row < TOKENS * H) & (token < query_len)
    num_visible = tl.where(is_row, (tl.maximum(context_len + token + 1, 0) + S - 1) // S, 0)
    most_visible = tl.max(num_visible, axis=0)
    rows = (q_start + token).to(tl.int64)
    score_rows = score_ptr + rows * stride_score_t + head * stride_score_h

    # Round one; needless where K superblocks hold all that any row sees.
    superblock = tl.broadcast_to(tl.arange(0, K)[None, :], [ROWS, K])
    is_live = superblock >= 0
    if most_visible > K * SUPERBLOCK:
        best = _best_superblocks(
            score_rows, num_visible, most_visible, stride_score_b, K, SUPERBLOCK, CHUNK, INIT_BLOCKS, LOCAL_BLOCKS
        )
        is_live = best != KEY_ABSENT
        superblock = tl.where(is_live, block_of(best), 0)

    block = superblock[:, :, None] * SUPERBLOCK + tl.arange(0, SUPERBLOCK)[None, None, :]
    rank = _rank_at(
        score_rows[:, None, None],
        block,
        num_visible[:, None, None],
        is_live[:, :, None],
        stride_score_b,
        INIT_BLOCKS,
        LOCAL_BLOCKS,
    )
    key = top_sorted(key_of(rank, block).reshape(ROWS, K * SUPERBLOCK), K, True)

    slot = tl.arange(0, K)[None, :]
    is_selected = (key != KEY_ABSENT) & (slot < TOPK)
    # Negated, so that the descending network leaves ids ascending and what is none behind them.
    descending = top_sorted(tl.where(is_selected, -block_of(key), -0x7FFFFFFF), K, True)
    ids = tl.where(descending == -0x7FFFFFFF, -1, -descending)
    out_rows = out_ptr + rows * stride_out_t + head * stride_out_h
    tl.store(out_rows[:, None] + slot * stride_out_k, ids, mask=is_row[:, None] & (slot < TOPK))


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
    launch_topk(score, batch, out, plan.topk_tiles, len(plan.topk_tiles), 1, plan.topk_tokens, plan.topk_rows)
    return out[:, : batch.total_q]


def launch_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    out: torch.Tensor,
    tiles: torch.Tensor | None,
    num_programs: int,
    tiles_per_req: int,
    tokens: int,
    rows: int,
) -> None:
    """Launch the selection kernel on checked arguments; `tiles` None means tiles_per_req for each request."""
    if num_programs == 0:
        return
    config = batch.config
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
        TOKENS=tokens,
        ROWS=rows,
        K=next_power_of_2(config.topk_blocks),
        SUPERBLOCK=SUPERBLOCK,
        CHUNK=max(SUPERBLOCKS_PER_ROUND, next_power_of_2(config.topk_blocks)),
        HAS_TILES=tiles is not None,
        num_warps=4,
    )

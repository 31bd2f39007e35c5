"""Selection: the exact top-k of every row from its block scores.

A unit is UNIT consecutive blocks, a group is GROUP consecutive units; each is ranked by its best
block, ties to the lower one. Every selected block lies in one of the best K units, and those in the
best K groups: if K of them rank above its own, each holds a block that ranks above it. So a long
row is settled from coarse to fine, K * (a few) candidates a round, and most of it is never ranked.
The best scores of units come from the scorer where it has them (superblocks of the prefill plan);
else they are taken here.
"""

import torch
import triton
import triton.language as tl

from msa_fast.ops.best import choose
from msa_fast.ops.launch import check_batch, check_out, new_topk_idx, next_power_of_2
from msa_fast.ops.rank import rank_of
from msa_fast.ops.score import check_plan, check_score
from msa_fast.ops.table import MOST_GROUPS, architecture_of, number, topk_warps
from msa_fast.plan import PrefillPlan, Slab
from msa_ref.batch import PagedBatch

NO_RUN = tl.constexpr(1 << 20)
"""Id of a run that is not there: above every run, and its blocks above every block, within 32 bits."""

LEAST_WIDTH = 64
"""Fewest candidates that a program ranks at once."""
LOADS_PER_THREAD = 32
"""Scores that a thread of the first round has in flight."""


@triton.jit
def _ranks_of_spans(
    best_rows,
    stride_best_b,
    num_visible,
    BLOCKS: tl.constexpr,
    SPAN: tl.constexpr,
    SPANS: tl.constexpr,
    CHUNK: tl.constexpr,
    INIT_BLOCKS: tl.constexpr,
    LOCAL_BLOCKS: tl.constexpr,
):
    """uint32 [ROWS, SPANS]: the best rank in each span of SPAN consecutive entries.

    An entry of best_rows is the best score of BLOCKS blocks. The maxima are taken over floats and
    only they are ranked, so that an entry costs little.
    """
    ROWS: tl.constexpr = best_rows.shape[0]
    span = tl.arange(0, SPANS)[None, :]
    best = tl.full([ROWS, SPANS, CHUNK], float("-inf"), tl.float32)
    for i in range(0, SPAN, CHUNK):
        entry = (span * SPAN)[:, :, None] + i + tl.arange(0, CHUNK)[None, None, :]
        is_visible = entry * BLOCKS < num_visible[:, None, None]
        score = tl.load(
            best_rows[:, None, None] + entry.to(tl.int64) * stride_best_b, mask=is_visible, other=float("-inf")
        )
        best = tl.maximum(best, tl.where(score == score, score, float("-inf")))
    return _rank_of_run(
        tl.max(best, axis=2), span * (SPAN * BLOCKS), SPAN * BLOCKS, num_visible, INIT_BLOCKS, LOCAL_BLOCKS
    )


@triton.jit
def _rank_of_run(best, first, LENGTH: tl.constexpr, num_visible, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr):
    """uint32 rank of runs of LENGTH blocks from `first` [.., W] on, whose best scores are `best`.

    A run is forced if one of its visible blocks is, and absent if its first block is.
    """
    last = tl.minimum(first + LENGTH, num_visible[:, None]) - 1
    is_forced = (first < INIT_BLOCKS) | (last >= num_visible[:, None] - LOCAL_BLOCKS)
    return rank_of(best, is_forced, first < num_visible[:, None])


@triton.jit
def _keep(rank, ids, num_runs, out_rows, stride_out_k, TOPK: tl.constexpr, K: tl.constexpr):
    """int32 [ROWS, K]: ids of the best min(TOPK, num_runs) of each row, ascending; what is behind them is no id.

    The row's own part of `out` carries them from the threads that find them to those that go on.
    """
    kept = tl.minimum(num_runs, TOPK)
    is_kept, place = choose(rank, kept, K)
    tl.store(out_rows + place * stride_out_k, ids, mask=is_kept)
    tl.debug_barrier()  # the rows were written by other threads of this program
    slot = tl.arange(0, K)[None, :]
    ids = tl.load(out_rows + slot * stride_out_k, mask=slot < kept[:, None], other=NO_RUN)
    tl.debug_barrier()  # and are read before they are written again
    return ids


@triton.jit(
    do_not_specialize=["slab_token", "stride_out_h", "stride_out_t", "stride_out_k", "tiles_per_req"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "tiles_ptr", "out_ptr"],
)
def _topk_kernel(
    score_ptr,
    best_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    tiles_ptr,
    out_ptr,
    slab_token,
    stride_score_h,
    stride_score_t,
    stride_score_b,
    stride_best_h,
    stride_best_t,
    stride_best_b,
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
    UNIT: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_BEST: tl.constexpr,
    HAS_TILES: tl.constexpr,
    IS_FLAT: tl.constexpr,
):
    """Grid: one program per ROWS consecutive rows (token, head) of one request.

    Which rows is listed in tiles_ptr (HAS_TILES), or counted: tiles_per_req for every request.
    Writes out[h, t, :] of its rows, every element: ids ascending, then PAD. Reads scores of
    visible blocks alone, and of units with visible blocks where best_ptr has their best scores
    (HAS_BEST); of both those of token slab_token come first. Compares integers; nothing here
    rounds. K >= TOPK is a power of two; K * UNIT blocks are ranked at once, in the last round;
    GROUPS is 0 if no row can have more blocks than that.
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
        slab_rows = (q_start - slab_token).to(tl.int64) * H + row
        score_rows = score_ptr + slab_rows * stride_score_h
        best_rows = best_ptr + slab_rows * stride_best_h
    else:
        slab_rows = rows - slab_token
        score_rows = score_ptr + slab_rows * stride_score_t + head * stride_score_h
        best_rows = best_ptr + slab_rows * stride_best_t + head * stride_best_h
    out_rows = (out_ptr + rows * stride_out_t + head * stride_out_h)[:, None]

    WIDTH: tl.constexpr = K * UNIT
    slot = tl.arange(0, K)[None, :]
    unit = tl.broadcast_to(slot, [ROWS, K])
    if GROUPS > 0 and tl.max(num_visible, axis=0) > WIDTH:
        num_units = (num_visible + UNIT - 1) // UNIT
        if HAS_BEST:
            rank = _ranks_of_spans(
                best_rows, stride_best_b, num_visible, UNIT, GROUP, GROUPS, CHUNK, INIT_BLOCKS, LOCAL_BLOCKS
            )
        else:
            rank = _ranks_of_spans(
                score_rows, stride_score_b, num_visible, 1, UNIT, GROUPS, CHUNK, INIT_BLOCKS, LOCAL_BLOCKS
            )
        ids = tl.broadcast_to(tl.arange(0, GROUPS)[None, :], [ROWS, GROUPS])
        unit = _keep(rank, ids, (num_units + GROUP - 1) // GROUP, out_rows, stride_out_k, TOPK, K)
        if GROUP > 1:
            ids = unit[:, :, None] * GROUP + tl.arange(0, GROUP)[None, None, :]
            ids = ids.reshape(ROWS, K * GROUP)
            best = tl.load(
                best_rows[:, None] + ids.to(tl.int64) * stride_best_b, mask=ids < num_units[:, None], other=0.0
            )
            rank = _rank_of_run(best, ids * UNIT, UNIT, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
            unit = _keep(rank, ids, num_units, out_rows, stride_out_k, TOPK, K)

    block = unit[:, :, None] * UNIT + tl.arange(0, UNIT)[None, None, :]
    block = block.reshape(ROWS, WIDTH)
    score = tl.load(
        score_rows[:, None] + block.to(tl.int64) * stride_score_b, mask=block < num_visible[:, None], other=0.0
    )
    rank = _rank_of_run(score, block, 1, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
    selected = tl.minimum(num_visible, TOPK)
    is_selected, place = choose(rank, selected, K)
    tl.store(out_rows + place * stride_out_k, block, mask=is_selected)
    is_pad = is_row[:, None] & (slot >= selected[:, None]) & (slot < TOPK)
    tl.store(out_rows + slot * stride_out_k, tl.full([ROWS, K], -1, tl.int32), mask=is_pad)


def minimax_m3_index_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    plan: PrefillPlan,
    out: torch.Tensor | None = None,
    superblock_score: torch.Tensor | None = None,
) -> torch.Tensor:
    """Select from the scores of a prefill batch.

    Args:
        score: [H, T, max_blocks] fp32, any strides; only entries of visible blocks are read.
        batch: the batch scored; its lengths say what each row sees.
        plan: built for this batch's lengths.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.
        superblock_score: [H, T, ceil(max_blocks / plan.superblock)] fp32, any strides: the best score
            in each superblock, as `minimax_m3_index_score` leaves it. Spares this pass most scores.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_plan(plan, batch)
    check_score(score, batch)
    if superblock_score is not None:
        check_score(superblock_score, batch, plan.superblock)
    if out is None:
        out = new_topk_idx(batch)
    check_out(out, batch)
    launch_slab_topk(plan.whole, score, batch, plan, out, superblock_score)
    return out[:, : batch.total_q]


def launch_slab_topk(
    slab: Slab,
    score: torch.Tensor,
    batch: PagedBatch,
    plan: PrefillPlan,
    out: torch.Tensor,
    superblock_score: torch.Tensor | None,
) -> None:
    """Launch the selection for the tokens of a slab, on checked arguments; scores as `launch_score` leaves them."""
    launch_topk(
        score,
        batch,
        out,
        plan.topk_rows,
        plan.most_blocks,
        tiles=plan.topk_tiles[slab.topk_tiles],
        slab_token=slab.first_token,
        superblock_score=superblock_score,
        superblock=plan.superblock,
    )


def launch_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    out: torch.Tensor,
    rows: int,
    most_blocks: int,
    *,
    tiles: torch.Tensor | None = None,
    slab_token: int = 0,
    most_rows: int = 0,
    superblock_score: torch.Tensor | None = None,
    superblock: int = 0,
) -> None:
    """Launch the selection kernel on checked arguments.

    rows: rows per program. most_blocks: no row sees more. tiles: the rows of each program, or None
    for a grid from shapes alone, in which every request has up to most_rows rows. slab_token: whose
    scores come first.
    """
    config = batch.config
    tiles_per_req = triton.cdiv(most_rows, rows)
    num_programs = batch.num_reqs * tiles_per_req if tiles is None else len(tiles)
    if num_programs == 0:
        return
    k = next_power_of_2(config.topk_blocks)
    has_best = superblock_score is not None
    best = superblock_score if superblock_score is not None else score
    most_groups = number(MOST_GROUPS, architecture_of(batch.device))
    unit, group, groups = rounds(k, most_blocks, superblock if has_best else 0, most_groups)
    num_warps = topk_warps(groups * group if has_best else most_blocks)
    chunk = LOADS_PER_THREAD * 32 * num_warps // (rows * max(1, groups))  # a power of two, or 0
    chunk = min(max(1, chunk), group if has_best else unit)
    is_flat = all(t.stride(1) == config.num_index_heads * t.stride(0) for t in (score, best))
    _topk_kernel[(num_programs,)](
        score,
        best,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        out,
        slab_token,
        *score.stride(),
        *best.stride(),
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
        UNIT=unit,
        GROUP=group,
        GROUPS=groups,
        CHUNK=chunk,
        HAS_BEST=has_best,
        HAS_TILES=tiles is not None,
        IS_FLAT=is_flat,
        num_warps=num_warps,
    )


def rounds(k: int, most_blocks: int, superblock: int = 0, most_groups: int = 128) -> tuple[int, int, int]:
    """Blocks of a unit, units of a group, and groups of the first round; 0 groups: one round is enough.

    k: a power of two. superblock: blocks of a unit whose best scores there are; 0: none are, and two
    rounds about equally wide do it. most_groups: of three rounds, where the second has no more
    candidates. All three answers are powers of two.
    """
    unit = superblock
    if not unit:
        unit = max(1, LEAST_WIDTH // k)
        while k * unit * unit < most_blocks:
            unit *= 2
    if most_blocks <= k * unit:
        return unit, 1, 0
    units = triton.cdiv(most_blocks, unit)
    group = 1
    while superblock and group * max(most_groups, k * group) < units:
        group *= 2
    return unit, group, next_power_of_2(triton.cdiv(units, group))

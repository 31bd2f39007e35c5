"""Selection for decode on Hopper: that of `msa_fast.ops.topk` for one row and one warp, with every layout said.

The rounds are the same, from long runs to single blocks, and how many there are is settled row by
row: the table of a captured batch is as wide as the longest context, and most rows are short. So is
the search for the cut. Written in Gluon, where it can be said that a thread holds candidates that
lie side by side: it reads them at once, finds the best of its runs without asking another, and counts
its own before the warp's.
"""

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.language.extra.cuda import gdc_wait

from msa_fast.ops.best import above_and_tied, find_cut_of_one, settle
from msa_fast.ops.launch import SCORE_VECTOR, next_power_of_2
from msa_fast.ops.rank import rank_of_runs
from msa_fast.ops.sm90 import barrier
from msa_fast.ops.table import architecture_of
from msa_ref.batch import PagedBatch

MOST_TOPK = 32
RUN = gl.constexpr(8)
"""Blocks of a run, and runs of a long one."""
ONE_ROUND = gl.constexpr(MOST_TOPK * RUN.value)
"""Blocks of a row that is settled in one round. One of more has more runs than are selected."""
TWO_ROUNDS = gl.constexpr(ONE_ROUND.value * RUN.value)
FIRST_ROUNDS = (
    (64, 64, 1),
    (ONE_ROUND.value, 256, 1),
    (1024, 128, RUN.value),
    (TWO_ROUNDS.value, 256, RUN.value),
    (8192, 128, RUN.value**2),
    (16384, 256, RUN.value**2),
)
"""The first round of rows of up to so many blocks: how many candidates it ranks, and their blocks. Fewer than 64
candidates are no faster; more cost in every turn of the search."""


@gluon.jit
def _chosen(
    score, first, LENGTH: gl.constexpr, num_visible, k, INIT_BLOCKS: gl.constexpr, LOCAL_BLOCKS: gl.constexpr,
    GROUPS: gl.constexpr,
):  # fmt: skip
    """Of the runs of LENGTH blocks from `first` [W] on: (first, whether one is of the k best, its place among them).

    Runs are in ascending order; the answers have the layout that the counts want.
    """
    flat: gl.constexpr = gl.BlockedLayout([score.shape[0] // 32], [32], [1], [0])
    score = gl.convert_layout(score, flat)  # they lie there already; a scan asks for the name
    first = gl.convert_layout(first, flat)
    rank = rank_of_runs(score, first, LENGTH, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
    cut = find_cut_of_one(rank, k, GROUPS)
    both = above_and_tied(rank, cut)
    is_chosen, place = settle(rank, cut, tl.cumsum(both, axis=0), gl.sum(both, axis=0), k)
    return first, is_chosen, place


@gluon.jit
def _best_of_runs(score_row, num_visible, WIDTH: gl.constexpr, LENGTH: gl.constexpr, VECTOR: gl.constexpr):
    """fp32 [WIDTH]: best scores of a row's first WIDTH runs of LENGTH blocks; and int32 [WIDTH], their first blocks."""
    EACH: gl.constexpr = WIDTH // 32
    AT_ONCE: gl.constexpr = LENGTH if LENGTH <= RUN else VECTOR
    # A thread's candidates lie side by side, and so do the blocks of each.
    wide: gl.constexpr = gl.BlockedLayout([EACH, AT_ONCE], [32, 1], [1, 1], [1, 0])
    first = gl.arange(0, WIDTH, layout=gl.SliceLayout(1, wide)) * LENGTH
    within = gl.arange(0, AT_ONCE, layout=gl.SliceLayout(0, wide))
    if LENGTH <= RUN:
        blocks = first[:, None] + within[None, :]
        # All of a vector are read if its first is visible: behind the last visible block scores are -inf.
        score = gl.load(score_row + blocks, mask=blocks // VECTOR * VECTOR < num_visible, other=float("-inf"))
        best = gl.max(score, axis=1)
    else:
        # More than registers hold: vector by vector. The last one of the row is read again by what lies behind it, so
        # that no mask stands between the loads.
        best = gl.full([WIDTH], float("-inf"), gl.float32, gl.SliceLayout(1, wide))
        for i in gl.static_range(LENGTH // VECTOR):
            vector = gl.minimum(first // VECTOR + i, (num_visible - 1) // VECTOR)
            score = gl.load(score_row + (vector * VECTOR)[:, None] + within[None, :])
            best = gl.maximum(best, gl.max(score, axis=1))
    return best, first


@gluon.jit
def _best_of_parts(
    score_row, out_row, stride_out_k, num_visible, TOPK: gl.constexpr, K: gl.constexpr, LENGTH: gl.constexpr,
    VECTOR: gl.constexpr,
):  # fmt: skip
    """The same [K * RUN] of the RUN parts, LENGTH blocks each, of the TOPK runs whose first blocks are in out_row."""
    AT_ONCE: gl.constexpr = LENGTH if LENGTH > 1 else VECTOR
    STEPS: gl.constexpr = LENGTH * RUN // AT_ONCE
    wide: gl.constexpr = gl.BlockedLayout([K * STEPS // 32, AT_ONCE], [32, 1], [1, 1], [1, 0])
    barrier()  # other threads have put the runs
    step = gl.arange(0, K * STEPS, layout=gl.SliceLayout(1, wide))
    slot = step // STEPS
    run = gl.load(out_row + slot * stride_out_k, mask=slot < TOPK, other=0)
    barrier()  # and read them before others are put
    start = gl.where(slot < TOPK, run, num_visible) + step % STEPS * AT_ONCE
    within = gl.arange(0, AT_ONCE, layout=gl.SliceLayout(0, wide))
    # Said as a multiple, for the compiler to see that VECTOR of them are one load.
    blocks = (start // VECTOR * VECTOR)[:, None] + within[None, :]
    score = gl.load(score_row + blocks, mask=blocks // VECTOR * VECTOR < num_visible, other=float("-inf"))
    if LENGTH > 1:
        best, first = gl.max(score, axis=1), start
    else:
        best, first = score.reshape([K * RUN]), (start[:, None] + within[None, :]).reshape([K * RUN])
    return best, first


@gluon.jit
def _put_best(
    best, first, LENGTH: gl.constexpr, out_row, stride_out_k, num_visible, TOPK: gl.constexpr,
    INIT_BLOCKS: gl.constexpr, LOCAL_BLOCKS: gl.constexpr, K: gl.constexpr,
):  # fmt: skip
    """Write the TOPK best of some runs of LENGTH blocks to out_row, ascending: the answer, or for the next round."""
    first, is_best, place = _chosen(best, first, LENGTH, num_visible, TOPK, INIT_BLOCKS, LOCAL_BLOCKS, K)
    gl.store(out_row + place * stride_out_k, first, mask=is_best)


@gluon.jit(
    do_not_specialize=["stride_out_h", "stride_out_t", "stride_out_k", "rows_per_req"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "out_ptr"],
)
def _topk_sm90_kernel(
    score_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    out_ptr,
    stride_score_h,
    stride_score_t,
    stride_seq_lens,
    stride_cu,
    stride_out_h,
    stride_out_t,
    stride_out_k,
    rows_per_req,
    H: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    INIT_BLOCKS: gl.constexpr,
    LOCAL_BLOCKS: gl.constexpr,
    K: gl.constexpr,
    MOST_BLOCKS: gl.constexpr,
    WIDTHS: gl.constexpr,
    LENGTHS: gl.constexpr,
    VECTOR: gl.constexpr,
    IS_EARLY: gl.constexpr,
):
    """Grid: a program of one warp per row (token, head), rows_per_req of every request. Writes as `_topk_kernel`.

    Scores of a row lie side by side, rows start at multiples of VECTOR and are -inf from their last
    visible block up to one; of rows that see no more than TOPK blocks none is read. MOST_BLOCKS, WIDTHS,
    LENGTHS: the first rounds that rows of this table may take, columns of FIRST_ROUNDS.
    """
    req = gl.program_id(0) // rows_per_req
    row = gl.program_id(0) % rows_per_req
    token = row // H
    head = (row % H).to(gl.int64)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    is_row = token < query_len
    num_visible = (gl.maximum(context_len + token + 1, 0) + S - 1) // S
    at = (q_start + token).to(gl.int64)
    out_row = out_ptr + at * stride_out_t + head * stride_out_h
    score_row = score_ptr + at * stride_score_t + head * stride_score_h
    if is_row & (num_visible <= TOPK):  # all of them, whatever they score: their scores may not be there
        slot = gl.arange(0, 32 if K < 32 else K, layout=gl.BlockedLayout([1], [32], [1], [0]))
        gl.store(out_row + slot * stride_out_k, gl.where(slot < num_visible, slot, -1), mask=slot < TOPK)
    if IS_EARLY:  # the scorer may still run; from here on its scores are there, and nobody ends before it
        gdc_wait()
    for i in gl.static_range(len(LENGTHS)):
        if is_row & (num_visible > (MOST_BLOCKS[i - 1] if i > 0 else TOPK)) & (num_visible <= MOST_BLOCKS[i]):
            best, first = _best_of_runs(score_row, num_visible, WIDTHS[i], LENGTHS[i], VECTOR)
            _put_best(best, first, LENGTHS[i], out_row, stride_out_k, num_visible, TOPK, INIT_BLOCKS, LOCAL_BLOCKS, K)
    if LENGTHS[len(LENGTHS) - 1] > RUN and is_row & (num_visible > TWO_ROUNDS):
        best, first = _best_of_parts(score_row, out_row, stride_out_k, num_visible, TOPK, K, RUN, VECTOR)
        _put_best(best, first, RUN, out_row, stride_out_k, num_visible, TOPK, INIT_BLOCKS, LOCAL_BLOCKS, K)
    if LENGTHS[len(LENGTHS) - 1] > 1 and is_row & (num_visible > ONE_ROUND):
        best, first = _best_of_parts(score_row, out_row, stride_out_k, num_visible, TOPK, K, 1, VECTOR)
        _put_best(best, first, 1, out_row, stride_out_k, num_visible, TOPK, INIT_BLOCKS, LOCAL_BLOCKS, K)


def is_served(batch: PagedBatch) -> bool:
    """Whether this selection takes the scores of a decode batch: by architecture and shapes alone."""
    is_short = batch.max_blocks <= FIRST_ROUNDS[-1][0] and batch.config.topk_blocks <= MOST_TOPK
    return is_short and architecture_of(batch.device) == "sm_90"


def launch_topk(score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool) -> None:
    """Launch on checked arguments that are served: scores as a decode scorer leaves them in memory of `new_score`."""
    config = batch.config
    most_blocks, widths, lengths = zip(*first_rounds(batch.max_blocks), strict=True)
    _topk_sm90_kernel[(batch.num_reqs * rows_per_req,)](
        score,
        batch.seq_lens,
        batch.cu_seqlens_q,
        out,
        *score.stride()[:2],
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
        rows_per_req,
        H=config.num_index_heads,
        S=config.block_size,
        TOPK=config.topk_blocks,
        INIT_BLOCKS=config.init_blocks,
        LOCAL_BLOCKS=config.local_blocks,
        K=max(16, next_power_of_2(config.topk_blocks)),
        MOST_BLOCKS=most_blocks,
        WIDTHS=widths,
        LENGTHS=lengths,
        VECTOR=SCORE_VECTOR,
        IS_EARLY=is_early,
        num_warps=1,
        **({"launch_pdl": True} if is_early else {}),
    )


def first_rounds(most_blocks: int) -> list[tuple[int, int, int]]:
    """Those of FIRST_ROUNDS that rows of up to most_blocks may take, the last one no wider than they need."""
    *shorter, (most, width, length) = FIRST_ROUNDS[: 1 + sum(most < most_blocks for most, _, _ in FIRST_ROUNDS)]
    return [*shorter, (most, max(64, min(width, next_power_of_2(-(-most_blocks // length)))), length)]

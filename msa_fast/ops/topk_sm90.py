"""Selection for decode on Hopper: that of `msa_fast.ops.topk` for one row and one warp, with every layout said.

The rounds are the same, from long runs to single blocks, and how many there are is settled row by
row: the table of a captured batch is as wide as the longest context, and most rows are short. So is
the search for the cut. One warp takes few hundred steps, and each waits for the one before, so that
steps are what is saved: every thread finds the best of its runs without asking another, a warp's
threads vote on who is chosen, and a thread counts the votes before its own. Candidates are
[32, EACH], a lane a row; all reductions end in one instruction of the warp.
"""

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.language.extra.cuda import gdc_wait

from msa_fast.ops.launch import SCORE_VECTOR, next_power_of_2
from msa_fast.ops.rank import RANK_FORCED, rank_of_runs
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
    (32, 32, 1),
    (64, 64, 1),
    (128, 128, 1),
    (ONE_ROUND.value, 256, 1),
    (512, 64, RUN.value),
    (1024, 128, RUN.value),
    (TWO_ROUNDS.value, 256, RUN.value),
    (8192, 128, RUN.value**2),
    (16384, 256, RUN.value**2),
)
"""The first round of rows of up to so many blocks: how many candidates it ranks, and their blocks. A candidate more
in every thread costs in every turn of the search."""


@gluon.jit
def _votes(is_it):
    """int32 [32, EACH], twice: of how many lanes before is_it [32, EACH] holds in the same column, and of how many."""
    return gl.inline_asm_elementwise(
        """{
            .reg .pred is_it;
            .reg .b32 lanes;
            setp.ne.s32 is_it, $2, 0;
            vote.sync.ballot.b32 lanes, is_it, 0xffffffff;
            popc.b32 $1, lanes;
            .reg .b32 before;
            mov.u32 before, %lanemask_lt;
            and.b32 lanes, lanes, before;
            popc.b32 $0, lanes;
        }""",
        "=r,=r,r",
        [is_it.to(gl.int32)],
        dtype=(gl.int32, gl.int32),
        is_pure=False,
        pack=1,
    )


@gluon.jit
def _before(is_it, LENGTH: gl.constexpr):
    """int32 [32, EACH]: how many candidates before, in the order of ids, is_it holds for. [32, 1]: how many in all."""
    lanes_before, lanes = _votes(is_it)
    if LENGTH == 1:  # a lane's candidates lie side by side
        own = is_it.to(gl.int32)
        before = gl.sum(lanes_before, axis=1)[:, None] + tl.cumsum(own, axis=1) - own
    else:  # lanes take turns
        before = lanes_before + tl.cumsum(lanes, axis=1) - lanes
    return before, gl.sum(lanes, axis=1)[:, None]


@gluon.jit
def _find_cut(rank, k, GROUPS: gl.constexpr):
    """`find_cut_of_one` of rank [32, EACH], and whether exactly k candidates reach the cut."""
    best = gl.max(rank, axis=1)
    if GROUPS < 32:  # a group is what two lanes have
        pairs = best.reshape([16, 2])
        best = gl.maximum(pairs, gl.max(pairs, axis=1)[:, None]).reshape([32])
    low = gl.min(best, axis=0)
    high = gl.max(gl.max(gl.where(rank == RANK_FORCED, 0, rank), axis=1), axis=0)
    count = gl.sum(gl.sum((rank >= low).to(gl.int32), axis=1), axis=0)
    while (count != k) & (low < high) & (k > 0):
        quarter = ((high - low) >> 2) + 1
        first = low + quarter
        second = first + gl.minimum(quarter, high - first)
        third = second + gl.minimum(quarter, high - second)
        reach_second = (rank >= second).to(gl.int32) << 10
        reach_third = (rank >= third).to(gl.int32) << 20
        counts = gl.sum(gl.sum((rank >= first).to(gl.int32) + reach_second + reach_third, axis=1), axis=0)
        from_first, from_second, from_third = counts & 1023, (counts >> 10) & 1023, counts >> 20
        low = gl.where(from_first >= k, first, low)
        low = gl.where(from_second >= k, second, low)
        low = gl.where(from_third >= k, third, low)
        count = gl.where(from_first >= k, from_first, count)
        count = gl.where(from_second >= k, from_second, count)
        count = gl.where(from_third >= k, from_third, count)
        high = gl.where(from_third < k, third - 1, high)
        high = gl.where(from_second < k, second - 1, high)
        high = gl.where(from_first < k, first - 1, high)
    return low, count == k


@gluon.jit
def _best_of_runs(score_row, num_visible, WIDTH: gl.constexpr, LENGTH: gl.constexpr, VECTOR: gl.constexpr):
    """fp32 [32, WIDTH // 32]: best scores of a row's first WIDTH runs of LENGTH blocks. int32: their first blocks."""
    EACH: gl.constexpr = WIDTH // 32
    AT_ONCE: gl.constexpr = LENGTH if LENGTH <= RUN else VECTOR
    # Blocks of a run lie side by side in a lane, and so do runs of one block; lanes take turns with longer ones.
    wide: gl.constexpr = gl.BlockedLayout([1, EACH, AT_ONCE], [32, 1, 1], [1, 1, 1], [2, 1, 0])
    lane = gl.arange(0, 32, layout=gl.SliceLayout(1, gl.SliceLayout(2, wide)))[:, None]
    turn = gl.arange(0, EACH, layout=gl.SliceLayout(0, gl.SliceLayout(2, wide)))[None, :]
    within = gl.arange(0, AT_ONCE, layout=gl.SliceLayout(0, gl.SliceLayout(1, wide)))[None, None, :]
    first = (lane * EACH + turn if LENGTH == 1 else turn * 32 + lane) * LENGTH
    if LENGTH <= RUN:
        blocks = first[:, :, None] + within
        # All of a vector are read if its first is visible: behind the last visible block scores are -inf.
        score = gl.load(score_row + blocks, mask=blocks // VECTOR * VECTOR < num_visible, other=float("-inf"))
        best = gl.max(score, axis=2)
    else:
        # More than registers hold: vector by vector. The last one of the row is read again by what lies behind it, so
        # that no mask stands between the loads.
        best = gl.full_like(first, float("-inf"), dtype=gl.float32)
        for i in gl.static_range(LENGTH // VECTOR):
            vector = gl.minimum(first // VECTOR + i, (num_visible - 1) // VECTOR)
            score = gl.load(score_row + (vector * VECTOR)[:, :, None] + within)
            best = gl.maximum(best, gl.max(score, axis=2))
    return best, first


@gluon.jit
def _best_of_parts(
    score_row, out_row, stride_out_k, num_visible, TOPK: gl.constexpr, K: gl.constexpr, LENGTH: gl.constexpr,
    VECTOR: gl.constexpr,
):  # fmt: skip
    """The same [32, K * RUN // 32] of the RUN parts, of LENGTH blocks, of the TOPK runs that begin as out_row says."""
    AT_ONCE: gl.constexpr = LENGTH if LENGTH > 1 else VECTOR
    STEPS: gl.constexpr = LENGTH * RUN // AT_ONCE
    EACH: gl.constexpr = K * STEPS // 32
    wide: gl.constexpr = gl.BlockedLayout([1, EACH, AT_ONCE], [32, 1, 1], [1, 1, 1], [2, 1, 0])
    barrier()  # other threads have put the runs
    lane = gl.arange(0, 32, layout=gl.SliceLayout(1, gl.SliceLayout(2, wide)))[:, None]
    turn = gl.arange(0, EACH, layout=gl.SliceLayout(0, gl.SliceLayout(2, wide)))[None, :]
    within = gl.arange(0, AT_ONCE, layout=gl.SliceLayout(0, gl.SliceLayout(1, wide)))[None, None, :]
    step = lane * EACH + turn if LENGTH == 1 else turn * 32 + lane
    slot = step // STEPS
    run = gl.load(out_row + slot * stride_out_k, mask=slot < TOPK, other=0)
    barrier()  # and read them before others are put
    start = gl.where(slot < TOPK, run, num_visible) + step % STEPS * AT_ONCE
    # Said as a multiple, for the compiler to see that VECTOR of them are one load.
    blocks = (start // VECTOR * VECTOR)[:, :, None] + within
    score = gl.load(score_row + blocks, mask=blocks // VECTOR * VECTOR < num_visible, other=float("-inf"))
    if LENGTH > 1:
        best, first = gl.max(score, axis=2), start
    else:
        best = score.reshape([32, EACH * VECTOR])
        first = (start[:, :, None] + within).reshape([32, EACH * VECTOR])
    return best, first


@gluon.jit
def _put_best(
    best, first, LENGTH: gl.constexpr, out_row, stride_out_k, num_visible, k, INIT_BLOCKS: gl.constexpr,
    LOCAL_BLOCKS: gl.constexpr, GROUPS: gl.constexpr,
):  # fmt: skip
    """Write the k best of some runs of LENGTH blocks to out_row, ascending: the answer, or for the next round."""
    flat: gl.constexpr = gl.BlockedLayout([1, best.shape[1]], [32, 1], [1, 1], [1, 0])
    best = gl.convert_layout(best, flat)  # they lie there already; what follows asks for the name
    first = gl.convert_layout(first, flat)
    rank = rank_of_runs(best, first, LENGTH, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
    cut, is_exact = _find_cut(rank, k, GROUPS)
    is_best = (rank > cut) | (is_exact & (rank == cut))
    place, num_best = _before(is_best, LENGTH)
    if not is_exact:  # the first of those at the cut
        is_tied = rank == cut
        tied_before, _ = _before(is_tied, LENGTH)
        is_best = is_best | (is_tied & (tied_before < k - num_best))
        place += gl.minimum(tied_before, k - num_best)
    gl.store(out_row + place * stride_out_k, first, mask=is_best)


@gluon.jit(
    do_not_specialize=["stride_out_h", "stride_out_t", "stride_out_k"],
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
    row, req = gl.program_id(0), gl.program_id(1)
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
    _topk_sm90_kernel[(rows_per_req, batch.num_reqs)](
        score,
        batch.seq_lens,
        batch.cu_seqlens_q,
        out,
        *score.stride()[:2],
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
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
    return [*shorter, (most, max(32, min(width, next_power_of_2(-(-most_blocks // length)))), length)]

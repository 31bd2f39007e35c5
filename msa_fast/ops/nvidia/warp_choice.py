"""The choice of a row's best candidates by one warp, in the selection on Hopper and Blackwell.

Candidates are [ROWS, 32, EACH], as `warp_votes` has them: runs of blocks, or single ones.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from msa_fast.ops.nvidia.warp_votes import any_row, by_place, find_cut, num_before
from msa_fast.ops.rank import RANK_ABSENT, rank_of_runs

MANY_EACH = gl.constexpr(8)
"""Candidates of a lane from which on most are left out before the search, each of whose turns asks about all of them.
With four the steps before it take as long as they save."""
ONE_A_LANE = gl.constexpr(gl.BlockedLayout([1, 1, 1], [1, 32, 1], [1, 1, 1], [2, 1, 0]))
"""Layout of [1, 32, 1]: a candidate of one row in each lane."""


@gluon.jit
def best_of(rank, first, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr):
    """The k best of rank, of runs that begin at `first`: (first, place, is_best), all [ROWS, 32, EACH].

    place: of each chosen run in their ascending list. BESIDE: as `num_before` has it.
    """
    cut, is_exact = find_cut(rank, k, GROUPS, IS_WHOLE)
    is_split = any_row((cut > RANK_ABSENT) & ~is_exact)
    cut, is_exact = cut[:, None, None], is_exact[:, None, None]
    is_best = (rank > cut) | (is_exact & (rank == cut))
    place, num_best = num_before(is_best, BESIDE)
    if is_split:  # the first of those at the cut
        is_tied = rank == cut
        tied_before, _ = num_before(is_tied, BESIDE)
        is_best = is_best | (is_tied & (tied_before < k - num_best))
        place += gl.minimum(tied_before, k - num_best)
    return gl.broadcast(first, place)[0], place, is_best & (rank != RANK_ABSENT)


@gluon.jit
def ranked(best, first, LENGTH: gl.constexpr, num_visible, INIT_BLOCKS: gl.constexpr, LOCAL_BLOCKS: gl.constexpr):
    """(rank, first) of runs of LENGTH blocks, of the same shape and with a lane's candidates side by side."""
    ROWS: gl.constexpr = best.shape[0]
    flat: gl.constexpr = gl.BlockedLayout([ROWS, 1, best.shape[2]], [1, 32, 1], [1, 1, 1], [2, 1, 0])
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, flat))
    best = gl.convert_layout(best, flat)  # moves nothing: only the name of the layout changes
    first = gl.convert_layout(first, flat)
    num_visible = gl.convert_layout(num_visible, of_rows)[:, None, None]
    return rank_of_runs(best, first, LENGTH, num_visible, INIT_BLOCKS, LOCAL_BLOCKS), first


@gluon.jit
def _put(rank, first, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr, out_rows, stride_out_k):
    """Write the k best blocks to out_rows [ROWS], of all that are given."""
    first, place, is_best = best_of(rank, first, BESIDE, k, GROUPS, IS_WHOLE)
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, first.type.layout))
    out_rows = gl.convert_layout(out_rows, of_rows)[:, None, None]
    gl.store(out_rows + place * stride_out_k, first, mask=is_best)


@gluon.jit
def _runs(rank, first, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr):
    """`runs_of_best` of all runs that are given."""
    first, place, is_best = best_of(rank, first, BESIDE, k, GROUPS, IS_WHOLE)
    return gl.convert_layout(by_place(first, place, is_best), gl.SliceLayout(2, ONE_A_LANE))


@gluon.jit
def put_best(
    rank, first, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr, out_rows, stride_out_k,
):  # fmt: skip
    """Write the k best blocks to out_rows [ROWS]. first: blocks; the other arguments as `best_of` has them."""
    if rank.shape[0] == 1 and rank.shape[2] >= MANY_EACH and GROUPS < 32:
        is_left, place, num_left = _left(rank, BESIDE, k, GROUPS)
        if any_row(num_left > 32):
            _put(rank, first, BESIDE, k, GROUPS, IS_WHOLE, out_rows, stride_out_k)
        else:
            few_rank, few_first = _one_a_lane(rank, first, is_left, place, num_left)
            _put(few_rank, few_first, 1, k, GROUPS, True, out_rows, stride_out_k)
    else:
        _put(rank, first, BESIDE, k, GROUPS, IS_WHOLE, out_rows, stride_out_k)


@gluon.jit
def runs_of_best(rank, first, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr):
    """int32 [ROWS, 32]: first blocks of the k best runs, ascending, one a lane; arguments as `best_of` has them.

    Lanes behind the last of them get arbitrary values.
    """
    if rank.shape[0] == 1 and rank.shape[2] >= MANY_EACH and GROUPS < 32:
        is_left, place, num_left = _left(rank, BESIDE, k, GROUPS)
        if any_row(num_left > 32):
            runs = _runs(rank, first, BESIDE, k, GROUPS, IS_WHOLE)
        else:
            few_rank, few_first = _one_a_lane(rank, first, is_left, place, num_left)
            runs = _runs(few_rank, few_first, 1, k, GROUPS, True)
    else:
        runs = _runs(rank, first, BESIDE, k, GROUPS, IS_WHOLE)
    return runs


@gluon.jit
def _left(rank, BESIDE: gl.constexpr, k, GROUPS: gl.constexpr):
    """The candidates [1, 32, EACH] that reach a cut which the best of k lanes reach: all that are selected, and a few.

    Returns (is_left, place, num_left): place in their ascending list, num_left int32 [1]. Where high scores lie side by
    side, in the vectors of few lanes, many are left.
    """
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, rank.type.layout))
    of_lanes = gl.convert_layout(gl.max(rank, axis=2)[:, :, None], ONE_A_LANE)
    cut, _ = find_cut(of_lanes, k, GROUPS, True)
    is_left = rank >= gl.convert_layout(cut, of_rows)[:, None, None]
    place, num_left = num_before(is_left, BESIDE)
    return is_left, place, gl.max(gl.max(num_left, axis=2), axis=1)


@gluon.jit
def _one_a_lane(rank, first, is_left, place, num_left):
    """(rank, first) [1, 32, 1]: of the num_left candidates that are left, 32 or fewer, by their place."""
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, ONE_A_LANE))
    first = gl.convert_layout(by_place(first, place, is_left)[:, :, None], ONE_A_LANE)
    rank = by_place(rank.to(gl.int32, bitcast=True), place, is_left).to(gl.uint32, bitcast=True)
    rank = gl.convert_layout(rank[:, :, None], ONE_A_LANE)
    lane = gl.arange(0, 32, layout=gl.SliceLayout(0, gl.SliceLayout(2, ONE_A_LANE)))[None, :, None]
    return gl.where(lane < gl.convert_layout(num_left, of_rows)[:, None, None], rank, RANK_ABSENT), first

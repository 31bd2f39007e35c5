"""The k best of a row, ties to the lower id, without sorting: a bisection on the rank image.

The set is {rank > cut} and the first few of {rank == cut}. The cut is found by counting: at most 16
quarterings (32 halvings where rows are searched together), in practice three, because it starts
from a bracket that the data give (among K groups of candidates, the minimum of the groups' best ranks
has K ranks at or above it) and ends as soon as a rank separates exactly k. Candidates lie in id
order, so a running count settles ties and gives every chosen one its place in an ascending list.
"""

import triton
import triton.language as tl

from msa_fast.ops.rank import RANK_FORCED

MAX_CANDIDATES = tl.constexpr(1024)
"""Candidates of a row that is searched alone: counts of them have ten bits."""


@triton.jit
def _count_from(rank, threshold):
    """int32 [ROWS]: candidates of each row whose rank reaches `threshold` [ROWS]."""
    return tl.sum((rank >= threshold[:, None]).to(tl.int32), axis=1)


@triton.jit
def quarters(low, high):
    """Three ranks that cut low .. high into quarters, none above high: all are low where that is high."""
    quarter = (high - low + 3) >> 2
    first = low + quarter
    second = first + tl.minimum(quarter, high - first)
    third = second + tl.minimum(quarter, high - second)
    return first, second, third


@triton.jit
def reaches(rank, first, second, third):
    """Three flags in one int32 per candidate, to be summed: ten bits for each of three ranks that it may reach."""
    reach_second = (rank >= second).to(tl.int32) << 10
    reach_third = (rank >= third).to(tl.int32) << 20
    return (rank >= first).to(tl.int32) + reach_second + reach_third


@triton.jit
def narrowed(low, high, count, counts, first, second, third, k):
    """(low, high, count) after a turn, from the sum of `reaches`. count: how many candidates reach low.

    If exactly k candidates reach low, it is the cut, and high falls to it: further turns change nothing.
    """
    from_first, from_second, from_third = counts & 1023, (counts >> 10) & 1023, counts >> 20
    # The cut is from the greatest of the three that k candidates reach, to below the next.
    low = tl.where(from_first >= k, first, low)
    low = tl.where(from_second >= k, second, low)
    low = tl.where(from_third >= k, third, low)
    count = tl.where(from_first >= k, from_first, count)
    count = tl.where(from_second >= k, from_second, count)
    count = tl.where(from_third >= k, from_third, count)
    high = tl.where(from_third < k, third - 1, high)
    high = tl.where(from_second < k, second - 1, high)
    high = tl.where(from_first < k, first - 1, high)
    return low, tl.where(count == k, low, high), count


@triton.jit
def _min_of_groups(rank, GROUPS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """uint32 [ROWS]: the minimum of the groups' best ranks, which GROUPS candidates reach. rank [ROWS, W].

    IS_WHOLE: the candidates are whole rows, whose last may be absent. A group is every GROUPS-th candidate,
    so that none is empty in a row of GROUPS candidates or more. Else the candidates are parts of the runs
    that a round has kept, and a group is the parts of one run.
    """
    ROWS: tl.constexpr = rank.shape[0]
    EACH: tl.constexpr = rank.shape[1] // GROUPS
    if IS_WHOLE:
        best = tl.max(rank.reshape(ROWS, EACH, GROUPS), axis=1)
    else:
        best = tl.max(rank.reshape(ROWS, GROUPS, EACH), axis=2)
    return tl.min(best, axis=1)


@triton.jit
def find_cut_of_one(rank, low, k):
    """`find_cut` of one row, rank [W]: with scalars, so that no count changes its layout.

    low: from `_min_of_groups`. Three ranks are tried at once, their counts (below 1024, since at least one candidate
    lies below them) packed into one sum: what a turn costs is mostly the wait for it.
    """
    tl.static_assert(rank.shape[0] <= MAX_CANDIDATES)
    high = tl.max(tl.where(rank == RANK_FORCED, 0, rank), axis=0)
    count = tl.sum((rank >= low).to(tl.int32), axis=0)
    high = tl.where(count == k, low, high)
    while (low < high) & (k > 0):
        first, second, third = quarters(low, high)
        counts = tl.sum(reaches(rank, first, second, third), axis=0)
        low, high, count = narrowed(low, high, count, counts, first, second, third, k)
    return low


@triton.jit
def find_cut(rank, k, GROUPS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """The greatest rank that at least k candidates of each row reach, or one that exactly k reach.

    rank uint32 [ROWS, W], RANK_ABSENT where there is no candidate; k int32 [ROWS], at most the
    candidates of the row; GROUPS a power of two >= every k, W a multiple of it. IS_WHOLE: see
    `_min_of_groups`. uint32 [ROWS].
    """
    ROWS: tl.constexpr = rank.shape[0]
    W: tl.constexpr = rank.shape[1]
    low = _min_of_groups(rank, GROUPS, IS_WHOLE)
    if ROWS == 1:
        cut = find_cut_of_one(rank.reshape(W), tl.sum(low, axis=0), tl.sum(k, axis=0))
        return tl.broadcast_to(cut, [1])
    # Forced blocks are above every cut; without them the upper end is near.
    high = tl.max(tl.where(rank == RANK_FORCED, 0, rank), axis=1)
    count = _count_from(rank, low)
    is_open = (count != k) & (low < high) & (k > 0)
    # A loop of fixed length around a branch, not a `while`: Triton 3.6 fails on a `while` that
    # carries tensors.
    num_open = tl.sum(is_open.to(tl.int32), axis=0)
    for _ in range(32):
        if num_open > 0:
            step = high - low
            middle = low + (step >> 1) + (step & 1)
            reached = _count_from(rank, middle)
            is_low = is_open & (reached >= k)
            high = tl.where(is_open & (reached < k), middle - 1, high)
            low = tl.where(is_low, middle, low)
            count = tl.where(is_low, reached, count)
            is_open = (count != k) & (low < high) & (k > 0)
            num_open = tl.sum(is_open.to(tl.int32), axis=0)
    return low


@triton.jit
def choose(rank, k, GROUPS: tl.constexpr, IS_WHOLE: tl.constexpr):
    """The k best candidates of each row, as a mask, and the place of each in an ascending list.

    rank, k, GROUPS, IS_WHOLE as in `find_cut`; candidates in id order along W. Returns (bool [ROWS, W],
    int32 [ROWS, W]); a slot means something only where its candidate is chosen.
    """
    cut = find_cut(rank, k, GROUPS, IS_WHOLE)[:, None]
    both = above_and_tied(rank, cut)
    return settle(rank, cut, tl.cumsum(both, axis=1), tl.sum(both, axis=1)[:, None], k[:, None])


@triton.jit
def above_and_tied(rank, cut):
    """Two counts in one int32, to be summed: a candidate above the cut in the low half, a tied one in the high."""
    return (rank > cut).to(tl.int32) + ((rank == cut).to(tl.int32) << 16)


@triton.jit
def settle(rank, cut, running, total, k):
    """`choose`, from the cut and the sums of `above_and_tied`: up to each candidate, in id order, and of all."""
    num_tied = k - (total & 0xFFFF)  # how many of the tied fit
    tied = running >> 16
    is_chosen = (rank > cut) | ((rank == cut) & (tied <= num_tied))
    slot = (running & 0xFFFF) + tl.minimum(tied, num_tied) - 1
    return is_chosen & (k > 0), slot

"""The designed families: score rows made to order for the ways in which a selection goes wrong."""

from collections.abc import Callable

import numpy as np
import torch

from fuzz.values.family import designed
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.formats import ELEMENTS

_PATTERN_DTYPES = {1: torch.int8, 2: torch.int16, 4: torch.int32}
"""The integers that hold the bit pattern of a positive float, by its bytes."""


def ladder(first: int, count: np.ndarray, dtype: str) -> np.ndarray:
    """float32, the representable numbers that stand `count` steps of one ulp above number `first`.

    Bit patterns of positive floats ascend with their values, so a pattern plus one is the next. A ladder
    that would leave a narrow format stays on its greatest number.
    """
    row = ELEMENTS[dtype]
    pattern = np.minimum(first + count, pattern_of(row.max, dtype))
    numbers = torch.from_numpy(pattern).to(_PATTERN_DTYPES[row.num_bytes]).view(row.dtype)
    climbed: np.ndarray = numbers.float().numpy()
    return climbed


def pattern_of(value: float, dtype: str) -> int:
    """The bit pattern of a positive number that the dtype holds."""
    row = ELEMENTS[dtype]
    return int(torch.tensor(value, dtype=row.dtype).view(_PATTERN_DTYPES[row.num_bytes]))


def _climbed(start: float) -> Callable[[Shape], float]:
    """The top of a ladder that starts at some number and has a step for each block."""
    return lambda shape: float(ladder(pattern_of(start, shape.dtype), np.array([shape.num_blocks]), shape.dtype).max())


@designed(ties="one plateau", highest=lambda shape: 2.0)
def plateau(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Fewer winners than slots, and all other blocks equal; in every other row those at a regular distance lie below.

    That distance is as many blocks as there are slots, or the next power of two: a search that begins at the least of
    the best scores of so many groups begins below all equals, and has to count them.
    """
    winners = stream.integers(0, shape.topk_blocks, (rows, 1))
    score = np.where(_places(stream, rows, shape) < winners, 2.0, 1.0)
    distance = max(2, 1 << (shape.topk_blocks - 1).bit_length())
    first = np.where(np.arange(rows) % 2, stream.integers(0, distance - 1, (rows,)), distance)[:, None]
    lower = np.array([0.5, 0.0, -1.0, -2.0])[stream.integers(0, 3, (rows, 1))]
    return np.where(np.arange(shape.num_blocks) % distance == first, lower, score).astype(np.float32)


@designed(ties="tie at the cut", highest=_climbed(4.0))
def tie_at_cut(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Distinct winners above, losers below, and a class of equals that the last slot cuts through."""
    place = _places(stream, rows, shape)
    above = stream.integers(0, shape.topk_blocks - 1, (rows, 1))
    tied = stream.integers(2, max(2, min(shape.num_blocks, 3 * shape.topk_blocks)), (rows, 1))
    top = ladder(pattern_of(4.0, shape.dtype), place, shape.dtype)
    bottom = -ladder(pattern_of(1.0, shape.dtype), place, shape.dtype)
    return np.where(place < above, top, np.where(place < above + tied, 1.0, bottom)).astype(np.float32)


@designed(ties="all different, an ulp apart", highest=_climbed(1.5))
def ulp_ladder(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """All different, neighbours one ulp apart, in any order, of either sign."""
    values = ladder(pattern_of(1.5, shape.dtype), _places(stream, rows, shape), shape.dtype)
    return np.asarray(values * (1 - 2 * stream.integers(0, 1, (rows, 1))).astype(np.float32))


@designed(ties="all different, an ulp apart", highest=_climbed(0.5))
def increasing(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Later blocks score higher, one ulp each."""
    places = np.broadcast_to(np.arange(shape.num_blocks), (rows, shape.num_blocks))
    return ladder(pattern_of(0.5, shape.dtype), places, shape.dtype)


@designed(ties="all different, an ulp apart", highest=_climbed(0.5))
def decreasing(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Later blocks score lower: the most recent blocks are the wrong answer."""
    return increasing.rows(stream, rows, shape)[:, ::-1]


@designed(highest=lambda shape: 6.0)
def one_run(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """All winners stand side by side, so that one split holds every one of them."""
    start = stream.integers(0, max(0, shape.num_blocks - 1), (rows, 1))
    block = np.arange(shape.num_blocks)
    is_winner = (block >= start) & (block < start + shape.topk_blocks)
    return np.where(
        is_winner, 3.0 + stream.integers(0, 3, is_winner.shape), stream.integers(-2, 2, is_winner.shape)
    ).astype(np.float32)


@designed(ties="clusters of equals", highest=lambda shape: 2.0**15)
def clusters(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Clusters that share their high bits and differ in the last ones, and one large outlier."""
    size = (rows, shape.num_blocks)
    centre = pattern_of(2.0, shape.dtype) + 64 * stream.integers(0, 1, size)
    values = ladder(0, centre + stream.integers(0, 3, size), shape.dtype)
    if shape.num_blocks:
        outlier = stream.integers(0, shape.num_blocks - 1, (rows,))
        values[np.arange(rows), outlier] = min(2.0**15, shape.format.max_power)
    return values


@designed(ties="zeros of both signs", highest=lambda shape: 1.0)
def zeros(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Zeros of both signs, and a few small numbers around them."""
    small = max(2.0**-10, shape.format.subnormal_step)
    options = np.array([-0.0, 0.0, -0.0, 0.0, small, -small], dtype=np.float32)
    return np.asarray(options[stream.integers(0, len(options) - 1, (rows, shape.num_blocks))])


@designed()
def extremes(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Scores at both ends of the dtype's range; every other row is hugely negative throughout."""
    high = shape.format.max
    options = np.array([high, high / 2, 1.0, 0.0, -1.0, -high / 2, -high], dtype=np.float32)
    first = np.where(np.arange(rows) % 2, len(options) - 2, 0)[:, None]
    return np.asarray(options[first + stream.integers(0, 2**16, (rows, shape.num_blocks)) % (len(options) - first)])


@designed()
def spread(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Winners stand far apart, each alone in its group of losers; every other row is hugely negative throughout.

    The groups are, in turn: equal parts of the row, as many as there are slots; runs of 2**n blocks, no more of
    them than slots; runs half as long, of which some have no winner. A selection that drops a group, or keeps too
    few of them, drops a winner.
    """
    n, k = shape.num_blocks, shape.topk_blocks
    block = np.arange(n)
    run = 1 << max(0, -(-n // k) - 1).bit_length()
    groups = np.stack([block * k // max(1, n), block // run, block // max(1, run // 2)])
    is_winner = _best_of_groups(stream, groups[np.arange(rows) // 2 % 3], k)
    high = shape.format.max
    is_huge = (np.arange(rows) % 2 == 1)[:, None]
    winner, loser = np.where(is_huge, -high / 2, 1.0), np.where(is_huge, -high, -1.0)
    return np.where(is_winner, winner, loser).astype(np.float32)


def _best_of_groups(stream: Stream, group: np.ndarray, k: int) -> np.ndarray:
    """[rows, n] bool, k random winners a row: one of each group, others beside them where groups are fewer than k.

    group: [rows, n] int64, the group of each block.
    """
    rows, n = group.shape
    member = stream.integers(0, 2**31 - 1, (rows, n))
    best = np.zeros((rows, max(n, k)), dtype=np.int64)
    np.maximum.at(best, (np.arange(rows)[:, None], group), member)
    is_best = np.asarray(member == np.take_along_axis(best, group, axis=1))
    if n == 0:
        return is_best
    key = member + (is_best.astype(np.int64) << 31)  # the best of all groups rank before the others
    return np.asarray(key >= np.sort(key, axis=1)[:, max(0, n - k)][:, None])


def _places(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """[rows, n] int64, each row a shuffle of 0 .. n - 1."""
    return np.argsort(stream.integers(0, 2**31 - 1, (rows, shape.num_blocks)), axis=1, kind="stable")

"""The score designer and the families of values, each exact in fp32 in any order of summation.

Two constructions keep that promise for finite values. A *lattice* family draws q and k as integers
with sum |q * k| < 2**24. A *designed* family gives every row one coordinate of its own, q one-hot
there, and plants in block b a key with the wanted value v on that coordinate: the row's score of
block b is then v and nothing was rounded, whatever v is. `profiles` says which v.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fuzz.values.rng import Bits
from msa_ref.config import require
from msa_ref.formats import ELEMENTS, ElementFormat

EXACT_LIMIT = 2**24
"""fp32 holds every integer up to here, so every partial sum below it is exact."""


@dataclass(frozen=True)
class Shape:
    """What a family may know: blocks n, tokens per block S, head dim D, slots K, dtype by name."""

    num_blocks: int
    block_size: int
    index_head_dim: int
    topk_blocks: int
    dtype: str

    @property
    def format(self) -> ElementFormat:
        """The row of the dtype in the table of formats."""
        return ELEMENTS[self.dtype]


Profile = Callable[[Bits, int, Shape], np.ndarray]
"""(bits, rows, shape) -> [rows, n] float32, each value representable in the shape's dtype."""


# Designed families ----------------------------------------------------------------------------


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


_PATTERN_DTYPES = {1: torch.int8, 2: torch.int16, 4: torch.int32}
"""The integers that hold the bit pattern of a positive float, by its bytes."""


def plateau(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Fewer winners than slots, and all other blocks equal."""
    winners = bits.integers(0, shape.topk_blocks, (rows, 1))
    return np.where(_places(bits, rows, shape) < winners, 2.0, 1.0).astype(np.float32)


def tie_at_cut(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Distinct winners above, losers below, and a class of equals that the last slot cuts through."""
    place = _places(bits, rows, shape)
    above = bits.integers(0, shape.topk_blocks - 1, (rows, 1))
    tied = bits.integers(2, max(2, min(shape.num_blocks, 3 * shape.topk_blocks)), (rows, 1))
    top = ladder(pattern_of(4.0, shape.dtype), place, shape.dtype)
    bottom = -ladder(pattern_of(1.0, shape.dtype), place, shape.dtype)
    return np.where(place < above, top, np.where(place < above + tied, 1.0, bottom)).astype(np.float32)


def ulp_ladder(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """All different, neighbours one ulp apart, in any order, of either sign."""
    values = ladder(pattern_of(1.5, shape.dtype), _places(bits, rows, shape), shape.dtype)
    return values * (1 - 2 * bits.integers(0, 1, (rows, 1))).astype(np.float32)


def increasing(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Later blocks score higher, one ulp each."""
    places = np.broadcast_to(np.arange(shape.num_blocks), (rows, shape.num_blocks))
    return ladder(pattern_of(0.5, shape.dtype), places, shape.dtype)


def decreasing(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Later blocks score lower: the most recent blocks are the wrong answer."""
    return increasing(bits, rows, shape)[:, ::-1]


def one_run(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """All winners stand side by side, so that one split holds every one of them."""
    start = bits.integers(0, max(0, shape.num_blocks - 1), (rows, 1))
    block = np.arange(shape.num_blocks)
    is_winner = (block >= start) & (block < start + shape.topk_blocks)
    return np.where(
        is_winner, 3.0 + bits.integers(0, 3, is_winner.shape), bits.integers(-2, 2, is_winner.shape)
    ).astype(np.float32)


def clusters(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Clusters that share their high bits and differ in the last ones, and one large outlier."""
    size = (rows, shape.num_blocks)
    centre = pattern_of(2.0, shape.dtype) + 64 * bits.integers(0, 1, size)
    values = ladder(0, centre + bits.integers(0, 3, size), shape.dtype)
    if shape.num_blocks:
        values[np.arange(rows), bits.integers(0, shape.num_blocks - 1, (rows,))] = min(2.0**15, shape.format.max_power)
    return values


def zeros(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Zeros of both signs, and a few small numbers around them."""
    small = max(2.0**-10, shape.format.subnormal_step)
    options = np.array([-0.0, 0.0, -0.0, 0.0, small, -small], dtype=np.float32)
    return options[bits.integers(0, len(options) - 1, (rows, shape.num_blocks))]


def extremes(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Scores at both ends of the dtype's range; every other row is hugely negative throughout."""
    most = shape.format.max
    options = np.array([most, most / 2, 1.0, 0.0, -1.0, -most / 2, -most], dtype=np.float32)
    first = np.where(np.arange(rows) % 2, len(options) - 2, 0)[:, None]
    return options[first + bits.integers(0, 2**16, (rows, shape.num_blocks)) % (len(options) - first)]


def spread(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """Winners stand far apart, each alone among losers; every other row is hugely negative throughout.

    Each is alone in its part of the row, or in a run of 2**n blocks: one in all of no more runs than there are
    slots, or in some of more. What loses a run, or does not keep as many as it should, loses a winner.
    """
    n, k = shape.num_blocks, shape.topk_blocks
    block = np.arange(n)
    long = 1 << max(0, -(-n // k) - 1).bit_length()
    groups = np.stack([block * k // max(1, n), block // long, block // max(1, long // 2)])
    group = groups[np.arange(rows) // 2 % 3]
    member = bits.integers(0, 2**31 - 1, (rows, n))
    best = np.zeros((rows, max(n, k)), dtype=np.int64)
    np.maximum.at(best, (np.arange(rows)[:, None], group), member)
    is_best = member == np.take_along_axis(best, group, axis=1)
    # The best of every group, and where groups are few, others.
    key = member + (is_best.astype(np.int64) << 31)
    is_winner = key >= np.sort(key, axis=1)[:, max(0, n - k)][:, None] if n else is_best
    most = shape.format.max
    is_huge = (np.arange(rows) % 2 == 1)[:, None]
    winner, loser = np.where(is_huge, -most / 2, 1.0), np.where(is_huge, -most, -1.0)
    return np.where(is_winner, winner, loser).astype(np.float32)


def _places(bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """[rows, n] int64, each row a shuffle of 0 .. n - 1."""
    return np.argsort(bits.integers(0, 2**31 - 1, (rows, shape.num_blocks)), axis=1, kind="stable")


DESIGNED: dict[str, Profile] = {
    profile.__name__: profile
    for profile in (plateau, tie_at_cut, ulp_ladder, increasing, decreasing, one_run, clusters, zeros, extremes, spread)
}

# Lattice families -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Lattice:
    """Integers in q of magnitude q_low .. q_high with either sign, in k of -k_high .. k_high."""

    sentence: str
    q_low: int
    q_high: int
    k_high: int


def lattice(family: str, shape: Shape) -> Lattice:
    """The ranges of a lattice family, as wide as its promise allows."""
    widest = (EXACT_LIMIT - 1) // shape.index_head_dim
    match family:
        case "integers" | "hashed":
            return Lattice("Small random integers; ties now and then.", 0, 8, 8)
        case "few_values":
            return Lattice("Only -1, 0 and 1: ties everywhere.", 0, 1, 1)
        case "wide":
            # Every integer up to `held` is representable; in fp32 one key takes the whole width.
            held = 2**shape.format.precision
            both = min(int(widest**0.5), held)
            if widest <= held:
                return Lattice("Integers so wide that only a full fp32 product keeps them.", 1, 1, widest)
            return Lattice("Integers so wide that sums come close to 2**24.", 1, both, both)
        case "nonfinite":
            return Lattice("Small integers with NaN and infinities planted.", 1, 4, 4)
    raise KeyError(family)


LATTICE = ("integers", "few_values", "wide", "nonfinite", "hashed")
ROUNDED = ("normal",)
"""Families whose sums round: judged on certified intervals."""
FAMILIES = (*DESIGNED, *LATTICE)
"""Every family whose sums are exact, by name. `hashed` is `integers` made on the device, for the largest shapes."""


def sentence(family: str) -> str:
    """What a family is there for."""
    if family in DESIGNED:
        return (DESIGNED[family].__doc__ or "").strip()
    if family in ROUNDED:
        return "Random normal numbers: sums round, and near-ties are real."
    return lattice(family, Shape(1, 1, 1, 1, "float32")).sentence


def make_keys(family: str, bits: Bits, shape: Shape, is_negative: bool = False) -> np.ndarray:
    """[n, S, D] float32: the key tokens of one request's blocks, without poison. is_negative: see `make_queries`."""
    num_blocks, block_size, head_dim = shape.num_blocks, shape.block_size, shape.index_head_dim
    if family in ROUNDED:
        return normal(bits, (num_blocks, block_size, head_dim), shape.dtype)
    if family not in DESIGNED:
        high = lattice(family, shape).k_high
        return bits.integers(-high, 0 if is_negative else high, (num_blocks, block_size, head_dim)).astype(np.float32)
    if num_blocks == 0:
        return np.zeros((0, block_size, head_dim), dtype=np.float32)
    profile = DESIGNED[family](bits, head_dim, shape)  # [D, n]
    keys = np.empty((num_blocks, block_size, head_dim), dtype=np.float32)
    keys[:] = profile.min(axis=1)
    token = bits.integers(0, block_size - 1, (num_blocks, head_dim))
    keys[np.arange(num_blocks)[:, None], token, np.arange(head_dim)] = profile.T
    return keys


def make_queries(
    family: str, bits: Bits, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
) -> np.ndarray:
    """[query_len, H, D] float32: the query tokens of one request.

    is_negative: of a lattice family, no query is below 0 and no key above, so that no score is: what counts 0
    for something absent is seen then.
    """
    size = (query_len, num_heads, shape.index_head_dim)
    if family in ROUNDED:
        return normal(bits, size, shape.dtype)
    if family not in DESIGNED:
        ranges = lattice(family, shape)
        sign = 1 if is_negative else 1 - 2 * bits.integers(0, 1, size)
        return (sign * bits.integers(ranges.q_low, ranges.q_high, size)).astype(np.float32)
    queries = np.zeros((query_len * num_heads, shape.index_head_dim), dtype=np.float32)
    row = np.arange(query_len * num_heads)
    queries[row, (row + bits.integer(0, shape.index_head_dim - 1)) % shape.index_head_dim] = 1.0
    return queries.reshape(size)


def normal(bits: Bits, size: tuple[int, ...], dtype: str) -> np.ndarray:
    """float32 of about the standard normal distribution, rounded to the dtype.

    A sum of twelve uniform numbers: plain additions of integers, the same on every machine, where
    a logarithm might differ in its last bit.
    """
    total = bits.integers(0, 2**12 - 1, (12, *size)).sum(axis=0) - 6 * (2**12 - 1)
    exact = torch.from_numpy(total.astype(np.float32) / np.float32(2**12))
    rounded: np.ndarray = exact.to(ELEMENTS[dtype].dtype).float().numpy()
    return rounded


def plant_nonfinite(bits: Bits, keys: np.ndarray, queries: np.ndarray, shape: Shape) -> None:
    """Plant NaN and infinities (where the format has them) in one request's keys and queries, in place.

    Whole blocks of NaN (one, K - 1, K, K + 1 or all), NaN tokens, single infinite coordinates, and
    now and then a query row. inf * q and inf - inf come out the same in every order of summation.
    """
    num_blocks, block_size, head_dim = keys.shape
    topk_blocks, top = shape.topk_blocks, shape.format.top
    if num_blocks:
        count = (0, 1, topk_blocks - 1, topk_blocks, topk_blocks + 1, num_blocks)[bits.integer(0, 5)]
        keys[bits.permutation(num_blocks)[:count]] = np.nan
        for value in (np.nan, top, -top):
            count = bits.integer(0, 3)
            where = tuple(bits.integers(0, size - 1, (count,)) for size in (num_blocks, block_size, head_dim))
            keys[where] = value
    if queries.size and bits.integer(0, 3) == 0:
        token, head = bits.integer(0, queries.shape[0] - 1), bits.integer(0, queries.shape[1] - 1)
        queries[token, head, bits.integer(0, head_dim - 1)] = (np.nan, top, -top)[bits.integer(0, 2)]


def mix_scores(family: str, bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """[rows, n] float32: about half of the rows of one family, a quarter of `spread`, each other row of any.

    Rows are selected from independently, so that one case shows a kernel what many would. A winner that
    stands alone is what a selection by runs of blocks loses with its run, whatever else it does right.
    """
    count = len(FAMILIES)
    kinds = bits.integers(0, 4 * count - 1, (rows,)).tolist()
    names = np.array([FAMILIES[k] if k < count else "spread" if k < 2 * count else family for k in kinds], dtype=str)
    score = np.empty((rows, shape.num_blocks), dtype=np.float32)
    for name in (*FAMILIES, *ROUNDED):
        is_kind = names == name
        score[is_kind] = make_scores(name, bits, int(is_kind.sum()), shape)
    return score


def make_scores(family: str, bits: Bits, rows: int, shape: Shape) -> np.ndarray:
    """[rows, n] float32: a score matrix itself, for targets that are given scores."""
    if family in DESIGNED:
        return np.array(DESIGNED[family](bits, rows, shape))
    if family in ROUNDED:
        return normal(bits, (rows, shape.num_blocks), "float32")
    high = lattice(family, shape).k_high
    score = bits.integers(-high, high, (rows, shape.num_blocks)).astype(np.float32)
    score[(score == 0) & (bits.integers(0, 1, score.shape) == 0)] = -0.0
    if family == "nonfinite":
        kind = bits.integers(0, 9, score.shape)
        score[kind == 0] = np.inf
        score[kind == 1] = -np.inf
        score[kind == 2] = np.nan
    return score


def require_exact(queries: torch.Tensor, keys: torch.Tensor, family: str) -> None:
    """Prove for some finite tensors that fp32 sums in any order are exact.

    Args:
        queries: [..., D]; keys: [..., D]; a lattice family's without its power of two.

    Raises:
        ValueError: if no construction of this room proves it.
    """
    queries = queries.flatten(0, -2)
    if bool(((queries == 0) | (queries == 1)).all() and ((queries != 0).sum(-1) <= 1).all()):
        return
    most_key = float(keys.abs().max()) if keys.numel() else 0.0
    most_query = float(queries.abs().sum(-1, dtype=torch.float64).max()) if queries.numel() else 0.0
    is_whole = torch.equal(queries, queries.round()) and torch.equal(keys, keys.round())
    is_small = most_query * most_key < EXACT_LIMIT
    require(is_whole and is_small, "values", "must sum exactly in fp32 in any order", f"family {family!r}")

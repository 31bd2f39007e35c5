"""A family of values: one kind of queries, keys and scores, and how they are drawn.

A family is one function under a decorator, `designed`, `lattice` or `rounded`, or a class of its own, in `designed`,
`bands`, `lattices` or `natural`; `fuzz.values.families` collects them.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fuzz.values.rng import Stream
from fuzz.values.shape import Shape

SCORE_BITS = 24
"""Significant bits of a float32 score."""
SOME_TIES = "ties now and then"
"""The tie class of families that promise nothing special."""


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """One kind of values.

    ties: the class of ties that its rows have, as coverage shows it.
    sentence: what the family is for.
    sums_are_exact: whether fp32 sums of its products are exact in any order; else rows are judged on intervals.
    is_on_device: whether its tensors are made where they live, by hashing: for the largest shapes.
    has_nonfinite: whether NaN and infinities are planted in its tensors.
    has_subnormals: whether its queries or keys are subnormal on purpose.
    """

    name: str
    ties: str
    sentence: str
    sums_are_exact: bool = True
    is_on_device: bool = False
    has_nonfinite: bool = False
    has_subnormals: bool = False

    @abstractmethod
    def max_coordinate(self, shape: Shape) -> float:
        """The greatest coordinate that a key may have."""

    @abstractmethod
    def max_score(self, shape: Shape) -> float:
        """Bound on the magnitude of finite scores, before scaling."""

    def log2_inside(self, shape: Shape) -> int:
        """The log2 of the greatest factor, 1 at most, by which scores stay below the magnitude that none may reach."""
        if shape.max_abs_score is None:
            return 0
        return min(0, math.ceil(math.log2(shape.max_abs_score / self.max_score(shape))) - 1)

    @property
    def is_scalable(self) -> bool:
        """True if its keys may be multiplied by any power of two."""
        return False

    def is_held(self, shape: Shape) -> bool:
        """True if keys of the shape's formats can hold its numbers as they are meant."""
        return True

    @abstractmethod
    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        """[n, S, D] float32: the key tokens of one request's blocks, without poison. is_negative: see `queries`."""

    def best_keys(self, queries: np.ndarray, shape: Shape) -> np.ndarray:
        """[N, D] float32: the best key that the family may hold for each of its queries [N, D]."""
        return np.asarray(self.max_coordinate(shape) * np.sign(queries), dtype=np.float32)

    @abstractmethod
    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        """[query_len, H, D] float32: the query tokens of one request.

        is_negative: no query of a lattice family is below 0 and no key above, so that no score is: a kernel that
        counts something absent as 0 then selects it.
        """

    @abstractmethod
    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        """[rows, n] float32: a score matrix itself, for targets that are given scores."""


ScoreRows = Callable[[Stream, int, Shape], np.ndarray]
"""(stream, rows, shape) -> [rows, n] float32, each value representable in the shape's dtype."""


@dataclass(frozen=True, kw_only=True)
class Designed(Family):
    """A family of score rows, realised in keys and queries without rounding.

    Every row gets one coordinate of its own, with q one-hot there, and block b a key with the wanted value v on
    that coordinate: the row's score of block b is then v, whatever v is.

    is_full_width: whether scores have all bits of float32. Where the dtype has fewer, a row has a few coordinates,
        with q 1 on each of them, and a key holds the value's leading bits on the first and the others behind.
    highest: shape -> bound on the magnitude of v; 1 and the format's greatest number where a family says no other.
    """

    rows: ScoreRows
    is_full_width: bool = False
    highest: Callable[[Shape], float] = lambda shape: max(1.0, shape.format.max)

    def max_coordinate(self, shape: Shape) -> float:
        return shape.format.max

    def is_held(self, shape: Shape) -> bool:
        return not (self.is_full_width and shape.shares_scales)  # the pieces of a score would lose their last bits

    def num_pieces(self, shape: Shape) -> int:
        """Coordinates of a row."""
        return -(-SCORE_BITS // shape.format.precision) if self.is_full_width else 1

    def num_rows(self, shape: Shape) -> int:
        """Rows that have coordinates of their own. Row i has coordinates i, i + num_rows, ..., leading bits first."""
        return shape.index_head_dim // self.num_pieces(shape)

    def max_score(self, shape: Shape) -> float:
        return 2.0 * self.highest(shape)  # a key planted behind a query doubles the best, see `fuzz.inputs.future_keys`

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        num_blocks, block_size, _ = shape.keys_size
        keys = np.zeros(shape.keys_size, dtype=np.float32)
        if num_blocks == 0:
            return keys
        num_rows = self.num_rows(shape)
        score = self.rows(stream, num_rows, shape)  # [R, n]
        token = stream.integers(0, block_size - 1, (num_blocks, num_rows))
        row, block = np.arange(num_rows), np.arange(num_blocks)[:, None]
        worst = score.min(axis=1)
        for piece in range(self.num_pieces(shape)):
            first = piece * num_rows
            leading, score = _split_bits(score, shape.format.precision)
            leading_worst, worst = _split_bits(worst, shape.format.precision)
            keys[..., first : first + num_rows] = leading_worst
            keys[block, token, first + row] = leading.T
        return keys

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        num_rows = self.num_rows(shape)
        queries = np.zeros((query_len * num_heads, shape.index_head_dim), dtype=np.float32)
        row = np.arange(query_len * num_heads)
        own = (row + stream.integer(0, num_rows - 1)) % num_rows
        for piece in range(self.num_pieces(shape)):
            queries[row, own + piece * num_rows] = 1.0
        return queries.reshape(query_len, num_heads, shape.index_head_dim)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        return np.array(self.rows(stream, rows, shape))


def _split_bits(values: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
    """(the leading `precision` bits of float32 numbers, the rest), float32 both: their sum is the number."""
    dropped = SCORE_BITS - precision
    leading = (np.ascontiguousarray(values).view(np.uint32) >> dropped << dropped).view(np.float32)
    return leading, values - leading


@dataclass(frozen=True)
class Range:
    """Integers in q of magnitude q_low .. q_high with either sign, in k of -k_high .. k_high."""

    q_low: int
    q_high: int
    k_high: int


Ranges = Callable[[Shape], Range]
"""The ranges of a shape, as wide as the family's promise allows."""


@dataclass(frozen=True, kw_only=True)
class Lattice(Family):
    """A family of integers with sum |q * k| < 2**24."""

    ranges: Ranges

    def max_coordinate(self, shape: Shape) -> float:
        return self.ranges(shape).k_high

    def max_score(self, shape: Shape) -> float:
        ranges = self.ranges(shape)
        return float(shape.index_head_dim * ranges.q_high * ranges.k_high)

    @property
    def is_scalable(self) -> bool:
        return True

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        high = self.ranges(shape).k_high
        return stream.integers(-high, 0 if is_negative else high, shape.keys_size).astype(np.float32)

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        size, ranges = (query_len, num_heads, shape.index_head_dim), self.ranges(shape)
        sign = 1 if is_negative else 1 - 2 * stream.integers(0, 1, size)
        return np.asarray(sign * stream.integers(ranges.q_low, ranges.q_high, size), dtype=np.float32)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        high = self.ranges(shape).k_high
        score = stream.integers(-high, high, (rows, shape.num_blocks)).astype(np.float32)
        score[(score == 0) & (stream.integers(0, 1, score.shape) == 0)] = -0.0
        if self.has_nonfinite:
            kind = stream.integers(0, 9, score.shape)
            for number, value in enumerate((np.inf, -np.inf, np.nan)):
                score[kind == number] = value
        return score


Numbers = Callable[[Stream, tuple[int, ...], str], np.ndarray]
"""(stream, size, dtype) -> float32 of that size, each value representable in the dtype."""


@dataclass(frozen=True, kw_only=True)
class Rounded(Family):
    """A family of independent numbers whose sums round. max_drawn: a magnitude far out in their distribution."""

    numbers: Numbers
    max_drawn: float
    sums_are_exact: bool = False

    def max_coordinate(self, shape: Shape) -> float:
        return min(self.max_drawn, shape.format.max / 4)

    def max_score(self, shape: Shape) -> float:
        highest = 2.0 * self.max_drawn
        return highest if shape.is_score else shape.index_head_dim * highest**2

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        return self.numbers(stream, shape.keys_size, shape.dtype)

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        return self.numbers(stream, (query_len, num_heads, shape.index_head_dim), shape.query_dtype)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        return self.numbers(stream, (rows, shape.num_blocks), "float32")


def designed(
    *, ties: str = SOME_TIES, is_full_width: bool = False, highest: Callable[[Shape], float] = Designed.highest
) -> Callable[[ScoreRows], Designed]:
    """Makes a designed family of the function that draws its rows: its name, and its docstring's first sentences."""
    return lambda rows: Designed(
        name=rows.__name__,
        ties=ties,
        sentence=sentence_of(rows),
        rows=rows,
        is_full_width=is_full_width,
        highest=highest,
    )


def lattice(
    *, ties: str = SOME_TIES, is_on_device: bool = False, has_nonfinite: bool = False
) -> Callable[[Ranges], Lattice]:
    """Makes a lattice family of the function that says its ranges."""
    return lambda ranges: Lattice(
        name=ranges.__name__,
        ties=ties,
        sentence=sentence_of(ranges),
        ranges=ranges,
        is_on_device=is_on_device,
        has_nonfinite=has_nonfinite,
    )


def rounded(*, ties: str = SOME_TIES, max_drawn: float) -> Callable[[Numbers], Rounded]:
    """Makes a family whose sums round of the function that draws its numbers."""
    return lambda numbers: Rounded(
        name=numbers.__name__,
        ties=ties,
        sentence=sentence_of(numbers),
        numbers=numbers,
        max_drawn=max_drawn,
    )


def sentence_of(function: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())

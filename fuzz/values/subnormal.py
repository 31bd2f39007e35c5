"""The families of subnormal numbers: queries, keys and scores that a unit which flushes them takes for zeros."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

import numpy as np

from fuzz.values.family import SCORE_BITS, Lattice, Range
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.formats import ELEMENTS, ElementFormat

SINGLE = ELEMENTS["float32"]
"""The format of scores."""
_LOG2_MIN_NORMAL = int(log2(SINGLE.min_normal))


@dataclass(frozen=True, kw_only=True)
class Subnormal(Lattice):
    """A lattice family whose queries or keys are all subnormal in their format.

    log2_units: shape -> the log2 of the unit of queries, and of that of keys; their product is a float32.
    middle: the number around which given scores lie, in units of float32's least.
    """

    log2_units: Callable[[Shape], tuple[int, int]]
    middle: int
    has_subnormals: bool = True

    def max_coordinate(self, shape: Shape) -> float:
        return super().max_coordinate(shape) * 2.0 ** self.log2_units(shape)[1]

    def max_score(self, shape: Shape) -> float:
        return super().max_score(shape) * 2.0 ** sum(self.log2_units(shape))

    @property
    def is_scalable(self) -> bool:
        return False

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        units = super().keys(stream, shape, is_negative)
        return np.asarray(np.ldexp(units, self.log2_units(shape)[1]))

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        units = super().queries(stream, query_len, num_heads, shape, is_negative)
        return np.asarray(np.ldexp(units, self.log2_units(shape)[0]))

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        half = 2 ** (SCORE_BITS - 2)
        around = stream.integers(-half, half, (rows, shape.num_blocks)) >> stream.integers(0, SCORE_BITS - 4, (rows, 1))
        sign = 1 - 2 * stream.integers(0, 1, (rows, 1))
        units = (sign * (self.middle + around)).astype(np.float32)
        return np.asarray(np.ldexp(units, _log2_step(SINGLE)))


def _log2_step(row: ElementFormat) -> int:
    return int(log2(row.subnormal_step))


subnormal_keys = Subnormal(
    name="subnormal_keys",
    ties="ties now and then",
    sentence="Keys below the smallest normal number of their format, and queries by which scores are normal.",
    ranges=lambda shape: Range(1, 7, min(7, shape.max_integer)),
    log2_units=lambda shape: (max(0, _LOG2_MIN_NORMAL - _log2_step(shape.format)), _log2_step(shape.format)),
    middle=2 ** (SCORE_BITS - 1),
)
"""Given scores of the family lie on both sides of the smallest normal number."""
subnormal_queries = Subnormal(
    name="subnormal_queries",
    ties="ties now and then",
    sentence="Queries below the smallest normal number; in bf16 and fp32 scores are below that of float32, too.",
    ranges=lambda shape: Range(0, 3, 2),  # so few that bf16's scores are subnormal
    log2_units=lambda shape: (_log2_step(shape.format), 0),
    middle=0,
)
"""Given scores of the family are subnormal."""

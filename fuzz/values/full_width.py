"""The family of full-width queries: all bits that a format has, in sums that are exact all the same."""

from dataclasses import dataclass

import numpy as np

from fuzz.values.family import SCORE_BITS, Family, sentence_of
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape


@dataclass(frozen=True, kw_only=True)
class FullWidth(Family):
    """Queries of as many bits as the format has, each equal to the next but for the last ones.

    Every key is 1 or -1 on one coordinate, so that a block's score is a coordinate of the query, with all its bits: a
    kernel that rounds queries to fewer bits, as TF32 does, ranks wrongly.
    """

    def max_coordinate(self, shape: Shape) -> float:
        return 2.0

    def max_score(self, shape: Shape) -> float:
        return 4.0

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        num_blocks, _, head_dim = shape.keys_size
        keys = np.zeros(shape.keys_size, dtype=np.float32)
        coordinate = stream.permutation(num_blocks) % head_dim
        num_below = (0, 1, 4)[stream.integer(0, 2)]  # of four scores
        sign = 1 - 2 * (stream.integers(0, 3, (num_blocks,)) < num_below)
        keys[np.arange(num_blocks), :, coordinate] = sign[:, None]
        return keys

    def best_keys(self, queries: np.ndarray, shape: Shape) -> np.ndarray:
        keys = np.zeros_like(queries)
        keys[np.arange(len(queries)), queries.argmax(axis=1)] = self.max_coordinate(shape)
        return keys

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        rows = _alike(stream, query_len * num_heads, shape.index_head_dim, shape.format.precision)
        return rows.reshape(query_len, num_heads, shape.index_head_dim)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        sign = 1 - 2 * stream.integers(0, 1, (rows, 1))
        return np.asarray(_alike(stream, rows, shape.num_blocks, SCORE_BITS) * sign, dtype=np.float32)


def _alike(stream: Stream, rows: int, count: int, bits: int) -> np.ndarray:
    """[rows, count] float32 of `bits` bits, from 1 to 2: those of a row have leading bits in common."""
    last = 2 ** (bits - 1)
    low = stream.integers(0, last - 1, (rows, count)) >> stream.integers(bits // 3, bits - 2, (rows, 1))
    start = stream.integers(0, last - 1, (rows, 1))
    significand = last + np.maximum(start, low) - low  # no less than `last`, and below twice as much
    return np.asarray(np.ldexp(significand.astype(np.float32), 1 - bits), dtype=np.float32)


full_width = FullWidth(name="full_width", ties="all different, an ulp apart", sentence=sentence_of(FullWidth))
"""The family."""

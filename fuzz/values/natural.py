"""The families whose sums round: independent numbers, and vectors as models make them.

Only additions of integers, and single IEEE operations on float64: the same numbers on every machine, where a
logarithm or a cosine might differ in its last bit.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fuzz.values.family import Family, rounded, sentence_of
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.formats import ELEMENTS

MAX_TAIL = 1024.0
"""Magnitude at which heavy tails end."""


@rounded(ties="near-ties of rounded sums", max_drawn=4.0)
def normal(stream: Stream, size: tuple[int, ...], dtype: str) -> np.ndarray:
    """Random numbers of about the standard normal distribution: sums round, and near-ties are real."""
    return _round(_bell(stream, size) / 2**12, dtype)


@rounded(ties="near-ties of rounded sums", max_drawn=MAX_TAIL)
def heavy_tails(stream: Stream, size: tuple[int, ...], dtype: str) -> np.ndarray:
    """Student's t with two degrees of freedom: most numbers are small, and a few dwarf them.

    It hunts keys that are spread evenly over a row's range, sums that lose what is small beside what is large, and
    ranking in fewer bits.
    """
    first, second = _bell(stream, size, 3), _bell(stream, size, 3)
    spread = np.sqrt(np.maximum(1, first * first + second * second) / 2)
    highest = min(MAX_TAIL, ELEMENTS[dtype].max / 4)  # a key that is planted behind a query may be twice as large
    return _round(np.clip(_bell(stream, size, 3) / spread, -highest, highest), dtype)


@dataclass(frozen=True, kw_only=True)
class Model(Family):
    """RMS-normed vectors with RoPE by position and a common direction: scores in a narrow band far from zero.

    They correlate along the row, and a few stand out. It hunts what random vectors never show: bins that hold nearly
    all blocks, ranking in fewer bits, filler and sentinels near zero; scores are negative throughout in every fourth
    request.
    """

    sums_are_exact: bool = False

    def max_coordinate(self, shape: Shape) -> float:
        return 8.0

    def max_score(self, shape: Shape) -> float:
        # A planted key has coordinates of 8, and a query a root mean square of 1, rounded.
        return 2.0**90 if shape.is_score else 9.0 * shape.index_head_dim

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        num_blocks, block_size, head_dim = shape.keys_size
        own = _bell(stream, shape.keys_size, 4)
        is_special = stream.integers(0, 64 * block_size - 1, (num_blocks, block_size)) == 0
        own[is_special] //= 8  # hardly anything but the common direction: it stands out
        run = _bell(stream, (-(-num_blocks // RUN), 1, head_dim), 4).repeat(RUN, axis=0)[:num_blocks]
        vectors = (own + run // 2 + 4 * _direction(head_dim)).reshape(-1, head_dim)
        return _round(_rotate(_normed(vectors), 0), shape.dtype).reshape(shape.keys_size)

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        head_dim = shape.index_head_dim
        sign = -1 if stream.integer(0, 3) == 0 else 1
        vectors = _bell(stream, (query_len * num_heads, head_dim), 4) + 4 * sign * _direction(head_dim)
        by_token = _normed(vectors).reshape(query_len, num_heads * head_dim)
        # The last token of a request stands near the end of its last block.
        first = max(0, shape.num_blocks * shape.block_size - query_len)
        heads = [_rotate(part, first) for part in np.split(by_token, num_heads, axis=1)]
        return _round(np.stack(heads, axis=1), shape.query_dtype)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        size = (rows, shape.num_blocks)
        level = (1 - 2 * stream.integers(0, 1, (rows, 1))) << stream.integers(16, 28, (rows, 1))
        own = _bell(stream, size, 2)
        own[stream.integers(0, 2**6 - 1, size) == 0] *= 16
        total = level + own + stream.integers(-64, 64, size).cumsum(axis=1)
        scaled: np.ndarray = np.ldexp(total.astype(np.float32), stream.integers(-60, 60, (rows, 1)))
        return scaled


model = Model(name="model", ties="near-ties in a narrow band", sentence=sentence_of(Model))
"""The family."""

RUN = 8
"""Neighbouring blocks whose keys have something in common."""


def _direction(head_dim: int) -> np.ndarray:
    """[D] int64, the direction that all queries and keys share, as a model's weights make it."""
    return _bell(Stream(head_dim, "common direction"), (head_dim,), 4)


def _bell(stream: Stream, size: tuple[int, ...], terms: int = 12) -> np.ndarray:
    """int64, about normal: sums of uniform numbers below 2**12. Their standard deviation is 2**12 for 12 terms."""
    high = 2**12 - 1
    total: np.ndarray = stream.integers(0, high, (terms, *size)).sum(axis=0) - terms * high // 2
    return total


def _normed(vectors: np.ndarray) -> np.ndarray:
    """[N, D] integers over their root mean square, float64."""
    mean = np.maximum(1, (vectors * vectors).sum(axis=1, keepdims=True)) / vectors.shape[1]
    normed: np.ndarray = vectors / np.sqrt(mean)
    return normed


def _rotate(vectors: np.ndarray, first: int) -> np.ndarray:
    """[N, D] with the first quarter of the coordinates turned by position, in pairs of slower and slower rotation.

    first: the position of the first vector.
    """
    pairs = vectors.shape[1] // 8
    cos, sin = _turns(first + np.arange(len(vectors)), pairs)
    left, right, rest = vectors[:, :pairs], vectors[:, pairs : 2 * pairs], vectors[:, 2 * pairs :]
    return np.concatenate([left * cos - right * sin, right * cos + left * sin, rest], axis=1)


def _turns(position: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """(cosines, sines), [N, pairs] float64 each, of every pair's angle times the position.

    The tangent of a pair's half angle is a power of two, and powers of a rotation come from its squares.
    """
    tangent = np.ldexp(1.0, -1 - 10 * np.arange(pairs) // max(1, pairs - 1))
    step_cos, step_sin = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    cos, sin = np.ones((len(position), pairs)), np.zeros((len(position), pairs))
    for bit in range(int(position.max(initial=0)).bit_length()):
        is_on = (position >> bit & 1 == 1)[:, None]
        turned = cos * step_cos - sin * step_sin, sin * step_cos + cos * step_sin
        cos, sin = np.where(is_on, turned[0], cos), np.where(is_on, turned[1], sin)
        step_cos, step_sin = step_cos * step_cos - step_sin * step_sin, 2 * step_cos * step_sin
    return cos, sin


def _round(exact: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest numbers that the dtype holds, as float32. One rounding: fp32 lies between for all."""
    representable: np.ndarray = torch.from_numpy(exact.astype(np.float32)).to(ELEMENTS[dtype].dtype).float().numpy()
    return representable

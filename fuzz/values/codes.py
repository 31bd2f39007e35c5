"""The families of codes: every number that a format of eight bits has, and NaN in all its codes."""

from dataclasses import dataclass

import numpy as np
import torch

from fuzz.values.family import Family, designed, sentence_of
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape

E4M3: np.ndarray = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
"""The number of each e4m3 byte."""
E4M3_PRECISION = 4
"""Significant bits of an e4m3 number. A format with fewer holds the nearest numbers of its own in their place."""
SMALL = 2.0**-5
"""Twice the smallest normal e4m3 number."""
FINITE: np.ndarray = E4M3[~np.isnan(E4M3)]


@designed()
def every_code(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """All finite e4m3 numbers, each a block's score; in every other row the smallest, subnormal ones and both zeros."""
    place = stream.integers(0, 2**31 - 1, (rows, shape.num_blocks))
    codes, small = FINITE[np.abs(FINITE) <= shape.format.max], FINITE[np.abs(FINITE) < SMALL]
    is_small = np.arange(rows)[:, None] % 2 == 1
    return _held(np.where(is_small, small[place % len(small)], codes[place % len(codes)]), shape)


@dataclass(frozen=True, kw_only=True)
class AnyBytes(Family):
    """Any bytes: e4m3 numbers of all sizes side by side, and NaN in both of its codes; in NVFP4 any codes and scales.

    Bytes of keys meet queries of -2 to 2, and in every other length small keys meet any bytes of queries. It hunts
    codes that are read as another format's, subnormal numbers as 0, and products that miss a saturation.
    """

    sums_are_exact: bool = False

    def max_coordinate(self, shape: Shape) -> float:
        return min(448.0, shape.format.max)

    def max_score(self, shape: Shape) -> float:
        return 448.0 if shape.is_score else 448.0 * 448.0 * shape.index_head_dim

    def keys(self, stream: Stream, shape: Shape, is_negative: bool = False) -> np.ndarray:
        return _numbers(stream, shape.keys_size, shape, has_bytes=shape.num_blocks % 2 == 0)

    def queries(
        self, stream: Stream, query_len: int, num_heads: int, shape: Shape, is_negative: bool = False
    ) -> np.ndarray:
        size = (query_len, num_heads, shape.index_head_dim)
        return _numbers(stream, size, shape, has_bytes=shape.num_blocks % 2 == 1)

    def scores(self, stream: Stream, rows: int, shape: Shape) -> np.ndarray:
        return _numbers(stream, (rows, shape.num_blocks), shape, has_bytes=True)


def _numbers(stream: Stream, size: tuple[int, ...], shape: Shape, has_bytes: bool) -> np.ndarray:
    """float32 of any bytes, one NaN in eight of them kept; or of -2 to 2."""
    if not has_bytes:
        small = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0], dtype=np.float32)
        return np.asarray(small[stream.integers(0, 6, size)])
    numbers = E4M3[stream.integers(0, 255, size)]
    is_number = ~np.isnan(numbers) | (stream.integers(0, 7, size) == 0)
    limit = shape.format.max
    return _held(np.clip(np.where(is_number, numbers, 1.0), -limit, limit), shape)


def _held(numbers: np.ndarray, shape: Shape) -> np.ndarray:
    """float32, the numbers as the format of a shape holds them."""
    exact = np.asarray(numbers, dtype=np.float32)
    if shape.format.precision >= E4M3_PRECISION:
        return exact
    rounded: np.ndarray = torch.from_numpy(exact).to(shape.format.dtype).float().numpy()
    return rounded


any_bytes = AnyBytes(
    name="any_bytes",
    ties="ties now and then",
    sentence=sentence_of(AnyBytes),
    has_nonfinite=True,
    has_subnormals=True,
)
"""The family."""

"""The family of bands: score rows whose blocks nearly all lie in one bin of a histogram or radix selection."""

import numpy as np

from fuzz.values.family import SCORE_BITS, designed
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape

BINS = ((16, 20), (16, 21), (16, 23), (8, 16), (10, 21))
"""(low bits that a fine bin ignores, low bits that a coarser one does): 16 and 12, 11 or 9 bits of a float32 key, 24
and 16, 22 and 11."""
SIGNIFICAND_BITS = SCORE_BITS - 1
"""Bits of a float32 pattern below its exponent."""
BIAS = 127
"""The exponent field of 1.0."""


@designed(ties="a narrow band", is_full_width=True)
def band(stream: Stream, rows: int, shape: Shape) -> np.ndarray:
    """Nearly all blocks in one narrow band of full-width float32 scores, at any distance from zero and of either sign.

    The band lies in one fine bin of a radix selection, and 1 to K - 1 winners above it, in the same coarser bin: a
    selection that stages too few candidates, or whose passes rank by keys of other widths, loses or repeats blocks.
    """
    size = (rows, shape.num_blocks)
    fine, coarse = (np.array(BINS)[stream.integers(0, len(BINS) - 1, (rows,))].T)[:, :, None]
    last = (1 << (coarse - fine)) - 1  # bin of a coarser one's fine bins
    in_band = stream.integers(0, 2**31 - 1, (rows, 1)) % last
    above = in_band + 1 + stream.integers(0, 2**31 - 1, size) % (last - in_band)
    num_winners = stream.integers(1, max(1, shape.topk_blocks - 1), (rows, 1))
    is_winner = np.argsort(stream.integers(0, 2**31 - 1, size), axis=1, kind="stable") < num_winners
    place = np.where(is_winner, above, in_band)
    low = stream.integers(0, 2**31 - 1, size) >> stream.integers(0, 31, (rows, 1))  # some rows hold many equals
    is_negative = stream.integers(0, 1, (rows, 1)) == 1
    pattern = (np.where(is_negative, last - place, place) << fine) + low % (1 << fine)
    start = stream.integers(0, 2**SIGNIFICAND_BITS - 1, (rows, 1)) >> coarse << coarse
    return _numbers(_exponent(stream, shape), start + pattern, shape) * np.where(is_negative, -1, 1).astype(np.float32)


def _exponent(stream: Stream, shape: Shape) -> int:
    """The exponent field of a request's scores, twice any of which is finite; 0, of subnormal ones, if they are given.

    One for all rows of a request: a key holds the scores of many rows, and its coordinates then have one unit.
    """
    highest = int(np.log2(shape.format.max_power)) - 1
    lowest = -BIAS if shape.is_score else min(highest, _log2_step(shape) + SIGNIFICAND_BITS)
    return BIAS + (lowest, highest, *[stream.integer(lowest, highest)] * 4)[stream.integer(0, 5)]


def _numbers(exponent: int, significand: np.ndarray, shape: Shape) -> np.ndarray:
    """float32 of an exponent field and 23 bits, of which a format cuts those that it has no numbers for."""
    cut = max(0, _log2_step(shape) - (max(1, exponent) - BIAS - SIGNIFICAND_BITS))
    pattern = (exponent << SIGNIFICAND_BITS) + (significand >> cut << cut)
    return np.ascontiguousarray(pattern.astype(np.uint32)).view(np.float32)


def _log2_step(shape: Shape) -> int:
    """The exponent of a number that all scores are multiples of: a normal one where they are sums."""
    step = int(np.log2(shape.format.subnormal_step))
    return step if shape.format.precision == SCORE_BITS else max(step, 1 - BIAS)

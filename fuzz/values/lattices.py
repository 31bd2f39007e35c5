"""The lattice families, integers whose sums are exact in fp32, and the one family whose sums round."""

import numpy as np
import torch

from fuzz.values.family import Range, Shape, lattice, rounded
from fuzz.values.rng import Stream
from msa_ref.formats import ELEMENTS

EXACT_LIMIT = 2**24
"""Bound on the integers that fp32 holds: every partial sum below it is exact."""


@lattice()
def integers(shape: Shape) -> Range:
    """Small random integers; ties now and then."""
    return Range(0, 8, 8)


@lattice(ties="ties everywhere")
def few_values(shape: Shape) -> Range:
    """Only -1, 0 and 1: ties everywhere."""
    return Range(0, 1, 1)


@lattice()
def wide(shape: Shape) -> Range:
    """Integers so wide that sums come close to 2**24; in fp32, so wide that only a full fp32 product keeps them."""
    widest = (EXACT_LIMIT - 1) // shape.index_head_dim
    held = 2**shape.format.precision  # every integer up to here is representable
    if widest <= held:
        return Range(1, 1, widest)
    both = min(int(widest**0.5), held)
    return Range(1, both, both)


@lattice(has_nonfinite=True)
def nonfinite(shape: Shape) -> Range:
    """Small integers with NaN and infinities planted."""
    return Range(1, 4, 4)


@lattice(is_on_device=True)
def hashed(shape: Shape) -> Range:
    """Small random integers made on the device, for the largest shapes."""
    return integers.ranges(shape)


@rounded(ties="near-ties of rounded sums", max_drawn=4.0)
def normal(stream: Stream, size: tuple[int, ...], dtype: str) -> np.ndarray:
    """Random numbers of about the standard normal distribution: sums round, and near-ties are real.

    Each is a sum of twelve uniform numbers: plain additions of integers, the same on every machine, where a
    logarithm might differ in its last bit.
    """
    total = stream.integers(0, 2**12 - 1, (12, *size)).sum(axis=0) - 6 * (2**12 - 1)
    exact = torch.from_numpy(total.astype(np.float32) / np.float32(2**12))
    representable: np.ndarray = exact.to(ELEMENTS[dtype].dtype).float().numpy()
    return representable

"""The lattice families: integers whose sums are exact in fp32, in any order."""

from fuzz.values.family import Range, lattice
from fuzz.values.shape import Shape

EXACT_LIMIT = 2**24
"""Bound on the integers that fp32 holds: every partial sum below it is exact."""


@lattice()
def integers(shape: Shape) -> Range:
    """Small random integers; ties now and then."""
    return Range(0, 8, min(8, shape.max_integer))


@lattice(ties="ties everywhere")
def few_values(shape: Shape) -> Range:
    """Only -1, 0 and 1: ties everywhere."""
    return Range(0, 1, 1)


@lattice()
def wide(shape: Shape) -> Range:
    """Integers so wide that sums come close to 2**24; in fp32, so wide that only a full fp32 product keeps them."""
    widest = (EXACT_LIMIT - 1) // shape.index_head_dim
    held = shape.max_integer
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

"""Facts of operands on which the bounds of `msa_ref.precision` rest: magnitudes, lattice, partial sums."""

import torch


def magnitudes(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """|values| in float64 as a tensor core's exponents see them, for summing M.

    Subnormal numbers of `dtype`, zero excepted, count as its smallest normal number. NaN and
    infinities count as zero: their scores need no bound.
    """
    magnitude = finite_magnitudes(values)
    return magnitude.masked_fill_(_is_subnormal(magnitude, dtype), _min_normal(dtype))


def finite_magnitudes(values: torch.Tensor) -> torch.Tensor:
    """|values| in float64, NaN and infinities as zero."""
    return values.double().abs().nan_to_num_(nan=0.0, posinf=0.0)


def has_subnormals(values: torch.Tensor, dtype: torch.dtype) -> bool:
    """True if some of the values are subnormal numbers of a dtype: `magnitudes` lifts them. Synchronizes."""
    return bool(_is_subnormal(values.abs(), dtype).any())


def _is_subnormal(magnitude: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (magnitude > 0) & (magnitude < _min_normal(dtype))


def _min_normal(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).smallest_normal  # of any format: a unit may be studied that no kernel uses yet


def lattice_unit(values: torch.Tensor) -> torch.Tensor:
    """The largest power of two that every number along the last axis is a multiple of.

    Args:
        values: [..., D] bf16, fp16, fp32, or the same numbers in float64. NaN and infinities are passed over.

    Returns:
        [...] float64; +inf where all are zero.
    """
    values = values.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    # 24 bits of significand as an integer; a value is that many times a power of two.
    significand = values.frexp().mantissa.mul_(2**24).long()
    lowest_bit = (-significand).bitwise_and_(significand)
    unit = values.div_(significand).mul_(lowest_bit)
    return unit.nan_to_num_(nan=torch.inf).amin(-1)  # 0 / 0: a zero is a multiple of anything


def largest_partial_sum(score: torch.Tensor, exact_magnitude: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Bound on every partial sum of a dot product, and on every product as a unit sees it.

    A partial sum is at most (M + |score|) / 2, and so is a product; a lifted one is larger by no more than M is.

    Args:
        score: [...] float64, the dot products.
        exact_magnitude, magnitude: [...] float64, M of the operands, and of operands lifted as in `magnitudes`.
    """
    largest = score.abs().add_(exact_magnitude).mul_(0.5)
    return largest if magnitude is exact_magnitude else largest.add_(magnitude - exact_magnitude)

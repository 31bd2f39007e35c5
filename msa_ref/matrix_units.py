"""Bit models of matrix units: the fp32 numbers that a unit's sums of products come out as.

A unit takes L products at a time and the accumulator, aligns all of them to the largest exponent
among them, drops what lies F bits below that, adds what is left exactly, and keeps m fraction
bits, towards zero; the next L products are added to that. A selection on scores of known units and
a known order of products is thereby a point, not an interval.

Source: F. A. Khattak and M. Mikaitis, Accurate models of NVIDIA tensor cores, arXiv:2512.07004;
the parameters are those of the public package `mmasim`, which the tests hold the models against.
"""

from dataclasses import dataclass

import torch

from msa_ref.config import require

FP32_MIN_EXPONENT = -126
"""Exponent of the smallest normal fp32 number, which smaller ones count for, too."""
FP32_FRACTION_BITS = 23
MAX_PRODUCTS = 2**22
"""Products that are held at once; bounds the memory of a large matrix."""


@dataclass(frozen=True)
class MatrixUnit:
    """One unit. L, F, m: see the module. zero_exponent: the exponent that a product of 0 counts for."""

    name: str
    L: int
    F: int
    m: int
    zero_exponent: int


UNITS: dict[str, MatrixUnit] = {
    unit.name: unit
    for unit in (
        MatrixUnit("wgmma", L=16, F=25, m=23, zero_exponent=-133),
        MatrixUnit("tcgen05", L=16, F=25, m=23, zero_exponent=-133),
        MatrixUnit("mma.sync of Ampere", L=8, F=24, m=23, zero_exponent=-132),
        MatrixUnit("mma.sync", L=16, F=25, m=23, zero_exponent=-133),
        MatrixUnit("wgmma fp8", L=32, F=13, m=13, zero_exponent=-133),
        MatrixUnit("tcgen05 fp8", L=32, F=25, m=23, zero_exponent=-133),
    )
}
"""Name -> unit. `mma.sync` is that of Hopper and of both Blackwells, on bf16 and fp16."""


def unit_product(
    queries: torch.Tensor, keys: torch.Tensor, unit: MatrixUnit, accumulator: torch.Tensor | None = None
) -> torch.Tensor:
    """The products of queries and keys as a unit sums them.

    Args:
        queries, keys: [M, D] and [N, D], bf16, fp16 or e4m3; D is summed from its first element to its last.
        accumulator: [M, N] float32 to begin with; zeros if None.

    Returns:
        [M, N] float32. Where a product is NaN or infinite, so is the sum that IEEE arithmetic gives.

    Raises:
        ValueError: if D is not the same, or no multiple of the unit's L.
    """
    _check_dims(queries, keys, unit)
    total = torch.zeros(len(queries), len(keys), device=queries.device)
    if all(_is_common(values) for values in (queries, keys, accumulator) if values is not None):
        return _common_product(queries, keys, unit, total if accumulator is None else accumulator)
    rows = max(1, MAX_PRODUCTS // max(1, len(keys) * unit.L))
    for row in range(0, len(queries), rows):
        part = slice(row, row + rows)
        start = total[part] if accumulator is None else accumulator[part]
        total[part] = unit_sums(queries[part, None], keys[None], unit, start)
    return total


def unit_sums(
    queries: torch.Tensor, keys: torch.Tensor, unit: MatrixUnit, accumulator: torch.Tensor | None = None
) -> torch.Tensor:
    """The dot products of queries and keys [..., D] whose other axes broadcast, as a unit sums them.

    Arguments, answer and refusals are those of `unit_product`, but for the shapes. It holds L products of all at once.
    """
    _check_dims(queries, keys, unit)
    q, k = queries.double(), keys.double()
    total = (q[..., 0] * k[..., 0]).float().zero_() if accumulator is None else accumulator
    q_exponent, k_exponent = _exponent(queries), _exponent(keys)
    for first in range(0, queries.shape[-1], unit.L):
        at = slice(first, first + unit.L)
        total = _added(total, q[..., at] * k[..., at], q_exponent[..., at] + k_exponent[..., at], unit)
    return total


COMMON_EXPONENTS = 40
"""Numbers from 2**-40 up to 2**40, and 0: what is left of their products is normal in fp32, and 2**8 of it in fp64."""
POWER_BITS = 3
"""The largest of up to 32 exponents is that of the sum of their powers, 2 ** (8 * exponent), divided by 8."""
SUMMED = 16
"""Scaled products that an int32 holds the sum of: each is below 4 * 2**25."""


def _is_common(values: torch.Tensor) -> bool:
    """True if all numbers are in the range that `_common_product` is for."""
    magnitude = values.float().abs()
    is_inside = (magnitude >= 2.0**-COMMON_EXPONENTS) & (magnitude < 2.0**COMMON_EXPONENTS)
    return bool((is_inside | (magnitude == 0)).all())


def _common_product(queries: torch.Tensor, keys: torch.Tensor, unit: MatrixUnit, total: torch.Tensor) -> torch.Tensor:
    """The same sums, eight times as fast: fp32 holds each product, and an int32 what is left of it once scaled."""
    chunks = queries.shape[-1] // unit.L
    left, right = (
        _power(values).view(len(values), chunks, unit.L).transpose(0, 1).contiguous() for values in (queries, keys)
    )
    highs = (left @ right.transpose(1, 2)).view(torch.int32)[..., 1::2]  # of each fp64, the half with its exponent
    tops = (highs >> 20) - 1023 >> POWER_BITS
    q, k = queries.float().t().contiguous(), keys.float().t().contiguous()
    kept_bits = -(1 << (52 - unit.m))
    for chunk in range(chunks):
        at = slice(chunk * unit.L, (chunk + 1) * unit.L)
        # Products that are all 0 have a top far below, so that nothing of the accumulator is cut off.
        top = tops[chunk].maximum((total.view(torch.int32) >> 23 & 0xFF) - 127).clamp_min_(-2 * COMMON_EXPONENTS)
        scale = (unit.F + 127 - top << 23).view(torch.float32)
        products = (q[at, :, None] * k[at, None, :]).mul_(scale).to(torch.int32)
        parts = products.view(-1, min(SUMMED, unit.L), *total.shape).sum(1, dtype=torch.int32)
        kept = parts.sum(0, dtype=torch.float64).add_((total * scale).trunc_())
        total = kept.view(torch.int64).bitwise_and_(kept_bits).view(torch.float64).float().div_(scale).add_(0.0)
    return total


def _power(values: torch.Tensor) -> torch.Tensor:
    """float64 2 ** (8 * exponent) of each number; 0 of 0."""
    bits = values.float().view(torch.int32)
    exponent = ((bits >> 23 & 0xFF).long() - 127).clamp_min_(_min_exponent(values.dtype))
    return torch.where(values == 0, 0, ((exponent << POWER_BITS) + 1023 << 52).view(torch.float64))


def _check_dims(queries: torch.Tensor, keys: torch.Tensor, unit: MatrixUnit) -> None:
    dim = queries.shape[-1]
    require(keys.shape[-1] == dim, "keys", f"must have D = {dim}", keys.shape[-1])
    require(dim % unit.L == 0, "D", f"must be a multiple of {unit.L} for {unit.name}", dim)


def _added(total: torch.Tensor, products: torch.Tensor, exponents: torch.Tensor, unit: MatrixUnit) -> torch.Tensor:
    """One instruction: products [.., L] with their exponents, added to the accumulator."""
    zero = unit.zero_exponent
    own = torch.where(total == 0, zero, _exponent(total))
    top = torch.where(products == 0, zero, exponents).amax(-1).maximum(own)
    # A power of two, so that scaling is exact: the last bit that is kept becomes the ones.
    scale = torch.ldexp(torch.ones_like(products[..., 0]), unit.F - top)
    kept = (products * scale[..., None]).trunc_().sum(-1) + (total.double() * scale).trunc_()
    return _toward_zero(kept / scale, unit.m)


def _exponent(values: torch.Tensor) -> torch.Tensor:
    """floor(log2 |x|), int32; a subnormal number's is that of its format's smallest normal one."""
    return (torch.frexp(values.float()).exponent - 1).clamp_min_(_min_exponent(values.dtype))


def _min_exponent(dtype: torch.dtype) -> int:
    """The exponent of a format's smallest normal number."""
    return 1 - int(torch.finfo(dtype).smallest_normal.as_integer_ratio()[1].bit_length())


def _toward_zero(values: torch.Tensor, fraction_bits: int) -> torch.Tensor:
    """float64 as fp32: `fraction_bits` bits of the fraction are kept, the others cut off; -0 becomes +0."""
    near = values.float()
    is_beyond = near.double().abs() > values.abs()
    near = torch.where(is_beyond, torch.nextafter(near, torch.zeros_like(near)), near)
    dropped = FP32_FRACTION_BITS - fraction_bits
    if dropped:
        near = torch.where(
            near.isfinite(), near.view(torch.int32).bitwise_and(-(1 << dropped)).view(torch.float32), near
        )
    return near + 0.0

"""Bounds on the error of a kernel's score, for each unit that may have computed it.

Every bound has one form. For a query q and a key k of D numbers each, with M = sum |q_d k_d|,

    |kernel's score - q . k|  <=  relative * M + absolute

whatever the order of summation, and the score is exact where the operands lie on a lattice that
is coarse enough (`exact_units`). A fact about sums makes such bounds possible: no partial sum
exceeds M in magnitude, so every rounding is at most a fixed share of M, and cancellation, which
makes the result small, cannot make the loss large. More sharply, a partial sum lies between the
sum of all negative products and that of all positive ones, and neither exceeds (M + |q . k|) / 2.

All e4m3 numbers are multiples of 2^-9, and their products of 2^-18. So a score of e4m3 queries and
keys is exact in fp32, in any order, where that half is at most 2^24 * 2^-18 = 64, which RMS-normed
vectors of 128 keep, and its interval is a point. Hopper's fp8 unit keeps 13 bits: there the half
must stay below 2^13 * 2^-18 = 2^-5.

Three things stand outside the relative term, and each has its place:

- *Subnormal inputs.* A tensor core aligns products by the sum of the operands' exponents and
  gives a subnormal operand the exponent of the smallest normal number. It then drops bits relative
  to 2^e, not to the product. `magnitudes` therefore lifts subnormal operands to that number. A
  unit that flushes operands to zero, as CDNA2's does, is outside these bounds.
- *Subnormal results.* Below 2^-126 rounding is absolute, and a unit may flush to zero. Each of at
  most 2D operations loses less than 2^-126 to it: `absolute` = 2D * 2^-126 = D * 2^-125.
- *Overflow.* Where (1 + relative) * M + absolute reaches the largest fp32 number, some order of
  summation may overflow, or meet +inf and -inf, and nothing is promised: the interval is
  [-inf, +inf]. Below it, no partial sum overflows in any order.

NaN and infinite scores need no bound: a NaN product, or infinite products of both signs, make
NaN in every order; infinite products of one sign make that infinity.

Sources: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1 and 4.2, for
gamma_n; for alignment and truncation in tensor cores M. Fasi, N. J. Higham, M. Mikaitis and
S. Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ CS 2021, F. A. Khattak and M. Mikaitis,
Accurate models of NVIDIA tensor cores, arXiv:2512.07004, and the public package `mmasim`, whose
parameters L, F and m are used here and whose models the tests hold the bounds against.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from msa_ref.config import require
from msa_ref.formats import format_of

U32 = 2.0**-24
"""Unit roundoff of fp32, round to nearest."""

U64 = 2.0**-53
"""Unit roundoff of float64, in which the reference itself sums."""


@dataclass(frozen=True)
class ScoreBound:
    """|score - exact| <= relative * magnitude + absolute, and 0 up to exact_units of a lattice.

    exact_units: if every operand of a dot product is a multiple of a power of two, u_q and u_k,
        with u_q * u_k >= 2^-126, and no partial sum and no product, as the unit sees it, exceeds
        exact_units * u_q * u_k, then every partial sum is a representable multiple of u_q * u_k,
        nothing is dropped, and the score is exact.
    by_factor: the share of the magnitude that a factor loses, be the score itself exact or not.
    """

    unit: str
    relative: float
    absolute: float
    exact_units: float
    by_factor: float = 0.0


def gamma(num_roundings: int, roundoff: float = U32) -> float:
    """gamma_n = n u / (1 - n u): n factors (1 + delta), |delta| <= u, stay within 1 +- gamma_n.

    Source: Higham 2002, lemma 3.1. Valid for n u < 1.
    """
    require(num_roundings * roundoff < 1, "num_roundings", f"must be below {1 / roundoff:g}", num_roundings)
    return num_roundings * roundoff / (1 - num_roundings * roundoff)


def any_order_fp32(index_head_dim: int) -> ScoreBound:
    """Exact products summed in fp32, round to nearest, in any order: gamma_(D - 1).

    bf16 and fp16 products have 22 bits or fewer and are exact in fp32. In any binary tree of
    additions a product passes at most D - 1 of them, and adding zero is exact; so the sum is
    sum_d q_d k_d (1 + theta_d) with |theta_d| <= gamma_(D - 1) (Higham 2002, 4.2). 7.6e-6 at
    D = 128. Fused multiply-adds of such products are this same sum.
    """
    return _bound("fp32 sum of exact products", index_head_dim, gamma(index_head_dim - 1), 2.0**24)


def ieee_fp32(index_head_dim: int) -> ScoreBound:
    """fp32 operands, every product rounded, summed in fp32 in any order: gamma_D.

    One rounding for the product and at most D - 1 for the additions. A fused multiply-add rounds
    once where this rounds twice, so it is inside.
    """
    return _bound("IEEE fp32", index_head_dim, gamma(index_head_dim), 2.0**24)


def wgmma(index_head_dim: int) -> ScoreBound:
    """Hopper's wgmma on bf16 or fp16 with fp32 accumulation: L = 16, F = 25, m = 23. 5.0e-6 at D = 128."""
    return _tensor_core("wgmma", index_head_dim, L=16, F=25, m=23)


def tcgen05(index_head_dim: int) -> ScoreBound:
    """Blackwell's tcgen05.mma on bf16 or fp16 with fp32 accumulation: L = 16, F = 25, m = 23."""
    return _tensor_core("tcgen05", index_head_dim, L=16, F=25, m=23)


def mma_sync(index_head_dim: int) -> ScoreBound:
    """mma.sync on bf16 or fp16, any generation from Turing on: L = 8, F = 24, m = 23. 1.0e-5 at D = 128.

    Turing, Ampere and Ada have these parameters; Hopper and both Blackwells have wgmma's, and a
    smaller loss.
    """
    return _tensor_core("mma.sync", index_head_dim, L=8, F=24, m=23)


def mfma(index_head_dim: int) -> ScoreBound:
    """CDNA3's (gfx942) MFMA on bf16 or fp16: L = 8, F = 24, m = 23. 1.0e-5 at D = 128.

    It drops bits of products and accumulator at F = 24, carries 31 on, and rounds its result to
    nearest: together less than truncation to m = 23 would lose. CDNA2 also flushes subnormal
    operands, and is outside.
    """
    return _tensor_core("MFMA", index_head_dim, L=8, F=24, m=23)


def hopper_fp8(index_head_dim: int) -> ScoreBound:
    """Hopper's wgmma on fp8: L = 32, and only 13 fraction bits are kept, F = m = 13. 1.7e-2 at D = 128."""
    return _tensor_core("Hopper fp8", index_head_dim, L=32, F=13, m=13)


def ada_fp8(index_head_dim: int) -> ScoreBound:
    """Ada's mma.sync on fp8: Hopper's 13 bits, but 16 products an instruction."""
    return _tensor_core("Ada fp8", index_head_dim, L=16, F=13, m=13)


def blackwell_fp8(index_head_dim: int) -> ScoreBound:
    """Blackwell's tcgen05.mma, and mma.sync of SM120, on fp8: L = 32, F = 25, m = 23. 4.4e-6 at D = 128."""
    return _tensor_core("Blackwell fp8", index_head_dim, L=32, F=25, m=23)


def tf32(index_head_dim: int) -> ScoreBound:
    """fp32 operands cut to TF32, then a tensor core with L = 4, F = 24, m = 23. 2.0e-3 at D = 128.

    Cutting to 10 fraction bits loses a share t < 2^-10 of an operand, so |q' k' - q k| <=
    ((1 + t)^2 - 1) |q k|, and the sum of the cut products is at most (1 + t)^2 M (whichever way
    the cut rounds). L and F are Ampere's; Hopper's and Blackwell's L = 8, F = 25 lose less.
    Exact up to 2^11 units only: an operand needs 11 bits or fewer to survive the cut. The cut also
    takes operands below 2^-136 to zero and a NaN's low bits: an infinity beside the first, or the
    second, is outside the bound.
    """
    grown = (1 + 2.0**-10) ** 2
    core = _tensor_core("TF32", index_head_dim, L=4, F=24, m=23)
    return _bound("TF32", index_head_dim, grown - 1 + grown * core.relative, 2.0**11)


BOUNDS: dict[str, Callable[[int], ScoreBound]] = {
    bound.__name__: bound
    for bound in (
        any_order_fp32,
        ieee_fp32,
        wgmma,
        tcgen05,
        mma_sync,
        mfma,
        hopper_fp8,
        ada_fp8,
        blackwell_fp8,
        tf32,
    )
}
"""Name -> bound by index_head_dim. A format's row names those that cover it."""


def bound_for(dtype: torch.dtype, index_head_dim: int) -> ScoreBound:
    """The bound that holds for every way in which a kernel should score this dtype.

    The loosest of those that the format's row names. bf16, fp16: an fp32 sum in any order and the
    wgmma and tcgen05 of Hopper and Blackwell; name `mma_sync` or `mfma` where these score. fp32: IEEE
    products and sums; TF32 is no way to score fp32: its bound is another, and a kernel that uses it must fail.
    """
    return max((BOUNDS[name](index_head_dim) for name in format_of(dtype).bounds), key=lambda bound: bound.relative)


def _tensor_core(unit: str, index_head_dim: int, *, L: int, F: int, m: int) -> ScoreBound:
    """A chain of nb = ceil(D / L) instructions, each adding L exact products to the accumulator.

    An instruction aligns its L products and the accumulator to the largest exponent among them, e,
    drops what lies below 2^(e - F), adds what is left exactly and keeps m fraction bits. With M' a
    bound on every term and partial sum, 2^e <= M': each of L + 1 terms loses less than 2^-F M',
    and the result less than 2^-m M'. One instruction thus loses at most delta M', where delta =
    (L + 1) 2^-F + 2^-m, and a chain E <= nb delta M'. M' is at most M + E, since a computed partial
    sum is off by at most E; solving E <= nb delta (M + E) gives

        E <= nb delta / (1 - nb delta) * M

    for truncation in any direction. A kernel that chains fewer instructions and adds the pieces
    itself in fp32 is inside: each such addition saves the accumulator's term of one instruction
    and the last bit it may lose, 2^-24, is below delta. So is one that pads D with zeros: an
    instruction whose products are all zero returns its accumulator.
    """
    num_instructions = -(-index_head_dim // L)
    loss = num_instructions * ((L + 1) * 2.0**-F + 2.0**-m)
    return _bound(unit, index_head_dim, loss / (1 - loss), 2.0 ** min(F, m + 1))


def _bound(unit: str, index_head_dim: int, relative: float, exact_units: float) -> ScoreBound:
    return ScoreBound(unit, relative, index_head_dim * 2.0**-125, exact_units)


def scaled(bound: ScoreBound) -> ScoreBound:
    """The bound of a unit whose scores are multiplied by a factor, and divided by it again for the comparison.

    A factor loses three roundings if it is the product of two parts, and a partial sum times it loses one more:
    4 u of the magnitude. As much again is room for adding scaled pieces of a sum, where a kernel has several.
    """
    return replace(bound, by_factor=8 * U32)


def half_width(
    magnitude: torch.Tensor,
    unit: torch.Tensor,
    index_head_dim: int,
    bound: ScoreBound,
    largest: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bound on the distance of a kernel's score from the float64 score of the reference.

    Args:
        magnitude: [...] float64, M of each dot product, in `magnitudes`.
        unit: [...] float64, u_q * u_k of each, as `lattice_unit` finds them.
        largest: [...] float64, the `largest_partial_sum` of each; M, which is no less, if None.

    Returns:
        [...] float64: 0 where the score is exact, +inf where it may overflow, else the bound plus
        what the reference's own sums lose: gamma_D of float64 each for the score and for M, and
        the last bits of both ends, together below 2 (D + 2) u_64 M.
    """
    slack = 2 * (index_head_dim + 2) * U64
    relative = bound.relative + slack
    width = magnitude * relative + bound.absolute
    exact_up_to = (bound.exact_units * unit).masked_fill_(unit < 2.0**-126, 0.0)
    overflow_from = (torch.finfo(torch.float32).max - bound.absolute) / (1 + relative)
    width = width.masked_fill_((magnitude if largest is None else largest) <= exact_up_to, 0.0).add_(
        magnitude, alpha=bound.by_factor
    )
    return width.masked_fill_(magnitude >= overflow_from, torch.inf)

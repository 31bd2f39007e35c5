"""Units that sum products, simulated in exact rational arithmetic: what the bounds are held against.

Independent of msa_ref: plain Python over `fractions.Fraction`, one rounding rule and two machines.
"""

import random
from collections.abc import Callable, Sequence
from fractions import Fraction

Rounding = Callable[[Fraction], Fraction]


def exponent(value: Fraction) -> int:
    """floor(log2 |value|) of a nonzero value."""
    value = abs(value)
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if Fraction(2) ** guess <= value else guess - 1


def to_nearest(value: Fraction) -> int:
    """Nearest integer, ties to even."""
    return round(value)


def toward_zero(value: Fraction) -> int:
    return value.numerator // value.denominator if value >= 0 else -(-value.numerator // value.denominator)


def downward(value: Fraction) -> int:
    return value.numerator // value.denominator


def quantize(value: Fraction, fraction_bits: int, to_integer: Callable, min_exponent: int = -126) -> Fraction:
    """Keep `fraction_bits` behind the leading bit, fewer below 2^min_exponent."""
    if value == 0:
        return value
    quantum = Fraction(2) ** (max(exponent(value), min_exponent) - fraction_bits)
    return to_integer(value / quantum) * quantum


def fp32(value: Fraction) -> Fraction:
    return quantize(value, 23, to_nearest)


def fp32_flushed(value: Fraction) -> Fraction:
    """fp32 whose subnormal results are flushed to zero."""
    result = fp32(value)
    return result if abs(result) >= Fraction(2) ** -126 else Fraction(0)


def any_order_sum(terms: Sequence[Fraction], rng: random.Random, rounding: Rounding = fp32) -> Fraction:
    """Add terms along a random binary tree, every product and every partial sum rounded."""
    heap = [rounding(term) for term in terms]
    while len(heap) > 1:
        left = heap.pop(rng.randrange(len(heap)))
        right = heap.pop(rng.randrange(len(heap)))
        heap.append(rounding(left + right))
    return heap[0]


def left_to_right_sum(terms: Sequence[Fraction], rounding: Rounding = fp32) -> Fraction:
    total = Fraction(0)
    for term in terms:
        total = rounding(total + rounding(term))
    return total


def product_exponent(q: Fraction, k: Fraction, min_normal: int) -> int:
    """A multiplier adds exponents; a subnormal operand has the smallest normal number's."""
    return max(exponent(q), min_normal) + max(exponent(k), min_normal)


def tensor_core_dot(
    query: Sequence[Fraction],
    key: Sequence[Fraction],
    *,
    L: int,
    F: int,
    m: int,
    min_normal: int,
    drop: Callable = toward_zero,
) -> Fraction:
    """A chain of instructions of L products: align, drop bits below 2^(e - F), add, keep m fraction bits."""
    total = Fraction(0)
    for first in range(0, len(query), L):
        pairs = [(q, k) for q, k in zip(query[first : first + L], key[first : first + L], strict=True) if q and k]
        exponents = [product_exponent(q, k, min_normal) for q, k in pairs]
        if total:
            exponents.append(max(exponent(total), -126))
        if not exponents:
            continue
        quantum = Fraction(2) ** (max(exponents) - F)
        aligned = sum((drop(term / quantum) for term in [q * k for q, k in pairs] + [total]), 0)
        total = quantize(aligned * quantum, m, drop)
    return total


def tf32(value: Fraction, drop: Callable = toward_zero) -> Fraction:
    return quantize(value, 10, drop)

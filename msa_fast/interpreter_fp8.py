"""Hopper's products of e4m3 on Triton's interpreter, for kernels that allow them by `max_num_imprecise_acc`.

The unit adds 32 products to its accumulator at a time: all of them are cut 13 bits below the largest exponent among
them, summed, and the sum is cut to 13 bits of fraction. The exponent of a subnormal operand is that of the smallest
normal number. Without `max_num_imprecise_acc` the interpreter's sums stay as precise as fp32.
Written apart from the reference's bit model, whose mathematics kernels never import; a test holds the two equal.
"""

from typing import Any

import numpy as np

PRODUCTS_AT_ONCE = 32
FRACTION_BITS = 13
MIN_EXPONENT = -6
"""Exponent of the smallest normal e4m3 number."""
NOTHING = -133
"""Exponent that a product of 0, or an empty accumulator, counts for."""


def hopper_sums(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """fp32 [M, N]: c plus a [M, K] times b [K, N], all fp32, operands with the numbers of e4m3."""
    total = c.astype(np.float64)
    with np.errstate(invalid="ignore"):
        for first in range(0, a.shape[1], PRODUCTS_AT_ONCE):
            left = a[:, first : first + PRODUCTS_AT_ONCE, None].astype(np.float64)
            right = b[None, first : first + PRODUCTS_AT_ONCE].astype(np.float64)
            products = left * right
            exponents = np.where(products == 0, NOTHING, _exponent(left) + _exponent(right))
            own = np.where(total == 0, NOTHING, np.frexp(total)[1] - 1)
            step = np.ldexp(1.0, np.maximum(exponents.max(axis=1), own) - FRACTION_BITS)
            whole = np.trunc(products / step[:, None]).sum(axis=1) + np.trunc(total / step)
            total = _cut(whole * step)
    sums: np.ndarray = total.astype(np.float32)
    return sums


def _exponent(numbers: np.ndarray) -> np.ndarray:
    exponents: np.ndarray = np.maximum(np.frexp(numbers)[1] - 1, MIN_EXPONENT)
    return exponents


def _cut(numbers: np.ndarray) -> np.ndarray:
    """The numbers with 13 bits of fraction, the others dropped. NaN stays."""
    fraction, exponent = np.frexp(numbers)
    cut: np.ndarray = np.ldexp(np.trunc(np.ldexp(fraction, FRACTION_BITS + 1)), exponent - FRACTION_BITS - 1)
    return cut


def mend_fp8_products(interpreter: Any) -> None:
    """Have the interpreter's products in e4m3 sum as Hopper's do where a kernel allows it. May be called twice."""
    builder, handle, tl = interpreter.InterpreterBuilder, interpreter.TensorHandle, interpreter.tl
    if hasattr(builder.create_dot, "has_fp8"):
        return
    original = builder.create_dot

    def create_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: int) -> Any:
        is_e4m3 = all(one.dtype.scalar == tl.float8e4nv for one in (a, b))
        if not (is_e4m3 and max_num_imprecise_acc and a.data.ndim == 2):
            return original(self, a, b, d, input_precision, max_num_imprecise_acc)
        left, right = (interpreter._convert_float(one.data, tl.float8e4nv, tl.float32, None) for one in (a, b))
        return handle(hopper_sums(left, right, d.data), d.dtype.scalar)

    create_dot.has_fp8 = True  # type: ignore[attr-defined]
    builder.create_dot = create_dot

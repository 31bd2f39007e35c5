"""Numbers as TTGIR means them: integers that wrap, bf16 as bits, maxima that drop or keep NaN.

A scalar is a Python number (bool for i1, a NumPy scalar for floats), a tensor an array. bf16 and e4m3 stay their
bits until an operation widens them, as no NumPy type holds them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fuzz.twin.finding import Finding, NotModelled

DTYPES: dict[str, Any] = {
    "i1": np.bool_,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "bf16": np.uint16,
    "f8E4M3FN": np.uint8,
    "f32": np.float32,
    "f64": np.float64,
}
"""Element of TTGIR -> the NumPy type of its arrays."""


def dtype_of(element: str) -> np.dtype[Any]:
    """The NumPy type of an element's array.

    Raises:
        NotModelled: if the twin has no such element.
    """
    if element not in DTYPES:
        raise NotModelled(f"the twin has no element {element}")
    dtype: np.dtype[Any] = np.dtype(DTYPES[element])
    return dtype


def wrap(value: int, bits: int) -> int:
    """A Python integer as a signed one of `bits` bits."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def unsigned(value: Any, bits: int) -> Any:
    """The same bits, read as an unsigned number."""
    if isinstance(value, np.ndarray):
        return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "i" else value
    return int(value) & ((1 << bits) - 1)


def signed(value: Any, bits: int) -> Any:
    """The same bits, read as a signed number."""
    if isinstance(value, np.ndarray):
        return value.view(f"i{value.dtype.itemsize}") if value.dtype.kind == "u" else value
    return wrap(int(value), bits)


def div(a: Any, b: Any) -> Any:
    """The quotient, rounded towards zero."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        with np.errstate(divide="ignore"):
            quotient = np.abs(a) // np.abs(b)
        return np.where((a < 0) != (b < 0), -quotient, quotient).astype(np.asarray(a).dtype)
    if b == 0:
        raise Finding("arithmetic", "an integer is divided by zero")
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def rem(a: Any, b: Any) -> Any:
    """The remainder of `div`."""
    return a - div(a, b) * b


def mulhi(a: Any, b: Any, bits: int) -> Any:
    """The upper half of the product of two unsigned numbers."""
    if isinstance(a, np.ndarray):
        wide = unsigned(a, bits).astype(np.uint64) * unsigned(b, bits).astype(np.uint64)
        return (wide >> np.uint64(bits)).astype(np.uint32).view(np.int32)
    return wrap((unsigned(a, bits) * unsigned(b, bits)) >> bits, bits)


def cast(value: Any, element: str) -> Any:
    """A number as an element of a type."""
    if isinstance(value, np.ndarray):
        return value.astype(dtype_of(element), copy=False)
    if element == "i1":
        return bool(value)
    return int(value) if element[0] == "i" else dtype_of(element).type(value)


def to_bf16(value: Any) -> Any:
    """The bits of fp32 numbers rounded to bf16, ties to even."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(value), 0x7FC0, rounded).astype(np.uint16)


def from_bf16(bits: Any) -> Any:
    """The fp32 numbers that bf16 bits mean."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


E4M3 = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
"""fp32 [256]: the number of each code."""


def to_e4m3(value: Any) -> Any:
    """The codes of fp32 numbers rounded to e4m3, ties to even; greater ones become the greatest, NaN stays NaN.

    Source: PTX ISA, cvt.rn.satfinite.e4m3x2.
    """
    numbers = torch.from_numpy(np.ascontiguousarray(np.asarray(value, np.float32)))
    return numbers.clamp(-448.0, 448.0).to(torch.float8_e4m3fn).view(torch.uint8).numpy()


def widened(values: Any, element: str) -> Any:
    """fp32 of a narrower float; fp32 as it is."""
    if element == "bf16":
        return from_bf16(values)
    return E4M3[np.asarray(values)] if element == "f8E4M3FN" else np.asarray(values, np.float32)


def narrowed(values: Any, element: str) -> Any:
    """fp32 rounded to a narrower float, ties to even; fp32 as it is."""
    if element == "bf16":
        return to_bf16(values)
    return to_e4m3(values) if element == "f8E4M3FN" else cast(values, element)


def bitcast(value: Any, source: str, target: str) -> Any:
    """The same bits as another type of the same size."""
    array = np.ascontiguousarray(np.asarray(value, dtype_of(source))).view(dtype_of(target))
    return array if isinstance(value, np.ndarray) else cast(array.item(), target)


UFUNCS: dict[str, np.ufunc] = {
    "arith.addi": np.add,
    "arith.addf": np.add,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.minsi": np.minimum,
    "arith.maxui": np.maximum,
    "arith.minui": np.minimum,
    "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
}
"""Operations that combine two numbers, as NumPy does them for arrays: a reduction by one of them is one call."""


def reduce_with(name: str, value: Any, axis: int, element: str) -> Any:
    """A reduction by one operation of `UFUNCS`."""
    is_unsigned = name.endswith("ui")
    bits = int(element[1:]) if element[0] == "i" else 0
    if is_unsigned:
        value = unsigned(value, bits)
    result = UFUNCS[name].reduce(value, axis=axis, dtype=value.dtype)
    if is_unsigned:
        result = signed(result, bits)
    return result if isinstance(result, np.ndarray) else cast(result, element)


def row_extremes(values: Any, kind: str, is_absolute: bool, has_nan: bool) -> Any:
    """The maximum or the minimum of each row. kind: `#ttng.redOp<max>` or `#ttng.redOp<min>`."""
    picks = {("max", False): np.fmax, ("min", False): np.fmin, ("max", True): np.maximum, ("min", True): np.minimum}
    name = kind.partition("<")[2].rstrip(">")
    if (name, has_nan) not in picks:
        raise NotModelled(f"the twin has no {kind} of a row")
    return picks[name, has_nan].reduce(np.abs(values) if is_absolute else values, axis=-1)


Combine = Callable[..., Sequence[Any]]
"""The body of a reduction or a scan: the running values and the next ones -> the new running values."""


def reduce_by(combine: Combine, values: Sequence[Any], axis: int, elements: Sequence[str]) -> list[Any]:
    """A reduction by a body, from the first element to the last."""
    moved = [np.moveaxis(np.asarray(value), axis, 0) for value in values]
    total: list[Any] = [value[0] for value in moved]
    for i in range(1, len(moved[0])):
        total = [np.asarray(new) for new in combine(*total, *(value[i] for value in moved))]
    return [
        np.asarray(new, dtype_of(element)) if np.ndim(new) else cast(np.asarray(new).item(), element)
        for new, element in zip(total, elements, strict=True)
    ]


def scan_by(combine: Combine, values: Sequence[Any], axis: int, is_reverse: bool) -> list[Any]:
    """A scan by a body: each element with all before it, or behind it."""
    moved = [np.moveaxis(np.asarray(value), axis, 0) for value in values]
    outs = [np.empty_like(value) for value in moved]
    order: Any = range(len(moved[0]))
    total: list[Any] | None = None
    for i in reversed(order) if is_reverse else order:
        now = [value[i] for value in moved]
        total = now if total is None else [np.asarray(new) for new in combine(*total, *now)]
        for out, new in zip(outs, total, strict=True):
            out[i] = new
    return [np.moveaxis(out, 0, axis) for out in outs]

"""Patches for Triton's interpreter: numbers of bf16 and of 8 bits.

The interpreter keeps bf16 in 16-bit integers and computes with those, silently: sums, products, comparisons,
reductions and conversions of bf16 are wrong in Triton 3.6 to 3.9. Here every operation widens bf16 to fp32, which is
exact, and rounds its result to the nearest, ties to even, as a GPU does. Conversions that lose bits round so, too.
"""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

Widened = Callable[..., Any]


def mend_numbers(interpreter: Any) -> None:
    """Mend the module of the interpreter; a second call changes nothing."""
    if hasattr(interpreter._convert_float, "original"):
        return
    interpreter._convert_float = _conversion(interpreter)
    _mend_builder(interpreter)
    _mend_reductions(interpreter)


def widened_bf16(codes: np.ndarray) -> np.ndarray:
    """fp32, the same numbers. codes: uint16."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


def rounded_to_bf16(numbers: np.ndarray) -> np.ndarray:
    """uint16, the codes of the nearest bf16 numbers, ties to even. NaN stays NaN."""
    with np.errstate(all="ignore"):
        bits = np.asarray(numbers).astype(np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(bits.view(np.float32)), (bits >> 16) | 0x40, rounded).astype(np.uint16)


@cache
def _values_of(dtype: torch.dtype) -> np.ndarray:
    """fp32 [256]: the number of each code of an 8-bit format."""
    codes: np.ndarray = torch.arange(256, dtype=torch.uint8, device="cpu").view(dtype).float().numpy()
    return codes


def _rounded_to_8_bits(numbers: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """uint8, the codes of the nearest numbers, ties to even; what is greater than all becomes the greatest."""
    limit = torch.finfo(dtype).max
    narrow = torch.from_numpy(np.ascontiguousarray(numbers, np.float32)).clamp(-limit, limit).to(dtype)
    codes: np.ndarray = narrow.view(torch.uint8).numpy()
    return codes


def _conversion(interpreter: Any) -> Widened:
    """`_convert_float`, which now gives the nearest number, and the same one where the new format holds it."""
    original, tl = interpreter._convert_float, interpreter.tl
    to_nearest = (None, interpreter._ir.ROUNDING_MODE.RTNE)
    narrow = {tl.float8e4nv: torch.float8_e4m3fn, tl.float8e5: torch.float8_e5m2}
    plain = {tl.float16: np.float16, tl.float32: np.float32, tl.float64: np.float64}

    def convert_float(data: np.ndarray, source: Any, target: Any, rounding_mode: Any) -> Any:
        known = {*narrow, *plain, tl.bfloat16}
        if source not in known or target not in known or rounding_mode not in to_nearest:
            return original(data, source, target, rounding_mode)
        if source in narrow:
            numbers = _values_of(narrow[source])[data.view(np.uint8)]
        elif source == tl.bfloat16:
            numbers = widened_bf16(data.view(np.uint16))
        else:
            numbers = data.view(plain[source])
        if target in narrow:
            return _rounded_to_8_bits(numbers, narrow[target])
        if target == tl.bfloat16:
            return rounded_to_bf16(numbers)
        with np.errstate(all="ignore"):
            return numbers.astype(plain[target])

    convert_float.original = original  # type: ignore[attr-defined]
    return convert_float


def _mend_builder(interpreter: Any) -> None:
    """Operators of the builder that are given bf16 compute in fp32 and round the result, if it is a number."""
    builder, handle, tl = interpreter.InterpreterBuilder, interpreter.TensorHandle, interpreter.tl

    def is_bf16(given: Any) -> bool:
        return isinstance(given, handle) and given.data.dtype.char == "H" and given.dtype.scalar == tl.bfloat16

    def wide(given: Any) -> Any:
        return handle(widened_bf16(given.data), tl.float32) if is_bf16(given) else given

    def narrow(result: Any) -> Any:
        if result.data.dtype == np.float32:
            return handle(rounded_to_bf16(result.data), tl.bfloat16)
        return handle(result.data, tl.bfloat16)

    def in_fp32(name: str) -> None:
        original = getattr(builder, name)

        def compute(self: Any, *given: Any) -> Any:
            # A choice computes nothing.
            if np.where in given or not any(is_bf16(one) for one in given):
                return original(self, *given)
            return narrow(original(self, *map(wide, given)))

        setattr(builder, name, compute)

    for name in ("binary_op", "unary_op", "ternary_op", "create_fma"):
        in_fp32(name)

    cast, dot, atomic = builder.cast_impl, builder.create_dot, builder.create_atomic_rmw

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        if target.scalar == tl.bfloat16 and source.dtype.scalar != tl.bfloat16:
            return handle(rounded_to_bf16(source.data), tl.bfloat16)
        return cast(self, wide(source), target)

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return dot(self, wide(a), wide(b), *others)

    def create_atomic_rmw(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *others: Any) -> Any:
        if not is_bf16(value) or operation != interpreter._ir.ATOMIC_OP.FADD:
            return atomic(self, operation, pointers, value, mask, *others)
        # One element after another: pointers may be equal.
        places, present = np.broadcast_arrays(pointers.data, mask.data)
        added, before = np.broadcast_to(widened_bf16(value.data), places.shape), np.zeros(places.shape, np.uint16)
        load, store = interpreter._interpreter.load, interpreter._interpreter.store
        for index in np.ndindex(places.shape):
            place, is_present = places[index].reshape(1), present[index].reshape(1)
            old = load(place, is_present, np.zeros(1, np.uint16), np.dtype(np.uint16))
            before[index] = old[0]
            store(place, rounded_to_bf16(widened_bf16(old) + added[index]), is_present)
        return handle(before, tl.bfloat16)

    builder.cast_impl, builder.create_dot, builder.create_atomic_rmw = cast_impl, create_dot, create_atomic_rmw
    builder.get_bf16 = lambda self, value: handle(rounded_to_bf16(np.array([value])), tl.bfloat16)
    operand = getattr(
        interpreter, "_mxfp_value_handle_to_float32", None
    )  # Triton 3.9 has scaled products, 3.6 has none
    if operand is not None:
        wide_formats = (tl.bfloat16, tl.float16)
        interpreter._mxfp_value_handle_to_float32 = lambda given: (
            wide(given).data.astype(np.float32) if given.dtype.scalar in wide_formats else operand(given)
        )


def _mend_reductions(interpreter: Any) -> None:
    """Reductions and scans of bf16 compute in fp32; a row of NaN alone has an extreme, too, as it has on a GPU."""
    tl = interpreter.tl
    both, reductions, scans = interpreter.ReduceScanOpInterface, interpreter.ReduceOps, interpreter.ScanOps
    to_tensor, min_max = both.to_tensor, reductions.min_max
    extremes: dict[Any, Any] = {
        **dict.fromkeys((np.max, np.nanmax), np.fmax.reduce),
        **dict.fromkeys((np.min, np.nanmin), np.fmin.reduce),
        **dict.fromkeys((np.argmax, np.nanargmax), _leftmost(np.fmax)),
        **dict.fromkeys((np.argmin, np.nanargmin), _leftmost(np.fmin)),
    }

    def wide(given: Any) -> Any:
        if given.dtype != tl.bfloat16:
            return given
        return SimpleNamespace(handle=SimpleNamespace(data=widened_bf16(given.handle.data)), dtype=given.dtype)

    def to_tensor_of_any_format(self: Any, result: Any, dtype: Any) -> Any:
        numbers = np.asarray(result)
        if dtype == tl.bfloat16 and numbers.dtype == np.float32:
            result = rounded_to_bf16(numbers)[()]
        return to_tensor(self, result, dtype)

    def extreme(self: Any, given: Any, val_reduce_op: Any, idx_reduce_op: Any = None) -> Any:
        given = given[0] if isinstance(given, tuple) else given
        value, place = (extremes.get(operation, operation) for operation in (val_reduce_op, idx_reduce_op))
        return min_max(self, wide(given), value, place)

    def on_wide(original: Widened) -> Widened:
        return lambda self, given: original(self, wide(given))

    both.to_tensor, reductions.min_max = to_tensor_of_any_format, extreme
    reductions.sum = on_wide(reductions.sum)
    scans.cumsum, scans.cumprod = on_wide(scans.cumsum), on_wide(scans.cumprod)


def _leftmost(best: np.ufunc) -> Widened:
    """The place of the first element that is as good as the best one; NaN never is."""

    def place(data: np.ndarray, axis: int | None, keepdims: bool) -> Any:
        return np.argmax(data == best.reduce(data, axis=axis, keepdims=True), axis=axis, keepdims=keepdims)

    return place

"""Operators of Triton's interpreter that compute at once, where both operands have one type.

Triton 3.6 to 3.9 derive the type of every result anew, and fill a block with every number before they add it, which
is half of the interpreter's time. Here numpy takes both operands as they are, and the result has the type of one.
Whatever else is given (other types, other formats, numbers that do not fit) goes Triton's own way, to the bit as
without this module: each operator holds it as `__wrapped__`.
"""

from collections.abc import Callable
from functools import partial, wraps
from math import copysign
from typing import Any

import numpy as np

Operator = Callable[..., Any]

Formats = dict[str, np.dtype[Any]]
"""Triton's names of formats in which numpy computes as the interpreter does, and numpy's types."""

INTEGERS: Formats = {"int32": np.dtype(np.int32), "int64": np.dtype(np.int64)}
SIGNED: Formats = {**INTEGERS, "fp32": np.dtype(np.float32)}
WORDS: Formats = {**INTEGERS, "uint32": np.dtype(np.uint32)}
NUMBERS: Formats = {**WORDS, **SIGNED}
BITS: Formats = {**WORDS, "int1": np.dtype(np.bool_)}
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**31 - 1),
    "fp32": (-(2**24), 2**24),
    "int1": (1, 0),
}
"""The whole numbers that are taken beside each format: those that Triton takes for 32 bits, and that are exact."""
ALL = slice(None)


def _quotient(left: np.ndarray, right: np.ndarray) -> Any:
    """Rounded to zero, as a GPU does."""
    return (left - np.fmod(left, right)) // right


ARITHMETIC: dict[str, tuple[Operator, Formats]] = {
    "add": (np.add, NUMBERS),
    "sub": (np.subtract, NUMBERS),
    "mul": (np.multiply, NUMBERS),
    "floordiv": (_quotient, INTEGERS),
    "mod": (np.fmod, INTEGERS),
    "lshift": (np.left_shift, WORDS),
    "rshift": (np.right_shift, WORDS),
    "and": (np.bitwise_and, BITS),
    "or": (np.bitwise_or, BITS),
    "xor": (np.bitwise_xor, BITS),
}
"""Operators whose results have the type of the operands, what computes them, and of which formats."""
REFLECTED = ("add", "sub", "mul")
COMPARISONS: dict[str, Operator] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def compute_at_once(interpreter: Any) -> None:
    """Let the operators of this process's interpreter compute at once. A second call changes nothing."""
    core = interpreter.tl.core
    if hasattr(core.tensor.__add__, "at_once") or not core.is_builtin(core.tensor.__add__):
        return
    if vars(core.tensor(None, core.int1)).keys() != {"handle", "type", "dtype", "shape", "numel"}:
        return  # tensors of another Triton
    interpreter._patch_attr = _handed_on(interpreter)
    made = _AtOnce(interpreter)
    for name, (compute, formats) in ARITHMETIC.items():
        made.replace(core.tensor, f"__{name}__", made.operator(compute, formats))
    for name in REFLECTED:
        made.replace(core.tensor, f"__r{name}__", made.operator(_reflected(ARITHMETIC[name][0]), SIGNED))
    for name, compute in COMPARISONS.items():
        made.replace(core.tensor, f"__{name}__", made.operator(compute, NUMBERS, core.int1))
    made.replace(core.tensor, "__add__", made.pointer_sum)
    made.replace(core.tensor, "__getitem__", made.with_axes)
    made.replace(core.tensor, "to", made.conversion)
    for name, new in (("where", made.where), ("cast", made.conversion)):
        setattr(interpreter.tl, name, made.replace(core, name, new))


def _handed_on(interpreter: Any) -> Operator:
    """`_patch_attr`, whose functions hand on what they are given without a copy of it, or compute at once."""
    semantic = interpreter.interpreter_semantic

    def patch_attr(owner: Any, name: str, member: Operator, builder: Any, scope: Any) -> None:
        def interpreted(*given: Any, **named: Any) -> Any:
            named["_semantic"] = semantic
            return member(*given, **named)

        scope.set_attr(owner, name, getattr(member, "at_once", interpreted))

    return patch_attr


def _reflected(compute: Operator) -> Operator:
    return lambda left, right: compute(right, left)


class _AtOnce:
    """Makes operators that compute at once, each of the one in whose place it stands."""

    def __init__(self, interpreter: Any) -> None:
        self.core, self.handle_type = interpreter.tl.core, interpreter.TensorHandle
        self.semantic = interpreter.interpreter_semantic
        self.add_to_pointer = interpreter.interpreter_builder.create_addptr
        self.numbers: dict[tuple[str, int], np.ndarray] = {}
        self.templates: dict[tuple[Any, ...], Any] = {}

    def replace(self, owner: Any, name: str, new: Callable[[Operator], Operator]) -> Operator:
        """Put new(what stands there) in the place of a built-in function, as a built-in function."""
        original = getattr(owner, name)
        own = getattr(original, "at_once", partial(original, _semantic=self.semantic))
        at_once = new(own)

        @wraps(original)
        def builtin(first: Any, *others: Any, _semantic: Any = None, **named: Any) -> Any:
            if type(getattr(first, "handle", None)) is self.handle_type:
                return at_once(first, *others, **named)
            return original(first, *others, _semantic=_semantic, **named)

        builtin.at_once = at_once  # type: ignore[attr-defined]
        setattr(owner, name, builtin)
        return builtin

    def operator(self, compute: Operator, formats: Formats, result: Any = None) -> Any:
        """A replacement for an operator on formats. result: its scalar type, if that is not the operands' own."""
        tensor = self.core.tensor

        def replacement(original: Operator) -> Operator:
            def operator(left: Any, other: Any) -> Any:
                data, scalar = left.handle.data, left.dtype
                kind = formats.get(scalar.name)
                if data.dtype is not kind:
                    return original(left, other)
                if type(other) is tensor:
                    right = other.handle.data
                    if right.dtype is not kind or other.dtype.name != scalar.name:
                        right = self._widened(left, other)
                    like = self._shaped(left, other)
                else:
                    right, like = self._number(scalar.name, kind, other), left
                if right is None or like is None:
                    return original(left, other)
                made = compute(data, right)
                if result is not None:
                    like = self._template(like, result)
                elif like.dtype.name != scalar.name:
                    like = self._template(like, scalar)
                return self._made(made, scalar, like)

            return operator

        return replacement

    def pointer_sum(self, original: Operator) -> Operator:
        """A replacement for sums, where the left operand is a pointer."""
        core = self.core

        def operator(left: Any, other: Any) -> Any:
            if type(left.dtype) is not core.pointer_type or type(other) is not core.tensor:
                return original(left, other)
            like = self._shaped(left, other) if other.handle.data.dtype is INTEGERS.get(other.dtype.name) else None
            if like is None:
                return original(left, other)
            handle = self.add_to_pointer(left.handle, other.handle)
            if like is left:
                return self._like(left, handle)
            return core.tensor(handle, core.block_type(left.dtype, like.type.shape))

        return operator

    def with_axes(self, original: Operator) -> Operator:
        """A replacement for views of a block with further axes of one element."""

        def view(given: Any, places: Any) -> Any:
            if type(places) is not tuple or type(given.type) is not self.core.block_type:
                return original(given, places)
            data, scalar = given.handle.data, given.dtype
            is_plain = type(scalar) is self.core.dtype and places.count(ALL) <= data.ndim
            if not is_plain or any(place is not None and place != ALL for place in places):
                return original(given, places)
            data = data[places]
            return self._made(data, given.handle.dtype, self._of_sizes(data.shape, scalar))

        return view

    def conversion(self, original: Operator) -> Operator:
        """A replacement for conversions to integers."""

        def convert(given: Any, dtype: Any, *options: Any, **named: Any) -> Any:
            if type(given) is not self.core.tensor or options or named:
                return original(given, dtype, *options, **named)
            target, data = dtype.value if type(dtype) is self.core.constexpr else dtype, given.handle.data
            made = INTEGERS.get(getattr(target, "name", ""))
            if made is None or data.dtype is not BITS.get(given.dtype.name):
                return original(given, dtype)
            return given if made is data.dtype else self._made(data.astype(made), target, self._template(given, target))

        return convert

    def where(self, original: Operator) -> Operator:
        """A replacement for a choice by a block of bools between numbers and blocks of that shape."""

        def where(condition: Any, x: Any, y: Any) -> Any:
            chosen = self._chosen(condition, x, y)
            return original(condition, x, y) if chosen is None else chosen

        return where

    def _chosen(self, condition: Any, x: Any, y: Any) -> Any:
        tensor, block = self.core.tensor, self.core.block_type
        known, other = (x, y) if type(x) is tensor else (y, x)
        if type(known) is not tensor or type(condition) is not tensor or type(condition.type) is not block:
            return None
        left, scalar, bools = known.handle.data, known.dtype, condition.handle.data
        kind, right, like = NUMBERS.get(scalar.name), None, known
        if left.dtype is not kind or condition.dtype.name != "int1" or bools.dtype is not BITS["int1"]:
            return None
        if type(other) is tensor:
            right = other.handle.data if other.dtype.name == scalar.name and other.handle.data.dtype is kind else None
            like = self._shaped(known, other)
        else:
            right = self._number(scalar.name, kind, other)
        if right is None or like is None or type(like.type) is not block:
            return None
        for operand in (known, other):
            is_block = type(operand) is tensor and type(operand.type) is block
            if is_block and operand.handle.data.shape != bools.shape:
                return None
        return self._made(np.where(bools, left, right) if known is x else np.where(bools, right, left), scalar, like)

    def _number(self, name: str, kind: np.dtype[Any], given: Any) -> Any:
        """A number as an operand beside a format; None if it is none, or none that fits."""
        number = given.value if type(given) is self.core.constexpr else given
        if type(number) is int:
            made = self.numbers.get((name, number))
            if made is None:
                least, most = RANGES[name]
                if not least <= number <= most:
                    return None
                made = self.numbers[name, number] = np.array([number], kind)
            return made
        # The negative zero is Triton's affair: to 3.6 it is 0.
        is_own = type(number) is float and name == "fp32" and (number != 0 or copysign(1, number) > 0)
        return np.array([number], kind) if is_own else None

    def _widened(self, left: Any, other: Any) -> Any:
        """The data in 64 bits of an integer of 32 bits beside a left one of 64; None if they are no such."""
        data = other.handle.data
        are_such = left.dtype.name == "int64" and other.dtype.name == "int32" and data.dtype is INTEGERS["int32"]
        return data.astype(np.int64) if are_such else None

    def _shaped(self, left: Any, other: Any) -> Any:
        """The operand whose shape the result has, or a tensor of that shape; None if that is for Triton to say."""
        block = self.core.block_type
        if type(other.type) is not block:
            return left
        if type(left.type) is not block:
            return other
        own, others = left.handle.data.shape, other.handle.data.shape
        if own == others:
            return left
        if len(own) != len(others) or any(a != b and a != 1 and b != 1 for a, b in zip(own, others, strict=True)):
            return None
        return self._of_sizes(tuple(map(max, own, others)), self.core.int1)

    def _template(self, like: Any, scalar: Any) -> Any:
        """A tensor of the shape of another, of a scalar type."""
        return self._of_sizes(tuple(like.type.shape) if type(like.type) is self.core.block_type else (), scalar)

    def _of_sizes(self, sizes: tuple[int, ...], scalar: Any) -> Any:
        """A tensor of a shape, () for none, and of a scalar type."""
        key = scalar.name, *sizes
        made = self.templates.get(key)
        if made is None:
            kind = self.core.block_type(scalar, list(sizes)) if sizes else scalar
            made = self.templates[key] = self.core.tensor(None, kind)
        return made

    def _made(self, data: Any, dtype: Any, like: Any) -> Any:
        """A tensor of the type of another. dtype: what the interpreter writes beside data, the left operand's."""
        handle = object.__new__(self.handle_type)
        handle.data, handle.dtype, handle.attr = data, dtype, {}
        return self._like(like, handle)

    def _like(self, like: Any, handle: Any) -> Any:
        made = object.__new__(self.core.tensor)
        made.handle, made.type, made.dtype = handle, like.type, like.dtype
        made.shape, made.numel = like.shape, like.numel
        return made

"""Operators of Triton's interpreter that compute at once, where both operands have one type.

Triton 3.6 to 3.9 derive the type of every result anew, and fill a block with every number before they add it, which
is half of the interpreter's time. Here numpy takes both operands as they are, and the result has the type of one.
Whatever else is given (other types, other formats, numbers that do not fit) goes Triton's own way, to the bit as
without this module: each operator holds it as `__wrapped__`.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from msa_fast.interpreter_operands import BITS, INTEGERS, LOADED, NUMBERS, SIGNED, WORDS, Formats, Operands

Operator = Callable[..., Any]

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
    for name, new in (("where", made.where), ("cast", made.conversion), ("load", made.load)):
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


class _AtOnce(Operands):
    """Makes operators that compute at once, each of the one in whose place it stands."""

    def replace(self, owner: Any, name: str, new: Callable[[Operator], Operator]) -> Operator:
        """Put new(what stands there) in the place of a built-in function, as a built-in function."""
        original = getattr(owner, name)
        own = getattr(original, "at_once", partial(original, _semantic=self.semantic))
        at_once = new(own)

        @wraps(original)
        def builtin(*given: Any, _semantic: Any = None, **named: Any) -> Any:
            if given and type(getattr(given[0], "handle", None)) is self.handle_type:
                return at_once(*given, **named)
            return original(*given, _semantic=_semantic, **named)

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
                        right = self.widened(left, other)
                    like = self.shaped(left, other)
                else:
                    right, like = self.number(scalar.name, kind, other), left
                if right is None or like is None:
                    return original(left, other)
                made = compute(data, right)
                if result is not None:
                    like = self.template(like, result)
                elif like.dtype.name != scalar.name:
                    like = self.template(like, scalar)
                return self.made(made, scalar, like)

            return operator

        return replacement

    def pointer_sum(self, original: Operator) -> Operator:
        """A replacement for sums, where the left operand is a pointer."""
        core = self.core

        def operator(left: Any, other: Any) -> Any:
            if type(left.dtype) is not core.pointer_type or type(other) is not core.tensor:
                return original(left, other)
            like = self.shaped(left, other) if other.handle.data.dtype is INTEGERS.get(other.dtype.name) else None
            if like is None:
                return original(left, other)
            handle = self.add_to_pointer(left.handle, other.handle)
            if like is left:
                return self.like(left, handle)
            return core.tensor(handle, core.block_type(left.dtype, like.type.shape))

        return operator

    def with_axes(self, original: Operator) -> Operator:
        """A replacement for views of a block with further axes of one element."""

        def view(given: Any, places: Any) -> Any:
            if type(places) is not tuple or type(given.type) is not self.core.block_type:
                return original(given, places)
            data, scalar = given.handle.data, given.dtype
            are_axes = all(place is None or (type(place) is slice and place == ALL) for place in places)
            if type(scalar) is not self.core.dtype or not are_axes or places.count(ALL) > data.ndim:
                return original(given, places)
            data = data[places]
            return self.made(data, given.handle.dtype, self.of_sizes(data.shape, scalar))

        return view

    def conversion(self, original: Operator) -> Operator:
        """A replacement for conversions to integers."""

        def convert(*operands: Any, **named: Any) -> Any:
            if len(operands) != 2 or named or type(operands[0]) is not self.core.tensor:
                return original(*operands, **named)
            given, dtype = operands
            target, data = dtype.value if type(dtype) is self.core.constexpr else dtype, given.handle.data
            made = INTEGERS.get(getattr(target, "name", ""))
            if made is None or data.dtype is not BITS.get(given.dtype.name):
                return original(given, dtype)
            return given if made is data.dtype else self.made(data.astype(made), target, self.template(given, target))

        return convert

    def load(self, original: Operator) -> Operator:
        """A replacement for loads without options, or by a mask of the pointers' own shape."""

        def load(*operands: Any, **named: Any) -> Any:
            loaded = self._loaded(*operands, **named) if len(operands) + len(named) <= 3 else None
            return original(*operands, **named) if loaded is None else loaded

        return load

    def _loaded(self, pointer: Any = None, mask: Any = None, other: Any = None, **options: Any) -> Any:
        core = self.core
        if type(pointer) is not core.tensor or type(pointer.dtype) is not core.pointer_type or options:
            return None
        element, places = pointer.dtype.element_ty, pointer.handle.data
        kind = LOADED.get(element.name)
        if kind is None:
            return None
        if mask is None:
            present = np.ones(places.shape, np.bool_)
        elif type(mask) is core.tensor and (type(mask.type) is core.block_type) == (
            type(pointer.type) is core.block_type
        ):
            present = mask.handle.data
        else:
            return None
        if present.dtype is not BITS["int1"] or present.shape != places.shape or (mask is None and other is not None):
            return None
        absent = np.zeros(places.shape, kind)
        if other is not None:
            number = self.number(element.name, kind, other) if element.name in NUMBERS else None
            if number is None:
                return None
            absent[...] = number
        return self.made(self.load_at(places, present, absent, kind), element, self.template(pointer, element))

    def where(self, original: Operator) -> Operator:
        """A replacement for a choice by a block of bools between numbers and blocks of that shape."""

        def where(*operands: Any, **named: Any) -> Any:
            chosen = self._chosen(*operands) if len(operands) == 3 and not named else None
            return original(*operands, **named) if chosen is None else chosen

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
            like = self.shaped(known, other)
        else:
            right = self.number(scalar.name, kind, other)
        if right is None or like is None or type(like.type) is not block:
            return None
        for operand in (known, other):
            is_block = type(operand) is tensor and type(operand.type) is block
            if is_block and operand.handle.data.shape != bools.shape:
                return None
        return self.made(np.where(bools, left, right) if known is x else np.where(bools, right, left), scalar, like)

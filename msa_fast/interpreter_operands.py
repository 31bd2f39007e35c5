"""Operands of Triton's interpreter: as numpy has them, if they are alike, and results made of what they are.

What is made here is what Triton makes, without asking for the same types and shapes at every operator.
"""

from math import copysign
from typing import Any

import numpy as np

Formats = dict[str, np.dtype[Any]]
"""Triton's names of formats in which numpy computes as the interpreter does, and numpy's types."""

INTEGERS: Formats = {"int32": np.dtype(np.int32), "int64": np.dtype(np.int64)}
SIGNED: Formats = {**INTEGERS, "fp32": np.dtype(np.float32)}
WORDS: Formats = {**INTEGERS, "uint32": np.dtype(np.uint32)}
NUMBERS: Formats = {**WORDS, **SIGNED}
BITS: Formats = {**WORDS, "int1": np.dtype(np.bool_)}
LOADED: Formats = {**NUMBERS, "fp16": np.dtype(np.float16), "bf16": np.dtype(np.uint16)}
"""Formats as they lie in memory, and what the interpreter holds them in."""
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**31 - 1),
    "fp32": (-(2**24), 2**24),
    "int1": (1, 0),
}
"""The whole numbers that are taken beside each format: those that Triton takes for 32 bits, and that are exact."""


class Operands:
    """Operands that are alike, and results of their types."""

    def __init__(self, interpreter: Any) -> None:
        self.core, self.handle_type = interpreter.tl.core, interpreter.TensorHandle
        self.semantic = interpreter.interpreter_semantic
        self.add_to_pointer = interpreter.interpreter_builder.create_addptr
        self.load_at = interpreter._interpreter.load
        self.numbers: dict[tuple[str, int], np.ndarray] = {}
        self.templates: dict[tuple[Any, ...], Any] = {}

    def number(self, name: str, kind: np.dtype[Any], given: Any) -> Any:
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

    def widened(self, left: Any, other: Any) -> Any:
        """The data in 64 bits of an integer of 32 bits beside a left one of 64; None if they are no such."""
        data = other.handle.data
        are_such = left.dtype.name == "int64" and other.dtype.name == "int32" and data.dtype is INTEGERS["int32"]
        return data.astype(np.int64) if are_such else None

    def shaped(self, left: Any, other: Any) -> Any:
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
        return self.of_sizes(tuple(map(max, own, others)), self.core.int1)

    def template(self, like: Any, scalar: Any) -> Any:
        """A tensor of the shape of another, of a scalar type."""
        return self.of_sizes(tuple(like.type.shape) if type(like.type) is self.core.block_type else (), scalar)

    def of_sizes(self, sizes: tuple[int, ...], scalar: Any) -> Any:
        """A tensor of a shape, () for none, and of a scalar type."""
        key = scalar.name, *sizes
        made = self.templates.get(key)
        if made is None:
            kind = self.core.block_type(scalar, list(sizes)) if sizes else scalar
            made = self.templates[key] = self.core.tensor(None, kind)
        return made

    def made(self, data: Any, dtype: Any, like: Any) -> Any:
        """A tensor of the type of another. dtype: what the interpreter writes beside data, the left operand's."""
        handle = object.__new__(self.handle_type)
        handle.data, handle.dtype, handle.attr = data, dtype, {}
        return self.like(like, handle)

    def like(self, like: Any, handle: Any) -> Any:
        """A tensor of a handle, of the type of another."""
        made = object.__new__(self.core.tensor)
        made.handle, made.type, made.dtype = handle, like.type, like.dtype
        made.shape, made.numel = like.shape, like.numel
        return made

"""The types that TTGIR writes behind its operations."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from fuzz.twin.finding import NotModelled

Kind = Literal["scalar", "tensor", "memory", "descriptor", "token"]


@dataclass(frozen=True)
class Type:
    """One type.

    kind: `memory` is a view of shared or tensor memory (memdesc).
    shape: () for a scalar. element: i32, bf16, ...; of a pointer i64, an address in bytes.
    pointee: the element that a pointer leads to; empty if it is none.
    layout: the encoding with every alias in place of its name, or empty.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    element: str = "i32"
    pointee: str = ""
    layout: str = ""

    @property
    def is_tensor(self) -> bool:
        """True if a value of the type has elements, which the twin keeps in an array."""
        return self.kind == "tensor"

    @property
    def bits(self) -> int:
        """Bits of an integer element."""
        return int(self.element[1:])


def split(text: str, separator: str = ",") -> list[str]:
    """The parts of a text between separators that stand outside of all brackets."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        if char in "<([{":
            depth += 1
        elif char in ")]}" or (char == ">" and text[place - 1] != "-"):
            depth -= 1
        elif char == separator and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


@cache
def read_type(text: str) -> Type:
    """The type that a text means; its aliases are written out already.

    Raises:
        NotModelled: if the twin does not know such a type.
    """
    text = text.strip()
    if text == "!ttg.async.token":
        return Type("token")
    if found := re.fullmatch(r"!tt\.ptr<(\w+)(?:, \d+)?>", text):
        return Type("scalar", (), "i64", found[1])
    if re.fullmatch(r"i\d+|bf16|f16|f32|f64|f8\w+|index", text):
        return Type("scalar", (), _element(text))
    if text.startswith("tensor<"):
        return _shaped("tensor", text[len("tensor<") : -1])
    if text.startswith("!ttg.memdesc<"):
        return _shaped("memory", text[len("!ttg.memdesc<") : -1])
    if text.startswith("!tt.tensordesc<"):
        return _shaped("descriptor", text[len("!tt.tensordesc<") : -1].removeprefix("tensor<").removesuffix(">>"))
    if text.startswith("<"):  # operations that take one kind of memory leave its name out
        return _shaped("memory", text[1:-1])
    raise NotModelled(f"the twin knows no type {text}")


def _shaped(kind: Kind, inside: str) -> Type:
    head, *encodings = split(inside)
    found = re.match(r"((?:\d+x)*)(.*)", head)
    assert found is not None
    shape = tuple(int(size) for size in found[1].split("x") if size)
    pointer = re.fullmatch(r"!tt\.ptr<(\w+)(?:, \d+)?>", found[2])
    layout = encodings[0] if encodings else ""
    if pointer:
        return Type(kind, shape, "i64", pointer[1], layout)
    return Type(kind, shape, _element(found[2]), "", layout)


def _element(name: str) -> str:
    return "i64" if name == "index" else name

"""A kernel as data: operations with their operands, attributes, types, source lines and regions."""

import re
from dataclasses import dataclass, field

from fuzz.twin.ir.types import Type

Attribute = bool | int | str | tuple[int, ...]


@dataclass
class Region:
    """One block of operations. arguments: the names that enter it, in order."""

    arguments: list[str] = field(default_factory=list)
    ops: list["Op"] = field(default_factory=list)


@dataclass
class Op:
    """One operation.

    text: the text between its name and its types, without attributes.
    types: the types of its operands, as they are written; result_types: those of its results.
    place: `file:line`, and the places that it was inlined into. num_warps: of each region of a `warp_specialize`.
    """

    name: str
    results: list[str]
    operands: list[str]
    text: str
    attributes: dict[str, Attribute]
    types: list[Type]
    result_types: list[Type]
    place: str
    regions: list[Region] = field(default_factory=list)
    num_warps: list[int] = field(default_factory=list)

    @property
    def result_type(self) -> Type:
        """The type of its one result."""
        return self.result_types[0]

    def number(self, name: str, default: int | None = None) -> int:
        """An attribute that is a number."""
        value = self.attributes.get(name, default)
        assert isinstance(value, int), f"{self.name} has no number {name} at {self.place}"
        return int(value)

    def is_set(self, name: str) -> bool:
        """True if a flag is set."""
        return self.attributes.get(name) is True

    def literal(self) -> int:
        """The number that stands among its operands, as the bytes of a `barrier_expect` do."""
        found = re.search(r",\s*(\d+)\b", self.text)
        assert found is not None, f"{self.name} has no number at {self.place}"
        return int(found[1])


@dataclass
class Module:
    """One kernel. parameters: name and type of each. attributes: those of the module that are numbers."""

    name: str
    parameters: list[tuple[str, Type]]
    body: Region
    attributes: dict[str, int]

    @property
    def num_warps(self) -> int:
        """Warps of a program, without those of its partitions."""
        return self.attributes["ttg.num-warps"]

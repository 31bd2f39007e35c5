"""Writes a kernel as Python source, one line or a few for each operation, by a table of rules.

A rule is a function of the emitter and an operation. Whether a value is a number or an array is known from its
type when the source is written, so nothing is asked when it runs.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fuzz.twin.finding import NotModelled
from fuzz.twin.ir.module import Module, Op, Region
from fuzz.twin.ir.types import Type

Rule = Callable[["Emitter", Op], None]
RULES: dict[str, Rule] = {}
"""Operation -> what it becomes."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Decorator: the rule of some operations."""

    def add(function: Rule) -> Rule:
        for name in names:
            assert name not in RULES, name
            RULES[name] = function
        return function

    return add


def template(name: str, text: str) -> None:
    """A rule whose result is one expression.

    `{0}`, `{1}` .. are the operands; `{shape}`, `{element}` and `{bits}` those of the result, the last of an integer's;
    any other name is an attribute's.
    """

    def put(emitter: "Emitter", op: Op) -> None:
        kind = op.result_type
        bits = kind.element[1:] if kind.element[0] == "i" else ""
        names = op.attributes | {"shape": kind.shape, "element": repr(kind.element), "bits": bits}
        emitter.result(op, text.format(*emitter.operands(op), **names))

    rule(name)(put)


def statement(name: str, text: str, is_noticed: bool = False) -> None:
    """A rule that is one statement; results are tokens.

    text: with `{0}`, `{1}` .. for the operands, `{place}` for the operation's, and any other name for an attribute's.
    is_noticed: whether others could notice it, so that they may go on before it.
    """

    def put(emitter: "Emitter", op: Op) -> None:
        if is_noticed:
            emitter.pause()
        emitter.put(text.format(*emitter.operands(op), place=repr(op.place), **op.attributes))
        emitter.tokens(op)

    rule(name)(put)


class Emitter:
    """The source so far, and where the next line goes.

    constants: the values that the source names and that stand in no line of it.
    places: of each line, the `file:line` of the operation that it is of.
    targets: the names that the present region gives values. kind: of that region, see `region`.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.constants: dict[str, Any] = {}
        self.places: list[str] = []
        self._lines: list[str] = []
        self._place = ""
        self._depth = 0
        self._is_in_body = False
        self.targets: Sequence[str] = ()
        self.kind = ""
        self._num_names = 0
        self._given: set[str] = set()
        self._left_out: dict[str, Op] = {}

    # ---- lines ----

    def put(self, text: str) -> None:
        """One more line."""
        self._lines.append("    " * self._depth + text)
        self.places.append(self._place)

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Lines inside are a block of the line before."""
        self._depth += 1
        yield
        self._depth -= 1

    def pause(self) -> None:
        """Others may go on here, before something that they could notice."""
        self.put("yield")

    # ---- names ----

    def name(self, value: str) -> str:
        """The Python name of a value."""
        return "v_" + re.sub(r"\W", "_", value[1:])

    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        self._num_names += 1
        return f"{stem}_{self._num_names}"

    def constant(self, value: Any) -> str:
        """The name of a value that stands beside the source."""
        name = self.fresh("K")
        self.constants[name] = value
        return name

    def operands(self, op: Op) -> list[str]:
        """The Python names of an operation's operands."""
        return [self.name(value) for value in op.operands]

    def results(self, op: Op) -> list[str]:
        """The Python names of an operation's results."""
        return [self.name(value) for value in op.results]

    def result(self, op: Op, expression: str) -> None:
        """The line that gives an operation's one result its value."""
        self._give(self.results(op)[:1], expression, "")

    def all_results(self, op: Op, expression: str, numbers: Iterable[int] | None = None) -> None:
        """The line that gives all results of an operation, or those of some numbers, the entries of a sequence."""
        names = self.results(op)
        self._give(names if numbers is None else [names[number] for number in numbers], expression)

    def tokens(self, op: Op, numbers: Iterable[int] | None = None) -> None:
        """Results that order operations for the compiler alone: all, or those of some numbers. They have no value."""
        for number in range(len(op.results)) if numbers is None else numbers:
            self._give(self.results(op)[number : number + 1], "None", "")

    def is_array(self, kind: Type) -> bool:
        """True if a value is an array: a tensor, or anything in the body of a reduction, which runs on arrays."""
        return kind.is_tensor or self._is_in_body

    # ---- structure ----

    def source(self) -> str:
        """The whole program: `program(M, G, X, *parameters)`, a generator."""
        names = ", ".join(self.name(value) for value, _ in self.module.parameters)
        self.put(f"def program(M, G, X, {names}):")
        with self.deeper():
            self.put("if False: yield")
            self.region(self.module.body, "program")
        return "\n".join(self._lines) + "\n"

    def region(self, region: Region, kind: str, targets: Sequence[str] = ()) -> None:
        """The lines of a region. targets: the names that its last line gives values.

        kind: `program`, `partition`, `nested` in a loop or a branch, or `body` of a reduction.
        """
        before, outer = (self.targets, self.kind), self._place
        self.targets, self.kind = targets, kind
        if not region.ops:
            self.put("pass")
        for op in region.ops:
            if op.name not in RULES:
                raise NotModelled(f"the twin has no {op.name} (at {op.place}): {op.text[:80]}")
            for value in op.operands:
                if value in self._left_out:
                    maker = self._left_out[value]
                    raise NotModelled(f"the twin gives {value} of {maker.name} no value (at {maker.place})")
            self._place = op.place
            RULES[op.name](self, op)
            self._left_out |= {value: op for value in op.results if self.name(value) not in self._given}
        self.targets, self.kind = before
        self._place = outer

    def body(self, region: Region) -> str:
        """The name of a function that does what the body of a reduction or a scan does."""
        name = self.fresh("body")
        self.put(f"def {name}({', '.join(map(self.name, region.arguments))}):")
        before, self._is_in_body = self._is_in_body, True
        with self.deeper():
            self.region(region, "body")
        self._is_in_body = before
        return name

    def leave(self, values: Sequence[str]) -> None:
        """The last line of a region: its values go to its targets, or back to the caller."""
        if self.kind == "body":
            self.put(f"return {', '.join(values)},")
        elif self.targets:
            self.assign(self.targets, values)
        else:
            self.put("pass")

    def assign(self, targets: Sequence[str], values: Sequence[str]) -> None:
        """Several names get values at once."""
        self._give(targets, f"{', '.join(values)},")

    def _give(self, targets: Sequence[str], expression: str, comma: str = ",") -> None:
        """Every value that a name gets comes by here, so that the results that a rule leaves out are known."""
        self._given.update(targets)
        self.put(f"{', '.join(targets)}{comma} = {expression}")

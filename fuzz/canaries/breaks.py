"""Breaks of a Python source that no one thought of one by one: every place of some kinds, broken in the same way.

They are the slips that kernels are made of: an edge that is off by one, a mask that is forgotten, a barrier that is not
there. Only bodies of functions are broken. Some breaks change nothing that a caller can see.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fuzz.canaries.source import Source

Words = Callable[[ast.AST], str]
"""The text of a node."""
Breaker = Callable[[ast.AST, Words], Iterator[tuple[ast.AST, str]]]
"""The breaks of one kind at a node: what each replaces, and the new words. None where it is not of that kind."""

_EDGES = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_PICKS = frozenset({"min", "max", "minimum", "maximum"})
_NO_ANSWER_DEPENDS_ON = frozenset(
    {"static_assert", "static_print", "device_print", "device_assert", "print", "assume", "multiple_of"}
)


@dataclass(frozen=True)
class Break:
    """One place of a source with other words.

    kind: one of `KINDS`. line: from 1. start: where the old words begin in the text. old, new: the words.
    """

    kind: str
    line: int
    start: int
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The text with the new words."""
        return text[: self.start] + self.new + text[self.start + len(self.old) :]

    def __str__(self) -> str:
        old, new = (" ".join(words.split()) for words in (self.old, self.new))
        return f"line {self.line}: `{old}` -> `{new}`"


def breaks_of(text: str) -> list[Break]:
    """All breaks of a source, in its order."""
    source, found = Source(text), list[Break]()
    for function in source.nodes:
        if isinstance(function, ast.FunctionDef):
            for node in _inside(function.body):
                found += [
                    Break(kind, vars(old)["lineno"], source.span(old)[0], source.words(old), new)
                    for kind, breaker in _BREAKERS.items()
                    for old, new in breaker(node, source.words)
                ]
    return sorted(found, key=lambda one: one.start)


def _inside(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """All that functions execute: not their inner functions, which are walked apart, and no types or formatted text."""
    rest: list[ast.AST] = [*nodes]
    while rest:
        node = rest.pop()
        yield node
        match node:
            case ast.FunctionDef() | ast.ClassDef() | ast.JoinedStr():
                pass
            case ast.AnnAssign(value=value):
                rest += [] if value is None else [value]
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
                rest.append(node.args[0])
            case _:
                rest += ast.iter_child_nodes(node)


def _edge(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _EDGES:
            yield node, f"({words(left)} {_EDGES[type(op)]} {words(right)})"


def _operand(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.BoolOp():
            yield from ((node, new) for _, new in without_each_operand(node, words))
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            yield from ((node, f"({words(one)})") for one in (left, right))


def without_each_operand(both: ast.BoolOp, words: Words) -> Iterator[tuple[str, str]]:
    """Each operand of an `and` or an `or`, and the text without it."""
    operands, word = [*map(words, both.values)], " and " if isinstance(both.op, ast.And) else " or "
    for left_out, operand in enumerate(operands):
        yield operand, f"({word.join(operands[:left_out] + operands[left_out + 1 :])})"


def _pick(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Call(func=function, args=[first, second, *_]) if _name(function) in _PICKS:
            yield from ((node, f"({words(one)})") for one in (first, second))


def _one(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=ast.Constant(value=1)):
            yield node, f"({words(left)})"
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Add(), right=right):
            yield node, f"({words(right)})"


def _round(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Call(func=function, args=[number, size]) if _name(function) == "cdiv":
            yield node, f"(({words(number)}) // ({words(size)}))"


def _choice(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.IfExp(body=first, orelse=second):
            yield from ((node, f"({words(one)})") for one in (first, second))
        case ast.Call(func=function, args=[_, first, second]) if _name(function) == "where":
            yield from ((node, f"({words(one)})") for one in (first, second))


def _guard(node: ast.AST, _: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.If(test=test):
            yield test, "False"


def _mask(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Call(func=function, args=args, keywords=keywords) if any(one.arg == "mask" for one in keywords):
            kept = [*args, *(one for one in keywords if one.arg not in ("mask", "other"))]
            yield node, f"{words(function)}({', '.join(map(words, kept))})"


def _width(node: ast.AST, words: Words) -> Iterator[tuple[ast.AST, str]]:
    if (number := widened(node)) is not None:
        yield node, f"({words(number)})"


def widened(node: ast.AST) -> ast.expr | None:
    """The number that a node widens to 64 bits; None if it widens none."""
    match node:
        case ast.Call(func=ast.Attribute(value=number, attr="to"), args=[ast.Attribute(attr="int64")]):
            return number
        case ast.Call(func=ast.Attribute(attr="cast"), args=[number, ast.Attribute(attr="int64")]):
            return number
    return None


def _statement(node: ast.AST, _: Words) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Expr(value=ast.Call(func=function)) if _name(function) not in _NO_ANSWER_DEPENDS_ON:
            yield node, "pass"


def _name(function: ast.expr) -> str:
    """The last word of a function's name."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


KINDS = {
    "edge": "`<` for `<=`, `>` for `>=`, and the reverse",
    "operand": "an operand of `and`, `or`, `&` or `|` left out",
    "pick": "an argument of a minimum or a maximum instead of it",
    "one": "`+ 1` or `- 1` left out",
    "round": "a division that rounds down instead of up",
    "choice": "one side of a choice (`if` with `else`, or `where`), whatever its condition",
    "guard": "an `if` that is never taken",
    "mask": "the mask of a load or a store left out",
    "width": "a number left in 32 bits",
    "statement": "a call whose result nobody takes left out: a store, a barrier, a check",
}
"""Kind of break -> what it is."""
_BREAKERS: dict[str, Breaker] = {
    "edge": _edge,
    "operand": _operand,
    "pick": _pick,
    "one": _one,
    "round": _round,
    "choice": _choice,
    "guard": _guard,
    "mask": _mask,
    "width": _width,
    "statement": _statement,
}

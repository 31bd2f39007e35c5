"""Exceptions of the twin: a finding about a kernel, or an operation that it has no model of."""

from typing import Literal

Kind = Literal[
    "race",
    "fence",
    "barrier",
    "deadlock",
    "in flight",
    "unwaited",
    "bounds",
    "two writers",
    "dependency",
    "copy",
    "memory",
    "arithmetic",
    "assembly",
]


class Finding(Exception):
    """A mistake in a kernel.

    kind: `race` two accesses of one place without an order between them; `fence` an order that the async proxy
        does not see; `barrier` a phase that is lost, too many arrivals, or use before init; `deadlock` nothing can
        go on; `in flight` the program ends before what it started; `unwaited` a result that is used before it is
        there; `bounds` an address in no tensor; `two writers` two programs that store in one place; `dependency`
        memory of the launch before, touched ahead of the wait for it; `copy` a layout or a size that does not fit;
        `memory` an allocation that does not fit.
    """

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class NotModelled(NotImplementedError):
    """An operation, a type or a layout that the twin does not understand: no verdict about the kernel."""

"""Events, and the order that is known between them.

Every access to shared or tensor memory is an event, one bit of a Python integer. What a warp knows is the set of
events that happened before where it stands (happens-before, as race detectors keep it: Lamport 1978), so an access
is a race unless its warp knows of every access that it conflicts with, whichever way the moments fell in this run.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from fuzz.twin.finding import Finding

Events = int
"""A set of events, as bits."""


def union(sets: Iterable[Events]) -> Events:
    """The events of any of some sets."""
    return reduce(or_, sets, 0)


@dataclass(eq=False)
class Group:
    """Warps that run one code: a program's own, or those of a partition.

    knows: for each warp, the events that are before it. fenced: those of them that the async proxy sees, too.
    """

    name: str
    num_warps: int
    knows: list[Events]
    fenced: list[Events]
    products: list[Any] = field(default_factory=list)  # of warp groups, in flight, the oldest first
    copies: list[Any] = field(default_factory=list)  # groups of cp.async, committed, the oldest first
    open_copies: list[Any] = field(default_factory=list)
    tensor_stores: list[Any] = field(default_factory=list)  # bulk copies to global memory, in flight, the oldest first
    issued: Events = 0  # products in tensor memory that its thread has started
    unread: list[list[Events]] = field(default_factory=list)  # loads of tensor memory that were not waited for
    unwritten: list[list[Events]] = field(default_factory=list)

    @staticmethod
    def fresh(name: str, num_warps: int, knows: Events = 0, fenced: Events = 0) -> "Group":
        """Warps that all know the same."""
        return Group(name, num_warps, [knows] * num_warps, [fenced] * num_warps)

    def learn(self, each: list[Events]) -> None:
        """Every warp knows its own event of a list from now on."""
        self.knows = [known | event for known, event in zip(self.knows, each, strict=True)]

    def meet(self) -> None:
        """A barrier: every warp knows what any of them knew."""
        self.knows = [union(self.knows)] * self.num_warps
        self.fenced = [union(self.fenced)] * self.num_warps


@dataclass
class Event:
    """One event: what was done where, and by which warps; None for hardware."""

    what: str
    place: str
    group: Group | None


class Log:
    """All events of one program.

    generic: those by the generic proxy, threads' loads and stores. generic_writes: the stores among them.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.generic: Events = 0
        self.generic_writes: Events = 0
        self._generic_of: dict[Group, Events] = {}

    def add(self, what: str, place: str, group: Group | None) -> Events:
        """A new event."""
        self.events.append(Event(what, place, group))
        return 1 << (len(self.events) - 1)

    def add_generic(self, what: str, place: str, group: Group, is_write: bool) -> list[Events]:
        """New events, one for each warp of a group, by the generic proxy."""
        each = [self.add(what, place, group) for _ in range(group.num_warps)]
        union = sum(each)
        self._generic_of[group] = self.generic_of(group) | union
        self.generic |= union
        if is_write:
            self.generic_writes |= union
        return each

    def generic_of(self, group: Group) -> Events:
        """All events by the generic proxy of a group's own warps."""
        return self._generic_of.get(group, 0)

    def tell(self, events: Events) -> str:
        """The first of some events in words."""
        event = self.events[(events & -events).bit_length() - 1]
        return f"{event.what} at {event.place}" + (f" by {event.group.name}" if event.group else "")

    def check_order(self, needed: Events, known: Events, what: str, place: str, group: Group) -> None:
        """Raise the race that there is if a conflicting access is not known to be before this one."""
        missing = needed & ~known
        if missing:
            sentence = f"{what} at {place} by {group.name} does not wait for the {self.tell(missing)}"
            raise Finding("race", sentence)

    def check_fence(self, needed: Events, fenced: Events, what: str, place: str, is_write: bool = False) -> None:
        """Raise what is wrong if the async proxy may come before a thread's store, or write before a thread's load.

        Source: PTX ISA 9.7.13, fence.proxy.async: accesses by the two proxies are in order across such a fence only;
        Triton's tutorial on TMA in Gluon asks for it in both cases.
        """
        missing = needed & (self.generic if is_write else self.generic_writes) & ~fenced
        if missing:
            sentence = f"no fence of the async proxy between the {self.tell(missing)} and the {what} at {place}"
            raise Finding("fence", sentence)

"""Decides what happens next: which partition goes on, or what in flight is done.

`late` lets hardware do nothing until every thread waits, `early` does everything at once, `random` draws from
both. Whatever is in line with something (products of one thread) is done in that order.
"""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from fuzz.twin.finding import Finding
from fuzz.twin.machine.timeline import Span, Timeline
from fuzz.twin.options import Policy


class Waits(Protocol):
    """A reason for a thread not to go on."""

    def is_over(self) -> bool:
        """True if the thread can go on."""

    def tell(self, name: str) -> str:
        """The wait of the thread `name`, in words."""


Code = Generator[Waits | None, None, None]
"""The code of some warps: it yields None where others may go on, or a wait."""


@dataclass(eq=False)
class Flight:
    """Something asynchronous on its way. line: what it is in line with, or None. span: its place in a timeline."""

    what: str
    land: Any
    line: object = None
    span: Span | None = None


@dataclass(eq=False)
class Thread:
    """The warps of one code, on their way through it. span: their wait's place in a timeline."""

    name: str
    code: Code
    waits: Waits | None = None
    span: Span | None = None


class Scheduler:
    """All threads and flights of one program.

    timeline: written if there is one. order: of all choices so far, as one number; 0 if there was none.
    """

    def __init__(self, policy: Policy, seed: int, timeline: Timeline | None = None) -> None:
        self.flights: list[Flight] = []
        self.threads: list[Thread] = []
        self.num_steps = self.order = 0
        self.timeline = timeline
        self._policy, self._random = policy, random.Random(seed)

    def run(self) -> None:
        """Run all threads to their ends.

        Raises:
            Finding: if nothing can go on, or if something is still on its way at the end.
        """
        while self.threads:
            self.num_steps += 1
            chosen = self._choose([t for t in self.threads if t.waits is None or t.waits.is_over()], self._heads())
            if isinstance(chosen, Flight):
                self.land(chosen)
                continue
            self._end(chosen.span)
            try:
                chosen.waits = next(chosen.code)
            except StopIteration:
                self.threads.remove(chosen)
            else:
                chosen.span = self._begin(chosen.name, chosen.waits.tell(chosen.name)) if chosen.waits else None
        if self.flights:
            raise Finding("in flight", f"the program ends before the {self.flights[0].what} is done")

    def start(self, flight: Flight) -> None:
        """Put something on its way."""
        self.flights.append(flight)
        flight.span = self._begin(flight.what.partition(" at ")[0], flight.what)

    def land(self, flight: Flight) -> None:
        """End something that is in flight."""
        self.flights.remove(flight)
        self._end(flight.span)
        flight.land()

    def _begin(self, lane: str, what: str) -> Span | None:
        return self.timeline.begin(lane, what) if self.timeline else None

    def _end(self, span: Span | None) -> None:
        if self.timeline and span:
            self.timeline.end(span)

    def _heads(self) -> list[Flight]:
        """The flights that nothing is in front of."""
        lines, heads = set[object](), list[Flight]()
        for flight in self.flights:
            if flight.line is None or flight.line not in lines:
                heads.append(flight)
            lines.add(flight.line)
        return heads

    def _choose(self, ready: list[Thread], heads: list[Flight]) -> Thread | Flight:
        if not ready and not heads:
            raise Finding("deadlock", "; ".join(t.waits.tell(t.name) for t in self.threads if t.waits is not None))
        options: list[Any] = {"late": ready or heads, "early": heads or ready, "random": [*ready, *heads]}[self._policy]
        number = 0
        if len(options) > 1:
            number = self._random.randrange(len(options))
            self.order = hash((self.order, len(options), number))
        chosen: Thread | Flight = options[number]
        return chosen


@dataclass(eq=False)
class Join:
    """A wait for the end of other threads."""

    scheduler: Scheduler
    others: list[Thread]

    def is_over(self) -> bool:
        """True if all have ended."""
        return not any(other in self.scheduler.threads for other in self.others)

    def tell(self, name: str) -> str:
        """The threads that have not ended."""
        left = [other.name for other in self.others if other in self.scheduler.threads]
        return f"{name} waits for the end of {', '.join(left)}"


def waiting(wait: Waits) -> Iterator[Waits]:
    """Yields a wait until it is over."""
    while not wait.is_over():
        yield wait

"""One program's timeline: what was in flight, and who waited for what, moment by moment.

A moment is a change of the program's state, not a clock: the twin knows the order of things and no durations.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Span:
    """Something that lasts from one moment to another. stop: None while it lasts."""

    lane: str
    what: str
    start: int
    stop: int | None = None


@dataclass(eq=False)
class Timeline:
    """The spans of one program, in the order in which they began."""

    spans: list[Span] = field(default_factory=list)
    moments: int = 0

    def begin(self, lane: str, what: str) -> Span:
        """Begin a span now."""
        span = Span(lane, what, self._next_moment())
        self.spans.append(span)
        return span

    def end(self, span: Span) -> None:
        """End a span now."""
        span.stop = self._next_moment()

    def _next_moment(self) -> int:
        self.moments += 1
        return self.moments - 1

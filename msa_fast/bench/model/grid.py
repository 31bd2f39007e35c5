"""The time of a grid: programs in their order, on multiprocessors that take the next one as soon as one ends."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pace:
    """The pace of programs, in clocks.

    at_once: programs that share a multiprocessor; they share its units evenly. alone: how much longer a program's work
    takes if no other is there to fill its gaps than its share of a full multiprocessor. prologue: clocks from a
    program's start to its first product, which keep no unit busy.
    """

    processors: int
    at_once: int
    alone: float
    prologue: float


def grid_clocks(work: list[float], pace: Pace) -> float:
    """Clocks until the last program ends. work: clocks of the binding unit that each program needs."""
    queue = iter(work)
    # Programs are dealt round and round, as many to each as it holds.
    first = [next(queue, None) for _ in range(pace.processors * pace.at_once)]
    heap = []
    for i in range(pace.processors):
        processor = _Processor(pace)
        for one in first[i :: pace.processors]:
            if one is not None:
                processor.start(one)
        if processor.programs:
            heap.append((processor.next_event(), i, processor))
    heapq.heapify(heap)
    end = 0.0
    while heap:
        now, i, processor = heapq.heappop(heap)
        for one in _some(queue, processor.advance(now)):
            processor.start(one)
        if processor.programs:
            heapq.heappush(heap, (processor.next_event(), i, processor))
        end = now
    return end


def _some(queue: Iterator[float], most: int) -> list[float]:
    return [one for _, one in zip(range(most), queue, strict=False)]


@dataclass
class _Processor:
    """One multiprocessor. programs: [clocks of prologue left, clocks of work left] of each that it holds."""

    pace: Pace
    now: float = 0.0
    programs: list[list[float]] = field(default_factory=list)

    def start(self, work: float) -> None:
        self.programs.append([self.pace.prologue, work])

    def _slowness(self) -> float:
        """Clocks in which a program past its prologue does one clock's work."""
        return max(self.pace.alone, sum(not prologue for prologue, _ in self.programs))

    def next_event(self) -> float:
        """The moment at which a prologue or a program ends."""
        slowness = self._slowness()
        return self.now + min(prologue or work * slowness for prologue, work in self.programs)

    def advance(self, now: float) -> int:
        """Go on to a moment that is no later than the next event. Returns how many programs ended."""
        passed, slowness, held = now - self.now, self._slowness(), len(self.programs)
        for program in self.programs:
            part, pace = (0, 1.0) if program[0] else (1, slowness)
            program[part] = max(0.0, program[part] - passed / pace)
            if program[part] * pace < _ROUNDING * now:
                program[part] = 0.0
        self.programs = [program for program in self.programs if any(program)]
        self.now = now
        return held - len(self.programs)


_ROUNDING = 1e-9
"""Share of the time below which a rest is none."""

"""Barriers: those of all warps of a group, and mbarriers, which copies and products turn.

Source of mbarriers: PTX ISA 9.7.13.15. A phase is over when its arrivals and its bytes have all come; a wait names
the parity of the phase that it waits for, so a phase that turns twice before a waiter looks is lost to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.twin.finding import Finding
from fuzz.twin.machine.events import Events


@dataclass(eq=False)
class Mbarrier:
    """One mbarrier.

    count: arrivals of a phase. pending, num_bytes: what the present phase still waits for.
    init: the event of its initialisation.
    knows, fenced: of those that have arrived in this phase. told, told_fenced: of phases that are over.
    """

    count: int
    init: Events

    def __post_init__(self) -> None:
        self.pending, self.num_bytes, self.phase = self.count, 0, 0
        self.knows: Events = 0
        self.fenced: Events = 0
        self.told: Events = 0
        self.told_fenced: Events = 0
        self._seen: dict[int, Events] = {}

    def has_passed(self, parity: int) -> bool:
        """True if the phase of a parity is over. Before the first turn the phase of parity 1 is."""
        return (self.phase - 1) & 1 == parity

    def arrive(
        self, count: int, num_bytes: int, knows: Events, fenced: Events, tell: Callable[[Events], str], place: str
    ) -> None:
        """Arrivals and bytes; with the last of them the phase is over.

        num_bytes: bytes that are still to come, less those that have come.
        """
        self.pending -= count
        self.num_bytes += num_bytes
        self.knows |= knows
        self.fenced |= fenced
        if self.pending < 0:
            raise Finding("barrier", f"more arrivals than a barrier expects, at {place}")
        if self.pending or self.num_bytes:
            return
        unseen = self._seen.pop(self.phase - 1, 0) & ~self.knows
        if unseen:
            sentence = f"a barrier can turn again at {place} before its last turn is seen by the {tell(unseen)}"
            raise Finding("barrier", sentence)
        self.phase += 1
        self.pending = self.count
        self.told, self.told_fenced = self.knows, self.fenced

    def see(self, events: Events) -> None:
        """Waits that have seen the last phase."""
        self._seen[self.phase - 1] = self._seen.get(self.phase - 1, 0) | events


@dataclass(eq=False)
class PhaseWait:
    """A wait for the phase of a parity."""

    barrier: Mbarrier
    parity: int
    place: str

    def is_over(self) -> bool:
        """True if the phase is over."""
        return self.barrier.has_passed(self.parity)

    def tell(self, name: str) -> str:
        """The wait and the state of its barrier."""
        barrier = self.barrier
        missing = f"{barrier.pending} arrivals and {barrier.num_bytes} bytes missing"
        return (
            f"{name} waits at {self.place} for parity {self.parity} of a barrier in phase {barrier.phase} ({missing})"
        )

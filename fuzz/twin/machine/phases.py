"""Threads at mbarriers: they initialise, expect, arrive and wait."""

from collections.abc import Generator
from typing import Any

from fuzz.twin.finding import Finding
from fuzz.twin.machine.barriers import Mbarrier, PhaseWait
from fuzz.twin.machine.core import Core
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.scheduler import Waits, waiting
from fuzz.twin.machine.spaces import View


class Phases(Core):
    """Mbarriers, by the byte of shared memory where each lies."""

    def init_barrier(self, group: Group, view: View, count: int, place: str) -> None:
        """One thread initialises; the others learn of it by a barrier of the group."""
        event = self.log.add("init of a barrier", place, group)
        group.knows[0] |= event
        self.mbarriers[view.low] = Mbarrier(count, event)

    def invalidate_barrier(self, group: Group, view: View, place: str) -> None:
        """The memory of an mbarrier is free again."""
        barrier = self.mbarrier(group, view, place)
        if barrier.num_bytes or barrier.pending != barrier.count:
            raise Finding("barrier", f"a barrier is invalidated at {place} in the middle of a phase")
        del self.mbarriers[view.low]

    def mbarrier(self, group: Group, view: View, place: str, warp: int = 0) -> Mbarrier:
        """The mbarrier at a view, as a warp may use it."""
        barrier = self.mbarriers.get(view.low)
        if barrier is None:
            raise Finding("barrier", f"a barrier is used at {place} that is not initialised")
        if not self.is_source and barrier.init & ~group.knows[warp]:
            raise Finding("barrier", f"a barrier is used at {place} by a warp that may be there before its init")
        return barrier

    def expect(self, group: Group, view: View, num_bytes: int, predicate: Any, place: str) -> None:
        """One thread arrives and announces bytes. Triton's lowering puts a barrier of the group before it."""
        if not predicate:
            return
        barrier = self.mbarrier(group, view, place)
        self.compiler_barrier(group)
        if not self.is_source:
            group.meet()
        barrier.arrive(1, num_bytes, group.knows[0], group.fenced[0], self.log.tell, place)

    def arrive(self, group: Group, view: View, count: int, predicate: Any, place: str) -> None:
        """One thread arrives for all, behind a barrier of the group that Triton's lowering puts there."""
        if not predicate:
            return
        group.meet()
        barrier = self.mbarrier(group, view, place)
        barrier.arrive(count, 0, group.knows[0], group.fenced[0], self.log.tell, place)

    def wait(
        self, group: Group, view: View, parity: int, predicate: Any, place: str
    ) -> Generator[Waits | None, None, None]:
        """All warps wait for a phase, and know then what those knew who arrived in it."""
        if not predicate:
            return
        if parity not in (0, 1):
            raise Finding("barrier", f"a wait at {place} is for parity {parity}, where PTX takes 0 and 1 alone")
        self.compiler_barrier(group)
        for warp in range(group.num_warps):
            barrier = self.mbarrier(group, view, place, warp)
        yield from waiting(PhaseWait(barrier, parity, place))
        each = [self.log.add("wait", place, group) for _ in range(group.num_warps)]
        group.learn(each)
        group.knows = [known | barrier.told for known in group.knows]
        group.fenced = [seen | barrier.told_fenced for seen in group.fenced]
        barrier.see(sum(each))

"""Asynchronous copies to and from shared memory: by tensor descriptor (TMA), and by the threads (cp.async)."""

from dataclasses import dataclass
from typing import Any

from fuzz.twin.finding import Finding
from fuzz.twin.machine.events import Events, Group, union
from fuzz.twin.machine.phases import Phases
from fuzz.twin.machine.scheduler import Flight
from fuzz.twin.machine.spaces import View, mark
from fuzz.twin.tiles import Source, Target

LANES = 32


@dataclass(eq=False)
class Copy:
    """A copy by the threads. each: the event of each warp."""

    each: list[Events]
    view: View
    values: Any
    is_done: bool = False

    def land(self) -> None:
        """It is done, once."""
        if not self.is_done:
            self.view.array[...] = self.values
            self.is_done = True


class Copies(Phases):
    """Copies. The contents of a target are neither old nor new from the start of a copy until it lands."""

    def tensor_copy(self, group: Group, source: Source, view: View, bar: View, predicate: Any, place: str) -> None:
        """One thread starts a bulk copy, by the async proxy; its bytes arrive at an mbarrier.

        Source: PTX ISA 9.7.9.25, cp.async.bulk.tensor; rows by their numbers are its mode tile::gather4.
        """
        if not predicate:
            return
        what = "tensor copy"
        source.start()
        self.compiler_barrier(group)
        barrier = self.mbarrier(group, bar, place)
        needed, cells = view.conflicts(True)
        knows, fenced = group.knows[0], group.fenced[0]
        self.log.check_order(needed, knows, what, place, group)
        if self.needs_fences:
            self.log.check_fence(needed, fenced, what, place, is_write=True)
        event = self.log.add(what, place, group)
        mark(cells, event, True)
        view.spoil()

        def land() -> None:
            view.array[...] = source.read(view.array.shape).view(view.array.dtype)
            barrier.arrive(0, -view.num_bytes, knows | event, fenced, self.log.tell, place)

        self.scheduler.start(Flight(f"{what} at {place}", land))

    def tensor_store_copy(self, group: Group, target: Target, view: View, place: str) -> None:
        """One thread starts a bulk copy out of shared memory, by the async proxy; that thread may wait for it.

        Source: PTX ISA 9.7.9.25, cp.async.bulk.tensor and cp.async.bulk.commit_group.
        """
        what = "tensor copy to global memory"
        self.compiler_barrier(group)
        target.start(view.array.shape)
        needed, cells = view.conflicts(False)
        self.log.check_order(needed, group.knows[0], what, place, group)
        if self.needs_fences:
            self.log.check_fence(needed, group.fenced[0], what, place)
        event = self.log.add(what, place, group)
        mark(cells, event, False)
        flight = Flight(f"{what} at {place}", lambda: target.write(view.array.copy()))
        self.scheduler.start(flight)
        group.tensor_stores.append((event, flight))
        self.unwaited_stores |= event

    def wait_for_tensor_stores(self, group: Group, num_pending: int) -> None:
        """All but the last copies out of shared memory are done, for the thread that starts them.

        Source: PTX ISA 9.7.9.25, cp.async.bulk.wait_group: it waits for groups of the executing thread. Whether only
        their reads are done, as `.read` says, makes no difference to what may be written in shared memory.
        """
        while len(group.tensor_stores) > num_pending:
            event, flight = group.tensor_stores.pop(0)
            if flight in self.scheduler.flights:
                self.scheduler.land(flight)
            group.knows[0] |= event
            self.unwaited_stores &= ~event

    def mismatch(self, place: str) -> None:
        """A copy whose descriptor lays elements out in another way than its readers take them."""
        raise Finding("copy", f"the descriptor's layout is not that of its target at {place}")

    def copy(self, group: Group, view: View, values: Any, place: str) -> None:
        """Each thread starts copies of its own. Source: PTX ISA 9.7.9.25, cp.async."""
        each = self.touch(group, view, place, "cp.async", True)
        view.spoil()
        group.open_copies.append(Copy(each, view, values))

    def commit_copies(self, group: Group) -> None:
        """The copies so far are one group of copies."""
        group.copies.append(group.open_copies)
        group.open_copies = []

    def wait_for_copies(self, group: Group, num_pending: int) -> None:
        """All but the last groups of copies are done, for the threads that started them."""
        while len(group.copies) > num_pending:
            for copy in group.copies.pop(0):
                copy.land()
                group.learn(copy.each)

    def arrive_behind_copies(self, group: Group, bar: View, has_own_arrivals: bool, place: str) -> None:
        """Each thread arrives at an mbarrier once its copies so far are done.

        has_own_arrivals: whether the barrier counts these arrivals (`.noinc`), or is told of them here.
        Source: PTX ISA 9.7.13.15, cp.async.mbarrier.arrive.
        """
        for warp in range(group.num_warps):
            barrier = self.mbarrier(group, bar, place, warp)
        copies = [copy for one in (*group.copies, group.open_copies) for copy in one]
        knows = union([*group.knows, *(event for copy in copies for event in copy.each)])
        fenced = union(group.fenced)
        count = LANES * group.num_warps
        if not has_own_arrivals:
            barrier.arrive(-count, 0, 0, 0, self.log.tell, place)

        def land() -> None:
            for copy in copies:
                copy.land()
            barrier.arrive(count, 0, knows, fenced, self.log.tell, place)

        self.scheduler.start(Flight(f"arrival behind copies at {place}", land))

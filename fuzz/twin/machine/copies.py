"""Asynchronous copies to shared memory: by tensor descriptor (TMA), and by the threads (cp.async)."""

from typing import Any, Protocol

import numpy as np

from fuzz.twin.finding import Finding
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.phases import Phases
from fuzz.twin.machine.scheduler import Flight
from fuzz.twin.machine.spaces import View, mark


class Descriptor(Protocol):
    """A tensor descriptor."""

    def read(self, at: list[int], shape: tuple[int, ...], place: str) -> np.ndarray[Any, Any]:
        """The tile that begins at `at`; zeros outside of the tensor."""


class Copies(Phases):
    """Copies. The contents of a target are neither old nor new from the start of a copy until it lands."""

    def tensor_copy(
        self, group: Group, descriptor: Descriptor, at: list[int], view: View, bar: View, predicate: Any, place: str
    ) -> None:
        """One thread starts a bulk copy, by the async proxy; its bytes arrive at an mbarrier.

        Source: PTX ISA 9.7.9.25, cp.async.bulk.tensor.
        """
        if not predicate:
            return
        what = "tensor copy"
        self.compiler_barrier(group)
        barrier = self.mbarrier(group, bar, place)
        needed, cells = view.conflicts(True)
        knows, fenced = group.knows[0], group.fenced[0]
        self.log.check_order(needed, knows, what, place, group)
        if self.needs_fences:
            self.log.check_fence(needed, fenced, what, place)
        event = self.log.add(what, place, group)
        mark(cells, event, True)
        view.spoil()

        def land() -> None:
            view.array[...] = descriptor.read(at, view.array.shape, place).view(view.array.dtype)
            barrier.arrive(0, -view.num_bytes, knows | event, fenced, self.log.tell, place)

        self.scheduler.start(Flight(f"{what} at {place}", land))

    def mismatch(self, place: str) -> None:
        """A copy whose descriptor lays elements out in another way than its readers take them."""
        raise Finding("copy", f"the descriptor's layout is not that of its target at {place}")

    def copy(self, group: Group, view: View, values: Any, place: str) -> None:
        """Each thread starts copies of its own. Source: PTX ISA 9.7.9.25, cp.async."""
        each = self.touch(group, view, place, "cp.async", True)
        view.spoil()
        group.open_copies.append((each, view, values))

    def commit_copies(self, group: Group) -> None:
        """The copies so far are one group of copies."""
        group.copies.append(group.open_copies)
        group.open_copies = []

    def wait_for_copies(self, group: Group, num_pending: int) -> None:
        """All but the last groups of copies are done, for the threads that started them."""
        while len(group.copies) > num_pending:
            for each, view, values in group.copies.pop(0):
                view.array[...] = values
                group.learn(each)

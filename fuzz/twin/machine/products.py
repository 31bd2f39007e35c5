"""Matrix products: those of warp groups (Hopper's wgmma), and those in tensor memory (Blackwell's tcgen05)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fuzz.twin.arithmetic import widened
from fuzz.twin.finding import Finding
from fuzz.twin.machine.events import Events, Group
from fuzz.twin.machine.phases import Phases
from fuzz.twin.machine.scheduler import Flight
from fuzz.twin.machine.spaces import View, mark

WARP_GROUP = 4
"""Warps that start a product together."""


class Pending:
    """An accumulator in registers that a product in flight still writes: any use of it is a finding."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.value: Any = None

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Finding("unwaited", f"a product that is started at {self.place} is used before it is waited for")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # NumPy asks what it may do with an object, before it uses it
            raise AttributeError(name)
        return self.__array__()


def _operand(value: Any) -> Any:
    """fp32 of an operand, in memory or in registers, as it is when the product is computed."""
    return widened(value.array, value.element) if isinstance(value, View) else value


class Products(Phases):
    """Products. Operands are read when a product is done, so a page that changes before shows."""

    def dot(self, a: Any, b: Any, c: Any, element: str) -> Any:
        """A product that threads wait for: mma.sync."""
        return self.dot_of(_operand(a), _operand(b), c, element)

    def warp_group_dot(
        self, group: Group, a: Any, b: Any, c: Any, is_used: Any, element: str, is_async: bool, place: str
    ) -> Any:
        """All warps of a group start a product. is_used: whether it is added to c.

        Its operands in shared memory are read by the async proxy. Source: PTX ISA 9.7.15, wgmma.mma_async.
        """
        what = "product"
        self.compiler_barrier(group)
        given = self.given_order(group)
        each = [self.log.add(what, place, group) for _ in range(group.num_warps)]
        for view in (a, b):
            if isinstance(view, View):
                needed, cells = view.conflicts(False)
                for known, seen in zip(group.knows, group.fenced, strict=True):
                    self.log.check_order(needed, known | given, what, place, group)
                    if self.needs_fences:
                        self.log.check_fence(needed, seen, what, place)
                mark(cells, sum(each), False)
        product = Pending(place)

        def land() -> None:
            start = (c.value if isinstance(c, Pending) else c) if is_used else None
            product.value = self.dot_of(_operand(a), _operand(b), start, element)

        flight = Flight(f"{what} at {place}", land, (group, "warp group"))
        self.scheduler.start(flight)
        group.products.append((each, product, flight))
        return product if is_async else self.wait_for_products(group, [product], 0)[0]

    def wait_for_products(self, group: Group, values: list[Any], num_pending: int) -> list[Any]:
        """All but the last products are done. What a warp waited for, that warp alone knows.

        Source: PTX ISA 9.7.15, wgmma.wait_group: it waits for the groups of the executing threads. Where a program has
        several warp groups, Triton's lowering puts a barrier of all of them behind the wait (PTX of 3.6 and 3.9).
        """
        done = group.products[: max(0, len(group.products) - num_pending)]
        group.products = group.products[len(done) :]
        for each, _, flight in done:
            if flight in self.scheduler.flights:
                self.scheduler.land(flight)
            group.learn(each)
        if group.num_warps > WARP_GROUP:
            group.meet()
        running = {id(product) for _, product, _ in group.products}
        return [v.value if isinstance(v, Pending) and id(v) not in running else v for v in values]

    def tensor_product(
        self, group: Group, a: View, b: View, d: View, is_used: Any, predicate: Any, bars: list[Any], place: str
    ) -> None:
        """One thread starts a product into tensor memory. Products of one thread are done in order.

        Triton's lowering puts a barrier of the group before it, and none before a copy to tensor memory (PTX of 3.9).
        Source: PTX ISA 9.7.16, tcgen05.mma. bars: (mbarrier, whether) that the product arrives at.
        """
        if not predicate:
            return
        self._lowered_barrier(group)
        self._start_in_tensor_memory(group, (a, b), d, "product", place)
        if not is_used:
            d.array[...] = np.float32(np.nan)  # what was there is gone, and nothing is there yet

        def land() -> None:
            d.array[...] = self.dot_of(_operand(a), _operand(b), d.array if is_used else None, a.element)

        self.scheduler.start(Flight(f"product at {place}", land, (group, "tensor")))
        for bar, condition in bars:
            self.commit_products(group, bar, condition, place)

    def commit(self, group: Group, bar: View, predicate: Any, place: str) -> None:
        """A commit that stands alone; Triton's lowering puts a barrier of the group before it (PTX of 3.9)."""
        if predicate:
            self._lowered_barrier(group)
            self.commit_products(group, bar, predicate, place)

    def _lowered_barrier(self, group: Group) -> None:
        if not self.is_source:
            group.meet()

    def _start_in_tensor_memory(
        self, group: Group, operands: Sequence[View], target: View, what: str, place: str
    ) -> None:
        """An event that one thread starts knows the events before it, be it by order of that thread's own work."""
        self.compiler_barrier(group)
        knows = group.knows[0] | group.issued | self.given_order(group)
        event = self.log.add(what, place, group)
        for view in operands:
            needed, cells = view.conflicts(False)
            self.log.check_order(needed, knows, what, place, group)
            if view.space is self.shared and self.needs_fences:
                self.log.check_fence(needed, group.fenced[0], what, place)
            mark(cells, event, False)
        needed, cells = target.conflicts(True)
        self.log.check_order(needed, knows, what, place, group)
        mark(cells, event, True)
        group.issued |= event

    def copy_to_tensor_memory(self, group: Group, source: View, target: View, place: str) -> None:
        """One thread starts a copy from shared to tensor memory, by the async proxy, in line with its products.

        Source: PTX ISA 9.7.16, tcgen05.cp, and 9.7.16.6.4: pipelined with tcgen05.mma of one thread, in its order.
        """
        what = "copy to tensor memory"
        self._start_in_tensor_memory(group, (source,), target, what, place)
        target.spoil()

        def land() -> None:
            target.array[...] = source.array

        self.scheduler.start(Flight(f"{what} at {place}", land, (group, "tensor")))

    def commit_products(self, group: Group, bar: View, predicate: Any, place: str) -> None:
        """An arrival at an mbarrier once all products and copies so far of the thread are done.

        Source: PTX ISA 9.7.16, tcgen05.commit.
        """
        if not predicate:
            return
        barrier = self.mbarrier(group, bar, place)
        knows: Events = group.knows[0] | group.issued
        fenced = group.fenced[0]

        def land() -> None:
            barrier.arrive(1, 0, knows, fenced, self.log.tell, place)

        self.scheduler.start(Flight(f"commit at {place}", land, (group, "tensor")))

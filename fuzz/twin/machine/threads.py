"""Threads' own work: shared and tensor memory, barriers of a group, fences, and partitions."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.machine.core import Core
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.scheduler import Join, Thread, Waits, waiting
from fuzz.twin.machine.spaces import SHARED_GARBAGE, TENSOR_GARBAGE, TENSOR_ROWS, View

SHARED_ALIGNMENT = 1024
"""Bytes that every allocation is a multiple of, at the level `source`: the coarsest swizzle's."""


class Threads(Core):
    """Loads, stores, barriers and fences."""

    def local_alloc(self, shape: tuple[int, ...], element: str, offset: int | None, place: str) -> View:
        """A view of shared memory: at its place, or of its own where lowering has not chosen one yet."""
        dtype = dtype_of(element)
        size = int(np.prod(shape)) * dtype.itemsize
        if offset is None:
            offset, used = self.shared.unplaced(place, -(-size // SHARED_ALIGNMENT) * SHARED_ALIGNMENT)
            content = np.full(size, SHARED_GARBAGE, np.uint8)
        else:
            used = offset + size
            content = self.shared.content[offset : offset + size]
        if used > self.shared.room:
            raise Finding("memory", f"the allocation at {place} does not fit shared memory")
        return View(self.shared, content.view(dtype).reshape(shape), element, offset, offset + size)

    def local_store(self, group: Group, value: Any, view: View, place: str) -> None:
        """All warps store."""
        group.learn(self.touch(group, view, place, "store", True))
        view.array[...] = value

    def local_load(self, group: Group, view: View, place: str) -> Any:
        """All warps load."""
        group.learn(self.touch(group, view, place, "load", False))
        return view.array.copy()

    def scratch(self, group: Group, low: int, high: int, place: str) -> None:
        """Values go from warp to warp by way of shared memory: a store, a barrier, a load."""
        view = View(self.shared, self.shared.content[low:high], "i8", low, high)
        group.learn(self.touch(group, view, place, "store to scratch memory", True))
        group.meet()
        group.learn(self.touch(group, view, place, "load from scratch memory", False))

    def barrier(self, group: Group) -> None:
        """Every warp of the group waits for all of them."""
        group.meet()

    def fence(self, group: Group) -> None:
        """The async proxy sees from now on what each warp knows. Source: PTX ISA, fence.proxy.async."""
        group.fenced = [seen | known for seen, known in zip(group.fenced, group.knows, strict=True)]

    def tensor_alloc(self, shape: tuple[int, ...], element: str, column: int | None, place: str) -> View:
        """A view of tensor memory: 128 or 64 rows of columns; entries of an outer axis lie side by side.

        64 rows take their columns whole: two such accumulators that share columns are not modelled.
        """
        dtype, rows = dtype_of(element), shape[-2]
        if rows not in (TENSOR_ROWS, TENSOR_ROWS // 2):
            raise NotModelled(f"the twin has tensor memory of {TENSOR_ROWS} or {TENSOR_ROWS // 2} rows (at {place})")
        width = int(np.prod(shape)) // rows * dtype.itemsize // 4
        if column is None:
            column, used = self.tensor.unplaced(place, width)
            content = np.full((rows, width), TENSOR_GARBAGE, np.uint32)
        else:
            used = column + width
            content = self.tensor.content[:rows, column : column + width]
        if used > self.tensor.room:
            raise Finding("memory", f"the allocation at {place} does not fit tensor memory")
        array: np.ndarray[Any, np.dtype[Any]] = content.view(dtype)
        if len(shape) == 3:
            array = array.reshape(rows, shape[0], shape[2]).transpose(1, 0, 2)
        return View(self.tensor, array, element, column, column + width)

    def tensor_store(self, group: Group, value: Any, view: View, predicate: Any, place: str) -> None:
        """All warps store to tensor memory; done for sure once it is waited for."""
        if not predicate:
            return
        each = self.touch(group, view, place, "store to tensor memory", True)
        view.array[...] = value
        if self.has_waits:
            group.unwritten.append(each)
        else:
            group.learn(each)

    def tensor_load(self, group: Group, view: View, place: str) -> Any:
        """All warps load from tensor memory; done for sure, for others to write there, once it is waited for.

        What is loaded may be used at once: registers wait for it. Source: PTX ISA 9.7.17.6.4.5, which says, too, that
        such a dependency orders no accesses of memory.
        """
        each = self.touch(group, view, place, "load from tensor memory", False)
        if self.has_waits:
            group.unread.append(each)
        else:
            group.learn(each)
        return view.array.copy()

    def tensor_wait(self, group: Group, is_store: bool) -> None:
        """Loads, or stores, of tensor memory are done. Source: PTX ISA, tcgen05.wait."""
        waited = group.unwritten if is_store else group.unread
        for each in waited:
            group.learn(each)
        waited.clear()

    def specialize(
        self,
        group: Group,
        partitions: list[tuple[int, Callable[[Group], Generator[Waits | None, None, None]]]],
        main: Generator[Waits | None, None, Any],
    ) -> Generator[Waits | None, None, Any]:
        """Partitions run beside the group's own code; behind all their ends it knows what they knew.

        Returns:
            The values that the group's own code hands on.
        """
        group.meet()
        others = [
            Group.fresh(f"partition {number}", num_warps, group.knows[0], group.fenced[0])
            for number, (num_warps, _) in enumerate(partitions)
        ]
        threads = [Thread(other.name, code(other)) for other, (_, code) in zip(others, partitions, strict=True)]
        self.scheduler.threads += threads
        values = yield from main
        yield from waiting(Join(self.scheduler, threads))
        for other in others:
            other.meet()
            group.knows = [known | other.knows[0] for known in group.knows]
            group.fenced = [seen | other.fenced[0] for seen in group.fenced]
        return values

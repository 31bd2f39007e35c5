"""Shared and tensor memory: their contents, the views of them, and who touched which part last."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.machine.events import Events

TENSOR_ROWS, TENSOR_COLUMNS = 128, 512
"""Lanes and 32-bit columns of a multiprocessor's tensor memory. Source: PTX ISA 9.7.16, tensor memory."""
SHARED_GARBAGE, TENSOR_GARBAGE = 0xFF, 0xFFFFFFFF
"""Contents of memory before anything is written: NaN as a float, -1 as an integer."""


@dataclass
class Cell:
    """An interval [low, high) of a space. writes: the last writes there; reads: the reads since then."""

    low: int
    high: int
    writes: Events = 0
    reads: Events = 0


class Space:
    """Shared memory, counted in bytes, or tensor memory, counted in columns."""

    def __init__(self, name: Literal["shared", "tensor"], content: npt.NDArray[Any], room: int) -> None:
        """content: what lies at chosen places; empty before lowering has chosen any. room: bytes or columns."""
        self.name, self.content, self.room = name, content, room
        self._cells: list[Cell] = []
        self._unplaced: dict[str, int] = {}
        self._end = 0

    def unplaced(self, place: str, size: int) -> tuple[int, int]:
        """The start of an allocation whose place is not chosen yet, and what the places of all such ones take.

        An allocation of a loop is made anew in every round, and lowering will find that all rounds share one place: so
        they do not lie in each other's way here, and count once.
        """
        self._unplaced[place] = size
        start, self._end = self._end, self._end + size
        return start, sum(self._unplaced.values())

    def cells(self, low: int, high: int) -> list[Cell]:
        """The cells that fill an interval exactly; those that stick out of it are split, gaps become new ones."""
        for cell in list(self._cells):
            for edge in (low, high):
                if cell.low < edge < cell.high:
                    self._cells.append(Cell(edge, cell.high, cell.writes, cell.reads))
                    cell.high = edge
        found = sorted((c for c in self._cells if low <= c.low and c.high <= high), key=lambda cell: cell.low)
        at, new = low, list[Cell]()
        for cell in found:
            if cell.low > at:
                new.append(Cell(at, cell.low))
            at = cell.high
        if at < high:
            new.append(Cell(at, high))
        self._cells += new
        return found + new


@dataclass(eq=False)
class View:
    """A view of a space. array: its elements. low, high: the bytes, or the columns, that they lie in."""

    space: Space
    array: npt.NDArray[Any]
    element: str
    low: int
    high: int

    @property
    def num_bytes(self) -> int:
        """Bytes of all its elements."""
        return self.array.nbytes

    def index(self, i: int, place: str) -> "View":
        """One entry of the outermost axis."""
        count = len(self.array)
        if not 0 <= i < count:
            raise Finding("bounds", f"entry {i} of {count} is taken at {place}")
        size = (self.high - self.low) // count
        return View(self.space, self.array[i], self.element, self.low + i * size, self.low + (i + 1) * size)

    def reshape(self, shape: tuple[int, ...]) -> "View":
        """The same elements in another shape."""
        return View(self.space, self.array.reshape(shape), self.element, self.low, self.high)

    def transpose(self, order: tuple[int, ...]) -> "View":
        """The same elements with their axes in another order."""
        return View(self.space, self.array.transpose(order), self.element, self.low, self.high)

    def slice(self, offsets: tuple[int, ...], shape: tuple[int, ...]) -> "View":
        """A part: of tensor memory some columns, or entries. Of shared memory the whole is taken to be touched, as
        rows are swizzled into each other."""
        part = self.array[tuple(slice(o, o + n) for o, n in zip(offsets, shape, strict=True))]
        if self.space.name == "shared":
            return View(self.space, part, self.element, self.low, self.high)
        cut = [axis for axis in range(len(shape)) if shape[axis] != self.array.shape[axis]] or [0]
        if len(cut) > 1 or cut[0] == len(shape) - 2 or (cut[0] and len(shape) == 3 and shape[0] > 1):
            raise NotModelled("the twin has no part of tensor memory that is not some columns, one beside another")
        per_element = (self.high - self.low) / self.array.shape[cut[0]]
        low = self.low + int(offsets[cut[0]] * per_element)
        return View(self.space, part, self.element, low, low + int(shape[cut[0]] * per_element))

    def reinterpret(self, shape: tuple[int, ...], element: str, place: str) -> "View":
        """The same bytes as elements of another size, and in another shape."""
        dtype = dtype_of(element)
        if int(np.prod(shape)) * dtype.itemsize != self.num_bytes or self.array.strides[-1] != self.array.itemsize:
            raise NotModelled(f"the twin cannot read {self.array.shape} as {shape} (at {place})")
        array = self.array.view(dtype)
        if self.space.name == "shared":
            array = array.reshape(shape, copy=False) if array.flags.c_contiguous else array
        if array.shape != shape:
            raise NotModelled(f"the twin cannot read {self.array.shape} as {shape} (at {place})")
        return View(self.space, array, element, self.low, self.high)

    def conflicts(self, is_write: bool) -> tuple[Events, list[Cell]]:
        """The accesses that an access must know of: a read the writes before it, a write the reads, too."""
        cells = self.space.cells(self.low, self.high)
        needed: Events = 0
        for cell in cells:
            needed |= cell.writes | (cell.reads if is_write else 0)
        return needed, cells

    def spoil(self) -> None:
        """Contents that are neither the old nor the new ones, as a copy is on its way: those of unwritten memory."""
        self.array[...] = np.array(-1, f"i{self.array.itemsize}").view(self.array.dtype)


def mark(cells: list[Cell], events: Events, is_write: bool) -> None:
    """Note an access to cells."""
    for cell in cells:
        if is_write:
            cell.writes, cell.reads = events, 0
        else:
            cell.reads |= events

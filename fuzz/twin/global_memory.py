"""Global memory: real addresses of real tensors, and who wrote what in which launch."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.finding import Finding
from fuzz.twin.tiles import Source, Target, TileReader

NOBODY = -1
PAGE_BITS = 14
"""log2 of the bytes of a tensor that are noted together, once anybody stores there: eight bytes for each."""
LAUNCH_BITS = 32
"""Bits of a note that hold the program; the launch stands above them."""


class Notes:
    """For each byte that begins an element, the launch and the program that stored there last."""

    def __init__(self) -> None:
        self._pages: dict[int, npt.NDArray[np.int64]] = {}

    def note(self, at: npt.NDArray[np.int64], launch: int, program: int) -> bool:
        """A program stores at some bytes. Returns whether another of the same launch did so at any of them."""
        numbers, note, is_shared = at >> PAGE_BITS, launch << LAUNCH_BITS | program, False
        for number in np.unique(numbers).tolist():
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = np.full(1 << PAGE_BITS, NOBODY, np.int64)
            inside = at[numbers == number] - (number << PAGE_BITS)
            before = page[inside]
            is_shared |= bool(((before >> LAUNCH_BITS == launch) & (before != note)).any())
            page[inside] = note
        return is_shared


class Spans:
    """The spans of memory that a launch has touched, and the launch before it: from an address up to another.

    What one instruction touches counts as one span, with the gaps between.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[list[int], list[int]]] = {}

    def add(self, launch: int, low: int, high: int) -> None:
        """The launch touches a span."""
        if launch not in self._of:
            self._of = {number: spans for number, spans in self._of.items() if number >= launch - 1}
            self._of[launch] = [], []
        lows, highs = self._of[launch]
        first, behind = bisect.bisect_left(highs, low), bisect.bisect_right(lows, high)
        if first < behind:  # these it meets
            low, high = min(low, lows[first]), max(high, highs[behind - 1])
        lows[first:behind], highs[first:behind] = [low], [high]

    def meets(self, launch: int, low: int, high: int) -> bool:
        """True if the launch has touched any byte of a span."""
        lows, highs = self._of.get(launch, ((), ()))
        place = bisect.bisect_right(highs, low)
        return place < len(lows) and lows[place] < high


@dataclass(eq=False)
class Storage:
    """The memory of one tensor, or of several that share it. written, read: where launches stored or loaded."""

    name: str
    base: int
    content: npt.NDArray[np.uint8]
    written: Spans = field(default_factory=Spans)
    read: Spans = field(default_factory=Spans)
    notes: Notes = field(default_factory=Notes)


class GlobalMemory:
    """All storages that kernels were given, by address."""

    def __init__(self) -> None:
        self._storages: list[Storage] = []
        self._bases: list[int] = []
        self._alive: list[torch.Tensor] = []

    def register(self, tensor: torch.Tensor, name: str) -> int:
        """The address of a tensor's first element; kernels may touch its whole storage from now on."""
        storage = tensor.untyped_storage()
        base, size = storage.data_ptr(), storage.nbytes()
        place = bisect.bisect_left(self._bases, base)
        is_known = place < len(self._bases) and self._bases[place] == base
        if is_known and len(self._storages[place].content) != size:  # another tensor lies where one was that is gone
            del self._storages[place], self._bases[place], self._alive[place]
            is_known = False
        if size and not is_known:
            whole = torch.empty(0, dtype=torch.uint8).set_(storage)
            self._storages.insert(place, Storage(name, base, whole.numpy()))
            self._bases.insert(place, base)
            self._alive.insert(place, whole)  # so that no other tensor can come to lie there
        return tensor.data_ptr()

    def storage(self, low: int, high: int, what: str, place: str) -> Storage:
        """The storage that holds the bytes [low, high)."""
        i = bisect.bisect_right(self._bases, low) - 1
        if i < 0 or high > self._bases[i] + len(self._storages[i].content):
            raise Finding("bounds", f"a {what} at {place} of an address in no tensor")
        return self._storages[i]


class Launch:
    """A launch, and what one of its programs sees of the world.

    An early launch may run until it waits while the one before it does, and, if that let it start before it had waited
    itself, while those before that do. Where nothing is known of the one before, it may do anything to any memory.

    program: its numbers. is_early: whether it may still run beside the launch before it. before: that launch, if it is
    one of this world's. has_rushed: whether it let the next one start, as the end of a program does, too, before it had
    waited.
    """

    def __init__(
        self,
        memory: GlobalMemory,
        number: int,
        grid: tuple[int, int, int],
        is_early: bool,
        before: "Launch | None" = None,
    ) -> None:
        self.grid, self.program = grid, (0, 0, 0)
        self.starts_early = is_early
        self.is_early = is_early
        self.has_rushed = False
        self._memory, self._number = memory, number
        self._is_alone_behind = before is not None and not before.has_rushed

    def begin(self, program: tuple[int, int, int]) -> None:
        """The next program."""
        self.program, self.is_early = program, self.starts_early

    def end(self) -> None:
        """The end of a program, which lets the next launch start as `launch_dependents` does."""
        self.has_rushed |= self.is_early

    def dependency_wait(self) -> None:
        """The launch before is done, and its stores are there."""
        self.is_early = False

    def launch_dependents(self) -> None:
        """The next launch may start."""
        self.has_rushed |= self.is_early

    def load(self, pointer: Any, mask: Any, other: Any, element: str, place: str) -> Any:
        """Elements at addresses, where the mask holds; elsewhere `other`, or 0."""
        dtype = dtype_of(element)
        if not isinstance(pointer, np.ndarray):
            if mask is not None and not mask:
                return other if other is not None else 0
            storage = self._reached(pointer, pointer + dtype.itemsize, "load", place)
            at = pointer - storage.base
            value = storage.content[at : at + dtype.itemsize].view(dtype)[0]
            return value.item() if element[0] == "i" else value
        out = np.empty(pointer.shape, dtype)
        if mask is None:
            chosen: Any = slice(None)
        else:
            chosen = np.broadcast_to(mask, pointer.shape)
            out[...] = 0 if other is None else other
        wanted = pointer[chosen]
        if wanted.size:
            storage = self._reached(int(wanted.min()), int(wanted.max()) + dtype.itemsize, "load", place)
            out[chosen] = _elements(storage, dtype)[self._index(storage, wanted, dtype, place)]
        return out

    def store(self, pointer: Any, value: Any, mask: Any, element: str, place: str) -> None:
        """Elements to addresses, where the mask holds."""
        dtype = dtype_of(element)
        pointer = np.asarray(pointer)
        value = np.broadcast_to(np.asarray(value), pointer.shape)
        if mask is not None:
            mask = np.broadcast_to(mask, pointer.shape)
            pointer, value = pointer[mask], value[mask]
        if not pointer.size:
            return
        low, high = int(pointer.min()), int(pointer.max()) + dtype.itemsize
        storage = self._reached(low, high, "store", place, True)
        index = self._index(storage, pointer, dtype, place)
        _elements(storage, dtype)[index] = value
        self._note(storage, index * dtype.itemsize, place)
        storage.written.add(self._number, low, high)

    def tile(self, reader: TileReader, at: Sequence[int], place: str) -> Source:
        """The tile of a tensor that begins at `at`, for a copy to shared memory."""
        return Source(lambda: self._reach_all(reader, "copy", place), lambda shape: reader.read(at, shape, place))

    def rows(self, reader: TileReader, numbers: Any, column: int, place: str) -> Source:
        """Rows of a tensor by their numbers, for a copy to shared memory."""
        numbers = np.array(numbers)
        return Source(
            lambda: self._reach_all(reader, "copy", place), lambda shape: reader.rows(numbers, column, shape, place)
        )

    def target(self, reader: TileReader, at: Sequence[int], element: str, place: str) -> Target:
        """The tile of a tensor that begins at `at`, for a copy out of shared memory; outside nothing is written."""

        def start(shape: tuple[int, ...]) -> None:
            reader.check_size(shape, place)
            self._reach_all(reader, "copy", place, True)

        def write(values: npt.NDArray[Any]) -> None:
            where, is_there = reader.addresses(at)
            self.store(where, values.reshape(where.shape), is_there, element, place)

        return Target(start, write)

    def _reach_all(self, reader: TileReader, what: str, place: str, is_written: bool = False) -> None:
        self._reached(reader.address, reader.address + reader.num_bytes, what, place, is_written)

    def _reached(self, low: int, high: int, what: str, place: str, is_written: bool = False) -> Storage:
        storage, before = self._memory.storage(low, high, what, place), self._number - 1
        if self.is_early:
            told = f"a {what} of {storage.name} at {place} does not wait for the launch"
            if storage.written.meets(before, low, high):
                raise Finding("dependency", f"{told} that writes it")
            if is_written and storage.read.meets(before, low, high):
                raise Finding("dependency", f"{told} that reads it")
            if not self._is_alone_behind:
                raise Finding("dependency", f"{told} before this one, nor for those that may run beside that")
        if not is_written:
            storage.read.add(self._number, low, high)
        return storage

    def _index(self, storage: Storage, pointer: Any, dtype: np.dtype[Any], place: str) -> Any:
        index, rest = np.divmod(pointer - storage.base, dtype.itemsize)
        if rest.any():
            raise Finding("bounds", f"an address at {place} is not a multiple of its element's size")
        return index

    def _note(self, storage: Storage, at: Any, place: str) -> None:
        """Two programs of a launch that store in one place have no order between them."""
        program = int(np.ravel_multi_index(self.program, self.grid))
        if storage.notes.note(np.ravel(at), self._number, program):
            raise Finding("two writers", f"two programs store in one place of {storage.name}, the second at {place}")


def _elements(storage: Storage, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return storage.content[: len(storage.content) // dtype.itemsize * dtype.itemsize].view(dtype)

"""Memory of the tiles of plans: on the host, where they are written, and on the device, where one copy brings them.

An engine waits for a plan, and to allocate and to slice takes its host longer than to compute it. So a builder
allocates the memory of many plans at once, and cuts it into slots. A slot serves one plan and is never used again: a
copy in flight reads what was written for it, and a plan keeps its tiles as long as it lives. Memory that no plan needs
any more goes back to torch, which knows the copies that read it and the stream that it was made for.
"""

import torch

from msa_fast.ops.launching import current_stream

SLOT_NUMBERS = 2_048
"""Numbers of a slot: the tiles of one wave of programs, and more. Larger plans have memory of their own."""
NUM_SLOTS = 16
"""Slots that are allocated at once, 128 KiB on either side."""
MAX_STREAMS = 8
"""Streams that a builder has slots for at a time."""


class TileLists:
    """The tiles of one plan, as they lie on the device: first its score tiles, then its selection tiles.

    memory: [>= 4 * num_score_tiles + 2 * num_topk_tiles] int32. The first layer of many steps needs addresses alone, so
    the lists become tensors of their own when they are asked for.
    """

    _score_tiles: torch.Tensor | None = None
    _topk_tiles: torch.Tensor | None = None

    def __init__(self, memory: torch.Tensor, num_score_tiles: int, num_topk_tiles: int) -> None:
        self.memory, self.num_score_tiles, self.num_topk_tiles = memory, num_score_tiles, num_topk_tiles

    def addresses(self) -> tuple[int, int]:
        """The addresses of the first score tile and of the first selection tile."""
        start = self.memory.data_ptr()
        return start, start + 16 * self.num_score_tiles

    @property
    def score_tiles(self) -> torch.Tensor:
        """[num_score_tiles, 4] int32."""
        if self._score_tiles is None:
            self._score_tiles = self.memory.as_strided((self.num_score_tiles, 4), (4, 1))
        return self._score_tiles

    @property
    def topk_tiles(self) -> torch.Tensor:
        """[num_topk_tiles, 2] int32."""
        if self._topk_tiles is None:
            offset = self.memory.storage_offset() + 4 * self.num_score_tiles
            self._topk_tiles = self.memory.as_strided((self.num_topk_tiles, 2), (2, 1), offset)
        return self._topk_tiles


Slot = tuple[torch.Tensor, memoryview, torch.Tensor]
"""Memory of one plan, int32: on the host, the same as a view (filled sooner than an array), and on the device."""


def new_slot(num_numbers: int, device: torch.device) -> Slot:
    """Memory of one plan alone."""
    host, on_device = _host_and_device((num_numbers,), device)
    return host, host.numpy().data, on_device


class PlanMemory:
    """The slots of one builder, which takes one for each of its plans. device: with its index."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_gpu, self._index = device.type == "cuda", device.index
        self._slots: dict[int, list[Slot]] = {}

    def take(self, num_numbers: int) -> Slot:
        """Memory of one plan, for use on the current stream."""
        stream = self._stream() if num_numbers <= SLOT_NUMBERS else None
        if stream is None:
            return new_slot(num_numbers, self.device)
        slots = self._slots.get(stream)
        if not slots:
            if len(self._slots) >= MAX_STREAMS:
                self._slots.clear()
            slots = self._slots[stream] = self._new_slots()
        return slots.pop()

    def _stream(self) -> int | None:
        """The current stream: torch gives the memory of one to tensors of another only when it is free.

        None where a graph is captured, whose replays would write what others own by then; and where torch does not say
        so, since another device is the current one.
        """
        if not self._is_gpu:
            return 0
        if torch.cuda.current_device() != self._index or torch.cuda.is_current_stream_capturing():
            return None
        return current_stream(self.device)

    def _new_slots(self) -> list[Slot]:
        with torch.inference_mode(False):  # a tensor made in that mode could not be filled outside of it
            host, on_device = _host_and_device((NUM_SLOTS, SLOT_NUMBERS), self.device)
            views = [row.data for row in host.numpy()]
            return [*zip(host.unbind(), views, on_device.unbind(), strict=True)]


def _host_and_device(shape: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory for int32 values on the host, from which one copy without a wait brings them, and on the device."""
    is_pinned = device.type == "cuda" and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    host = torch.empty(shape, dtype=torch.int32, device="cpu", pin_memory=is_pinned)
    return host, torch.empty(shape, dtype=torch.int32, device=device)

"""Margins around memory that a target allocates itself, on a CPU: a write past its ends is found.

Such a tensor lies in the middle of a buffer. It looks as it did: address aligned, storage of its own size, no view. A
call that may resize it makes it an ordinary one before.
"""

from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch

MARGIN_BYTES = 512
"""Bytes of margin on each side: a multiple of the alignment that torch gives, and that a workspace has."""
MARK = 0xA5
"""Byte that margins hold."""
MAX_BYTES, MAX_BUFFERS = 2**26, 2**10
"""Bytes and tensors of a run that get margins. All are kept until its end, so there are bounds."""


class Margins:
    """The margins of one run."""

    def __init__(self) -> None:
        self._num_bytes = 0
        self._buffers = list[tuple[np.ndarray, int, int]]()
        self._by_address: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()

    def put_around(self, made: torch.Tensor) -> None:
        """Move a tensor that was just made between margins, unless that would show, or there are too many."""
        num_bytes = made.untyped_storage().nbytes()
        is_room = self._num_bytes + num_bytes <= MAX_BYTES and len(self._buffers) < MAX_BUFFERS
        is_plain = made.device.type == "cpu" and not (made.requires_grad or made.is_inference() or made._is_view())
        if not (num_bytes and is_room and is_plain):
            return
        buffer = np.full(num_bytes + 3 * MARGIN_BYTES, MARK, dtype=np.uint8)
        first = MARGIN_BYTES + -buffer.ctypes.data % MARGIN_BYTES
        count = num_bytes // made.itemsize
        inside = torch.frombuffer(buffer, dtype=made.dtype, count=count, offset=first)
        inside.copy_(made.as_strided((count,), (1,), 0))
        made.set_(inside.untyped_storage(), made.storage_offset(), made.shape, made.stride())
        self._num_bytes += num_bytes
        self._buffers.append((buffer, first, num_bytes))
        self._by_address[made.untyped_storage().data_ptr()] = made

    def release(self, arguments: Any) -> None:
        """Make ordinary tensors of those between margins, before a call that may resize them or views of them."""
        for one in arguments if isinstance(arguments, tuple | list) else (arguments,):
            if not isinstance(one, torch.Tensor) or one.layout != torch.strided:
                continue
            owner = self._by_address.pop(one.untyped_storage().data_ptr(), None)
            if owner is not None:
                memory: torch.UntypedStorage = one.untyped_storage().clone()  # type: ignore[no-untyped-call]
                for tensor in (owner, one):
                    tensor.set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())

    def written(self) -> Iterator[int]:
        """The sizes in bytes of those tensors whose margins somebody wrote to."""
        for buffer, first, num_bytes in self._buffers:
            end = first + num_bytes
            if (buffer[first - MARGIN_BYTES : first] != MARK).any() or (buffer[end : end + MARGIN_BYTES] != MARK).any():
                yield num_bytes

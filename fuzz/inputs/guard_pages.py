"""CPU buffers in memory pages of their own, with forbidden pages in front and behind: a far access crashes.

No answer shows a read whose value changes nothing, but a crash of the process is a finding. A GPU needs
a tool of its own for this (compute-sanitizer).
"""

import ctypes
import mmap
import os
from dataclasses import dataclass
from functools import cache

import torch

FENCE = 2**22
"""Bytes of forbidden memory on each side of a buffer: many, because a wrong stride may lead far away."""
FORBIDDEN, READABLE, WRITABLE = 0, 1, 3
"""The access that a page allows, as `mprotect` has it."""


@dataclass(frozen=True, eq=False)
class OwnPages:
    """Pages that hold one buffer and nothing else. base: the buffer, 1-D.

    start, num_bytes: address and size of the pages. memory: keeps them mapped, also where torch has moved the buffer.
    """

    base: torch.Tensor
    start: int
    num_bytes: int
    memory: mmap.mmap

    def allow(self, what: int) -> None:
        """Set what may be done to the pages: `READABLE` or `WRITABLE`."""
        _protect(self.start, self.num_bytes, what)


def own_pages(
    length: int, fill: float, dtype: torch.dtype, begins_at_fence: bool = False, is_at: tuple[int, int] = (0, 0)
) -> OwnPages:
    """A buffer of some elements that ends where forbidden memory begins, or begins where it ends.

    is_at: (align, offset) of the byte of a buffer that begins there: its address is a multiple of align, and of no
        larger power of two; align 0 leaves it.

    Raises:
        OSError: if the system does not give such memory.
    """
    size = length * dtype.itemsize
    num_bytes = -(-max(1, size) // mmap.PAGESIZE) * mmap.PAGESIZE
    align, at = is_at
    room = max(2 * align, mmap.PAGESIZE)
    memory = mmap.mmap(-1, FENCE + room + num_bytes + FENCE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    start = address + FENCE + (-(address + FENCE + at + align) % room if align >= mmap.PAGESIZE else 0)
    _protect(start - FENCE, FENCE, FORBIDDEN)
    _protect(start + num_bytes, FENCE, FORBIDDEN)
    offset = start - address + (0 if begins_at_fence else num_bytes - size)
    base = torch.frombuffer(memory, dtype=dtype, count=length, offset=offset).fill_(fill)
    return OwnPages(base, start, num_bytes, memory)


def _protect(address: int, num_bytes: int, what: int) -> None:
    if _libc().mprotect(ctypes.c_void_p(address), ctypes.c_size_t(num_bytes), what):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

"""Memory that ends where it is said to end: who reads on is stopped, whether he uses what he read or not.

A read whose value changes nothing shows in no answer; where memory ends at a page that nobody may
touch, it ends the process, and that is a finding. On a GPU this needs a tool of its own.
"""

import ctypes
import mmap
import os

import torch

FENCE = 2**22
"""Bytes that nobody may touch behind a tensor: strides may carry a reader far."""


def fenced(length: int, fill: float, dtype: torch.dtype) -> torch.Tensor:
    """A 1-D CPU tensor with forbidden memory right behind its last element.

    Raises:
        OSError: if the system does not give such memory.
    """
    size = length * dtype.itemsize
    room = -(-max(1, size) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + FENCE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + room), ctypes.c_size_t(FENCE), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if not length:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=length, offset=room - size).fill_(fill)

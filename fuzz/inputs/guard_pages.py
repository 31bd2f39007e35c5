"""Tensors followed by a guard page: any read past the end crashes, even if its value is ignored.

No answer shows a read whose value changes nothing, but a crash of the process is a finding. A GPU needs
a tool of its own for this (compute-sanitizer).
"""

import ctypes
import mmap
import os

import torch

FENCE = 2**22
"""Bytes of forbidden memory behind a tensor: many, because a wrong stride may lead far away."""


def fenced(length: int, fill: float, dtype: torch.dtype) -> torch.Tensor:
    """A 1-D CPU tensor with forbidden memory right behind its last element.

    Raises:
        OSError: if the system does not give such memory.
    """
    size = length * dtype.itemsize
    num_bytes = -(-max(1, size) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, num_bytes + FENCE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + num_bytes), ctypes.c_size_t(FENCE), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if not length:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=length, offset=num_bytes - size).fill_(fill)

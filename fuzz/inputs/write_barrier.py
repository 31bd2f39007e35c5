"""A write barrier on a CPU: a write to an input is noticed, even if what was there is put back.

The pages of such buffers are protected while a target runs. The first write to one faults; the handler of that fault
notes the buffer, lifts its protection, and lets the write happen. Faults elsewhere crash as they would have done.
Linux alone; elsewhere, and on a GPU, inputs are compared with what they were.
"""

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from fuzz.inputs.guard_pages import READABLE, WRITABLE, OwnPages

SA_SIGINFO, SA_NODEFER = 4, 0x40000000
"""Flags of `sigaction`: the handler is told the address; a fault inside of it is not held back."""
ADDRESS_IN_SIGINFO = 16
"""Bytes before the address in Linux's `siginfo_t`."""

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _SigAction(ctypes.Structure):
    """Linux's `struct sigaction`, as its C libraries have it."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_watched: dict[str, OwnPages] = {}
_written = list[str]()
_others = _SigAction()
"""The action that was there before ours, for faults that are not ours."""


@contextmanager
def write_barrier(buffers: Mapping[str, OwnPages]) -> Iterator[Callable[[], list[str]]]:
    """Nobody writes to some buffers unnoticed; gives a function that names those that somebody wrote to."""
    if not sys.platform.startswith("linux") or not buffers:
        yield list[str]
        return
    _watched.clear()
    _written.clear()
    _watched.update(buffers)
    _listen()
    for pages in buffers.values():
        pages.allow(READABLE)
    try:
        yield lambda: [name for name in buffers if name in _written]
    finally:
        _watched.clear()
        for pages in buffers.values():
            pages.allow(WRITABLE)


def _on_fault(number: int, info: int, context: int) -> None:
    address = ctypes.c_uint64.from_address(info + ADDRESS_IN_SIGINFO).value
    for name, pages in _watched.items():
        if pages.start <= address < pages.start + pages.num_bytes:
            _written.append(name)
            pages.allow(WRITABLE)
            return
    _sigaction()(number, ctypes.byref(_others), None)  # the access comes again, and meets the action that was there


_ON_FAULT = _Handler(_on_fault)


def _listen() -> None:
    """Become the handler of faults, unless we are: a target may have become it meanwhile."""
    ours, now = _SigAction(), _SigAction()
    _sigaction()(signal.SIGSEGV, None, ctypes.byref(now))
    address = ctypes.cast(_ON_FAULT, ctypes.c_void_p).value
    if now.handler == address:
        return
    ctypes.memmove(ctypes.byref(_others), ctypes.byref(now), ctypes.sizeof(now))
    ours.handler, ours.flags = address, SA_SIGINFO | SA_NODEFER
    _sigaction()(signal.SIGSEGV, ctypes.byref(ours), None)


@cache
def _sigaction() -> Any:
    return ctypes.CDLL(None).sigaction

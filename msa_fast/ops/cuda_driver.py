"""The CUDA driver's own functions, and the context that a thread needs before it calls them.

torch gives a thread the context of its GPU with the first call that needs one, which may come after a kernel's launch
here. Triton makes tensor maps for its launches without one, and fails: so a launch's thread is given it first.
"""

import ctypes
import threading
from collections.abc import Callable
from functools import cache

import torch

INVALID_CONTEXT = 201
"""Answer of functions in a thread that has no context."""


class _Here(threading.local):
    """has_context: True if this thread was given a context, or had one."""

    has_context: bool = False


_here = _Here()


@cache
def driver() -> ctypes.CDLL:
    """The driver's library."""
    return ctypes.CDLL("libcuda.so.1")


@cache
def version() -> int:
    """The driver's version, 1000 for each whole one."""
    number = ctypes.c_int()
    check(driver().cuDriverGetVersion(ctypes.byref(number)), "cuDriverGetVersion")
    return number.value


def check(code: int, what: str) -> None:
    """Raise RuntimeError for a function's answer that is no success."""
    if code:
        text = ctypes.c_char_p()
        driver().cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{what} failed: {(text.value or b'unknown error').decode()}")


def use_context(device_index: int) -> None:
    """Give this thread the context of a GPU that torch uses, if it has none. Nothing where torch uses none."""
    if _here.has_context or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return
    context, device = ctypes.c_void_p(), ctypes.c_int()
    check(driver().cuCtxGetCurrent(ctypes.byref(context)), "cuCtxGetCurrent")
    if not context.value:
        check(driver().cuDeviceGet(ctypes.byref(device), device_index), "cuDeviceGet")
        # Never released: torch keeps it as long as the process lives.
        check(driver().cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
        check(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent")
    _here.has_context = True


def again_in_context(context: ctypes.c_void_p, code: int, what: str, call: Callable[..., int], *said: object) -> None:
    """Call the driver again, after a call that failed with a code because its thread had not used the GPU yet."""
    if code == INVALID_CONTEXT:
        check(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent")
        code = call(*said)
    check(code, what)

"""The one way to launch a kernel: on the device of its tensors, and with a record of what was launched."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from msa_fast.ops import cuda_driver


@dataclass(frozen=True, eq=False, slots=True)
class Launched:
    """One launch: kernel, grid, arguments, options, and what Triton compiled (None on the interpreter)."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    compiled: Any


Launcher = Callable[[Any, tuple[int, ...], tuple[Any, ...], Mapping[str, Any]], Launched]
"""A function of a kernel, its grid, arguments and options that launches it on the current device."""


class _Here(threading.local):
    """The launcher of this thread in place of Triton's dispatch, if any."""

    launcher: Launcher | None = None


_here = _Here()


def launching_by(launcher: Launcher, run: Callable[[], object]) -> None:
    """Run a function whose launches, on the current device, another launcher makes."""
    before, _here.launcher = _here.launcher, launcher
    try:
        run()
    finally:
        _here.launcher = before


def current_stream(device: torch.device) -> int:
    """The handle of the current stream of a GPU."""
    # The function that torch's own generated code calls; the public one makes an object at every call.
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return int(raw(device.index) if raw is not None else torch.cuda.current_stream(device).cuda_stream)


def launched(device: torch.device, kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> Launched:
    """Launch a kernel by Triton's own dispatch, on a device that need not be the current one; or by `launching_by`."""
    if _here.launcher is not None:
        return _here.launcher(kernel, grid, args, options)
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return launched_by_triton(device, kernel, grid, args, options)
    return launched_by_triton(device, kernel, grid, args, options)


def launched_by_triton(
    device: torch.device, kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], options: Mapping[str, Any]
) -> Launched:
    """Launch a kernel by Triton's own dispatch, on the current device."""
    if device.type == "cuda" and torch.version.hip is None:
        cuda_driver.use_context(device.index)
    return Launched(kernel, grid, args, options, kernel[grid](*args, **options))

"""The one way to launch a kernel: on the device of its tensors, and with a record of what was launched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False, slots=True)
class Launched:
    """One launch: kernel, grid, arguments, options, and what Triton compiled (None on the interpreter)."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    compiled: Any


def current_stream(device: torch.device) -> int:
    """The handle of the current stream of a GPU."""
    # The function that torch's own generated code calls; the public one makes an object at every call.
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return int(raw(device.index) if raw is not None else torch.cuda.current_stream(device).cuda_stream)


def launched(device: torch.device, kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> Launched:
    """Launch a kernel by Triton's own dispatch, on a device that need not be the current one."""
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return Launched(kernel, grid, args, options, kernel[grid](*args, **options))
    return Launched(kernel, grid, args, options, kernel[grid](*args, **options))

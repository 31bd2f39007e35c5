"""CUDA errors: they surface wherever the process asks its GPU next, which may be in the harness's own code."""

import re
from collections.abc import Callable

import torch

from msa_ref.contract import Violation

_TOLD = re.compile(r"CUDA (driver )?error|Triton Error \[CUDA\]|\bcudaError[A-Z]|\bCUDA_ERROR_(?!OUT_OF_MEMORY)")
"""A fault of the GPU in the words of torch, of Triton, and of the driver's and the runtime's own names."""


def is_cuda_error(error: BaseException) -> bool:
    """True if an exception tells a fault of the GPU, whichever library asked."""
    return _TOLD.search(said(error)) is not None


def said(error: BaseException) -> str:
    """The words of an exception; none if it has no words."""
    try:
        return str(error)
    except Exception:  # of a target's own class
        return ""


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that this process gave it, so that an error surfaces here; no-op on a CPU."""
    is_initialized: Callable[[], bool] = torch.cuda.is_initialized
    if device.type == "cuda" and is_initialized():
        torch.cuda.synchronize(device)


def surfaced_later(error: BaseException) -> Violation:
    """The violation of a target whose launches ended in a CUDA error that the harness's own code met."""
    words = next(iter(said(error).splitlines()), "")
    return Violation("Runs", f"{type(error).__name__}: {words}; it surfaced outside of its calls", how="cuda error")

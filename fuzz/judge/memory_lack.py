"""A lack of memory, and whose it is: the harness's own, that of others on the GPU, or the target's.

A target is accused of it where it had a GPU nearly for itself, or where the host's memory did not do.
"""

import re
import traceback

import torch

from fuzz.judge import surroundings

GIB = 2**30
OTHERS_EACH = 8
"""A lack is the target's own where less than one part of so many of the GPU's memory is another process's."""

HARNESS_LACKS = "the case does not fit the memory that is free"
"""The reason of a case that the harness itself has no room for."""


def lacks_memory(error: BaseException) -> bool:
    """True if an exception says that the host's or the device's memory is used up.

    CUDA says so in an error of its own where no allocator of torch's asked: torch's AcceleratorError, Triton's, or the
    name of the driver's function.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = r"CUDA.*: out of memory|CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|cuMemAlloc\w* failed"
    return isinstance(error, RuntimeError) and re.search(told, str(error)) is not None


def excuse(error: BaseException, device: torch.device) -> str | None:
    """The reason why a lack of memory accuses no target; None if it does, or if the exception says something else."""
    if not lacks_memory(error):
        return None
    if not _is_of_target(error):
        return HARNESS_LACKS
    return None if device.type == "cpu" else _held_by_others(device)


def _is_of_target(error: BaseException) -> bool:
    """True if an exception was raised inside a target, which runs in surroundings of its own alone."""
    return any(frame.filename == surroundings.__file__ for frame in traceback.extract_tb(error.__traceback__))


def _held_by_others(device: torch.device) -> str | None:
    """A sentence on the memory that other processes hold of a GPU, if it is much."""
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # not even the driver's own work has room
        return "it lacked memory on a GPU that other processes fill"
    others = total - free - torch.cuda.memory_reserved(device)
    if others * OTHERS_EACH < total:
        return None
    return f"it lacked memory on a GPU of which other processes hold {others / GIB:.0f} of {total / GIB:.0f} GiB"

"""Planted defects that end, hold or outgrow their process; isolation must catch them.

Each is right on requests of up to two blocks, so that a run has to go on after it. They are no part of
the table of canaries, which tests judge in their own process.
"""

import ctypes
import importlib
import os
import time
from collections.abc import Callable

import torch

from fuzz.canaries.defect import Defect
from fuzz.targets import Call, Target, fill
from msa_ref import index_topk
from msa_ref.profile import CONTRACT

SECONDS_OF_SPINNING = 60
"""Seconds until a hanging kernel ends by itself: more than a watchdog waits in a test, and no GPU is held for good."""

PROCESS_CANARIES: dict[str, Defect] = {}
"""Name -> process canary."""

Fails = Callable[[Call], None]


def process_canary(how: str) -> Callable[[Fails], Fails]:
    """Enter a function that fails into the table; its docstring is the sentence. how: see `Defect`."""

    def enter(fails: Fails) -> Fails:
        def run(call: Call) -> torch.Tensor:
            if max(call.seq_lens) > 2 * call.batch.config.block_size:
                fails(call)
            return fill(call, index_topk(call.batch))

        name, sentence = fails.__name__, (fails.__doc__ or "").strip()
        target = Target(name, sentence, "foreign", run, profile=CONTRACT)
        PROCESS_CANARIES[name] = Defect(name, "process", "process", sentence, ("Runs",), target, how=how)
        return fails

    return enter


@process_canary("crash")
def aborts(call: Call) -> None:
    """Aborts its process."""
    os.abort()


@process_canary("crash")
def segfaults(call: Call) -> None:
    """Reads address 0."""
    ctypes.string_at(0)


@process_canary("crash")
def exits(call: Call) -> None:
    """Ends its process with status 7."""
    os._exit(7)


@process_canary("hang")
def hangs(call: Call) -> None:
    """Sleeps for hours."""
    time.sleep(10_000)


@process_canary("memory")
def runs_out_of_memory(call: Call) -> None:
    """Runs out of the host's memory."""
    raise MemoryError("no more")


@process_canary("memory")
def outgrows_the_gpu(call: Call) -> None:
    """Asks for more memory than a GPU has."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")


@process_canary("cuda error")
def illegal_address(call: Call) -> None:
    """Writes to an illegal address on a GPU; on a CPU, raises what torch raises after one."""
    if call.batch.device.type == "cpu":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    kernel = importlib.import_module("fuzz.canaries.wild").store_far_away  # needs Triton, which this room does not
    kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device), 2**45)
    torch.cuda.synchronize()


@process_canary("cuda error")
def illegal_address_told_at_the_next_launch(call: Call) -> None:
    """Raises what Triton raises when its launch is the first to learn of an earlier kernel's illegal access."""
    raise RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")


@process_canary("hang")
def spins(call: Call) -> None:
    """Spins for a minute in a kernel on a GPU; on a CPU, sleeps as long."""
    if call.batch.device.type == "cpu":
        time.sleep(SECONDS_OF_SPINNING)
        return
    kernel = importlib.import_module("fuzz.canaries.wild").spin
    kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device), SECONDS_OF_SPINNING * 10**9)
    torch.cuda.synchronize()

"""Planted defects that end, hold or outgrow their process: what isolation is there for.

Each is right on all but some cases, so that a run has to go on after it. They are no part of the
table that tests judge in their own process.
"""

import ctypes
import importlib
import os
import time
from collections.abc import Callable

import torch

from fuzz.targets import Call, Target, fill
from msa_ref import index_topk

SECONDS_OF_SPINNING = 60
"""More than a watchdog waits in a test. Then the kernel ends by itself: a GPU is never held for good."""


def _aborts(call: Call) -> None:
    os.abort()


def _segfaults(call: Call) -> None:
    ctypes.string_at(0)


def _exits(call: Call) -> None:
    os._exit(7)


def _hangs(call: Call) -> None:
    time.sleep(10_000)


def _runs_out_of_memory(call: Call) -> None:
    raise MemoryError("no more")


def _outgrows_the_gpu(call: Call) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")


def _illegal_address(call: Call) -> None:
    """A real one on a GPU; elsewhere what torch raises after one."""
    if call.batch.device.type == "cpu":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    kernel = importlib.import_module("fuzz.canaries.wild").store_far_away  # needs Triton, which this room does not
    kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device), 2**45)
    torch.cuda.synchronize()


def _illegal_address_told_at_the_next_launch(call: Call) -> None:
    """What Triton raises in torch's place where its launch is the first to learn of an earlier kernel's fault."""
    raise RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")


def _spins(call: Call) -> None:
    """A kernel that spins, on a GPU; elsewhere a sleep."""
    if call.batch.device.type == "cpu":
        time.sleep(SECONDS_OF_SPINNING)
        return
    kernel = importlib.import_module("fuzz.canaries.wild").spin
    kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device), SECONDS_OF_SPINNING * 10**9)
    torch.cuda.synchronize()


def _target(fails: Callable[[Call], None]) -> Target:
    def run(call: Call) -> torch.Tensor:
        if max(call.seq_lens) > 2 * call.batch.config.block_size:
            fails(call)
        return fill(call, index_topk(call.batch))

    name = fails.__name__[1:]
    return Target(name, f"On more than two blocks: {name.replace('_', ' ')}.", "foreign", run)


PROCESS_CANARIES: dict[str, tuple[Target, str]] = {
    fails.__name__[1:]: (_target(fails), kind)
    for fails, kind in (
        (_aborts, "crash"),
        (_segfaults, "crash"),
        (_exits, "crash"),
        (_hangs, "hang"),
        (_runs_out_of_memory, "memory"),
        (_outgrows_the_gpu, "memory"),
        (_illegal_address, "cuda error"),
        (_illegal_address_told_at_the_next_launch, "cuda error"),
        (_spins, "hang"),
    )
}
"""Name -> target, and how its run must be said to have failed. The law is `Runs`."""

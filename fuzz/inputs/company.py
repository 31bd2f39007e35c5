"""A run's company on a GPU: a late producer of the inputs on the run's own stream, or noise on other streams.

A kernel that waits for its stream and for nothing else answers in any company as it does alone.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch

from fuzz.inputs.scene import Scene

SPIN_CYCLES = 2**25
"""Clock cycles by which a producer is late: about 20 ms, many times what the host needs to launch an indexer."""
NOISE_SIZE = 3072
"""Rows of the square fp32 products that hold a GPU's multiprocessors, about 1 ms each."""
NOISE_COPIES = 10
"""Copies of an operand beside each product, which hold a GPU's memory."""
MAX_BURSTS = 200
"""Bursts of noise beside one run: a fifth of a second."""
SECONDS_BETWEEN_BURSTS = 0.0005
"""Pause of the thread that makes noise: less than a burst takes on a GPU, so that the next one waits already."""


@contextmanager
def late_producer(scene: Scene) -> Iterator[None]:
    """Runs inside are on a side stream, whose inputs are written late: behind a kernel that spins for a while.

    Until then the inputs are those of a batch without tokens, which crash nothing. A launch on another stream reads
    these. An answer must be copied inside, on the side stream: a copy elsewhere might wait for what that stream
    does not wait for. On a CPU there are no streams, and nothing happens.
    """
    device = scene.batch.device
    if device.type != "cuda":
        yield
        return
    # The allocator gives memory that was freed on the side stream to that stream again: all readers must be done.
    torch.cuda.synchronize(device)
    side = _streams(device.index)[0]
    try:
        with torch.cuda.stream(side):
            scene.withhold()
            side.synchronize()  # else a launch elsewhere could still read the right inputs
            torch.cuda._sleep(SPIN_CYCLES)  # type: ignore[no-untyped-call]
            scene.deliver()
            yield
    finally:
        torch.cuda.synchronize(device)


@contextmanager
def noise(scene: Scene) -> Iterator[None]:
    """Runs inside have other work beside them: a thread draws random numbers, and keeps streams of a GPU busy.

    The thread begins before the run, and then asks the driver for no more than launches: it may go on while a graph
    is captured.
    """
    device = scene.batch.device
    burst = _burst(device) if device.type == "cuda" else None
    is_over, has_begun = threading.Event(), threading.Event()

    def make() -> None:
        try:
            for _ in range(MAX_BURSTS):
                torch.rand((), device="cpu")  # from the generator that all of the process share
                if burst is not None:
                    burst()
                has_begun.set()
                if is_over.wait(SECONDS_BETWEEN_BURSTS):
                    break
        finally:
            has_begun.set()

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    has_begun.wait()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        if device.type == "cuda":
            torch.cuda.synchronize(device)


@dataclass(frozen=True, eq=False)
class _GpuNoise:
    """Work for one GPU, in memory that is never given back: no later owner can meet it."""

    streams: tuple[torch.cuda.Stream, ...]
    operand: torch.Tensor
    product: torch.Tensor
    copied: torch.Tensor

    def burst(self) -> None:
        """Launch a product and a few copies, on streams of high priority: a run gets what they leave."""
        computing, copying = self.streams
        with torch.cuda.stream(computing):
            torch.mm(self.operand, self.operand, out=self.product)
        with torch.cuda.stream(copying):
            for _ in range(NOISE_COPIES):
                self.copied.copy_(self.operand)


def _burst(device: torch.device) -> Callable[[], None] | None:
    """The noise of one GPU; None if its memory is too full."""
    try:
        return _gpu_noise(device.index).burst
    except torch.OutOfMemoryError:
        return None


@cache
def _gpu_noise(index: int) -> _GpuNoise:
    device = torch.device("cuda", index)
    operand = torch.zeros(NOISE_SIZE, NOISE_SIZE, device=device)
    made = _GpuNoise(_streams(index)[1:], operand, torch.empty_like(operand), torch.empty_like(operand))
    torch.cuda.synchronize(device)  # before other streams use this memory
    return made


@cache
def _streams(index: int) -> tuple[torch.cuda.Stream, ...]:
    """A side stream for runs, and two of high priority for noise; none of them waits for the default stream."""
    with torch.cuda.device(index):
        priorities = (0, -1, -1)
        return tuple(torch.cuda.Stream(index, priority=number) for number in priorities)  # type: ignore[no-untyped-call]


COMPANY: dict[str, Callable[[Scene], AbstractContextManager[None]]] = {
    "": lambda scene: nullcontext(),
    "late producer": late_producer,
    "noise": noise,
}
"""`Case.beside` -> what goes on beside a run."""

"""Canaries that are right alone: they trust streams, a second's rest, or a mode of torch that nobody promised them."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary
from fuzz.targets import Call
from msa_ref.profile import CONTRACT

FOR_ANY_THREAD = replace(CONTRACT, name="a kernel for any thread", threads="any")

SECONDS_TRUSTED = 0.005
"""Time in which other work is trusted to be done, or to do nothing: many times what is needed alone."""
MAX_TURNS = 100
"""Turns that other threads of a busy machine get before a slot is read."""
LINKS = 200
"""Kernels of a chain, each of which may have to wait for a multiprocessor: 1 ms alone."""


@canary("D45", "OwnStream", needs=("gpu",))
class OnTheDefaultStream(NaiveIndexer):
    """Reads its inputs on the default stream, which waits for no producer on another."""

    def __init__(self, call: Call) -> None:
        with torch.cuda.stream(torch.cuda.default_stream(call.batch.device)):
            super().__init__(call)


@canary("D45", "OwnStream", needs=("gpu",))
class WritesOnTheDefaultStream(NaiveIndexer):
    """Reads its inputs where it should, and writes its answer on the default stream, for which no caller waits."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        ready = topk_idx.to(out.device)
        torch.cuda.current_stream(out.device).synchronize()
        with torch.cuda.stream(torch.cuda.default_stream(out.device)):
            torch.cuda._sleep(2**23)  # type: ignore[no-untyped-call]  # work that is in that stream already
            super().write_out(out, ready)


@canary("D46", "Undisturbed", needs=("gpu",))
class SecondStreamNotAwaited(NaiveIndexer):
    """Stages its answer on a second stream, and reads it after a while instead of waiting for that stream."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        staged = topk_idx.to(out.device) - LINKS
        torch.cuda.current_stream(out.device).synchronize()
        new_stream: Callable[[torch.device], torch.cuda.Stream] = torch.cuda.Stream
        with torch.cuda.stream(new_stream(out.device)):
            for _ in range(LINKS):
                staged += 1
        time.sleep(SECONDS_TRUSTED)
        # The host reads it: a copy engine waits for no multiprocessor, as another kernel might.
        super().write_out(out, staged.cpu())


@canary("D46", "Undisturbed")
class SharedSlot(NaiveIndexer):
    """Keeps a number in the process's random generator for a while: other work refills that slot before it is read."""

    def answer(self) -> torch.Tensor:
        before = torch.get_rng_state()
        torch.manual_seed(46)
        kept = torch.get_rng_state()
        for _ in range(MAX_TURNS):
            time.sleep(0.001)
            if threading.active_count() == 1:  # no other work will come
                break
        self.is_refilled = not torch.equal(torch.get_rng_state(), kept)
        torch.set_rng_state(before)
        return super().answer()

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        score, block = candidate
        return (score, block) if self.is_refilled else (-score, block)


SCRATCH = dict[str, np.ndarray]()


@canary("systematic", "TwoThreads", profile=FOR_ANY_THREAD, asks=("several threads",))
class OneScratchForAllThreads(NaiveIndexer):
    """Stages its queries in one scratch buffer, which a call of another thread overwrites meanwhile."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        SCRATCH["q"] = self.q

    def query(self, row: Row) -> np.ndarray:
        time.sleep(0)  # a kernel's launch, in which other threads go on
        vector: np.ndarray = SCRATCH["q"][row.token, row.head]
        return vector


@canary("systematic", "TwoThreads", asks=("another thread",))
class AnswersForItsFirstThread(NaiveIndexer):
    """Keeps its answer for the thread that imported it: any other is given the last one of that shape."""

    last: ClassVar[dict[tuple[int, ...], dict[tuple[int, int], list[int]]]] = {}

    def write(self, rows: dict[tuple[int, int], list[int]]) -> torch.Tensor:
        shape = (*self.batch.index_q.shape, self.config.topk_blocks, *self.call.seq_lens)
        if threading.current_thread() is threading.main_thread():
            self.last[shape] = rows
        return super().write(self.last.get(shape, rows))


@canary("D53", "Runs")
class WorkspaceOfOneMode(NaiveIndexer):
    """Makes its workspace in the mode of its first call, and updates it in any mode: inference mode forbids that."""

    def answer(self) -> torch.Tensor:
        workspace = self.memory.setdefault("workspace", torch.zeros(1))
        workspace += 1
        return super().answer()

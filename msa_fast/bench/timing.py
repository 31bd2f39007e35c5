"""Times calls as graph replays, interleaved with the ceilings that they are compared with."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

LEAD_BYTES = 2**30
"""Bytes read before every timed replay: more than caches hold, and slower than the launch of the replay."""


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: median over the rounds, and the quartiles around it."""

    median: float
    low: float
    high: float


class Graph:
    """A CUDA graph of several calls, replayed and timed as one; times are per call."""

    def __init__(self, calls: list[Callable[[], object]]) -> None:
        self.calls = calls  # kept, since a graph does not own the tensors that its calls read
        for call in calls[:1]:
            call()  # compile and warm up outside the capture
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for call in calls:
                call()

    def time(self, steady: float = 0.0) -> float:
        """Microseconds per call of one replay, on the GPU alone.

        A large buffer is read first. Data that the work before left in the caches is written back then, the
        host has launched the replay by then, and the inputs are no longer in the caches. steady: as `interleave` says.
        """
        end_of_steady = time.perf_counter() + steady
        while time.perf_counter() < end_of_steady:
            self.graph.replay()
            torch.cuda.synchronize()
        _lead().sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds * 1e3 / len(self.calls)


@cache
def _lead() -> torch.Tensor:
    return torch.zeros(LEAD_BYTES // 4, dtype=torch.float32, device="cuda")


def interleave(graphs: list[Graph], rounds: int, steady: float = 0.0) -> list[Timing]:
    """Replay all graphs in turn, `rounds` times after one warm-up. Returns the times of each.

    Each round has an order of its own: beside a matrix product the clock falls, for whatever follows it. steady:
    seconds for which a graph is replayed before it is timed, so that it runs at the clock that its own power allows.
    """
    times: list[list[float]] = [[] for _ in graphs]
    order, rng = list(range(len(graphs))), random.Random(0)
    for i in range(rounds + 1):
        rng.shuffle(order)
        for number in order:
            value = graphs[number].time(steady if i else 0.0)
            if i:
                times[number].append(value)
    return [summary(series) for series in times]


def summary(series: list[float]) -> Timing:
    """The median and the quartiles of a series."""
    low, median, high = statistics.quantiles(series, n=4) if len(series) > 1 else series * 3
    return Timing(median, low, high)

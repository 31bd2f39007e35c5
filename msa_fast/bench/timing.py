"""Times calls as graph replays, interleaved with the ceilings that they are compared with."""

import statistics
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

    def time(self) -> float:
        """Microseconds per call of one replay, on the GPU alone.

        A large buffer is read first. Data that the work before left in the caches is written back then, the
        host has launched the replay by then, and the inputs are no longer in the caches.
        """
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


def interleave(graphs: list[Graph], rounds: int) -> list[Timing]:
    """Replay all graphs in turn, `rounds` times after one warm-up. Returns the times of each."""
    times: list[list[float]] = [[] for _ in graphs]
    for i in range(rounds + 1):
        for graph, series in zip(graphs, times, strict=True):
            value = graph.time()
            if i:
                series.append(value)
    return [summary(series) for series in times]


def summary(series: list[float]) -> Timing:
    """The median and the quartiles of a series."""
    low, median, high = statistics.quantiles(series, n=4) if len(series) > 1 else series * 3
    return Timing(median, low, high)

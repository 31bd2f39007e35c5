"""Time calls as graph replays, interleaved with whatever they are compared to."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

LEAD_BYTES = 2**30
"""Read before every timed replay: more than caches hold, and for longer than the host takes to launch the replay."""


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: median over the rounds, and the quartiles around it."""

    median: float
    low: float
    high: float


class Graph:
    """A CUDA graph of several calls, replayed and timed as one; times are per call."""

    def __init__(self, calls: list[Callable[[], object]]) -> None:
        self.calls = calls  # a graph does not own the tensors that its calls read
        for call in calls[:1]:
            call()  # compile and warm up outside the capture
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for call in calls:
                call()

    def time(self) -> float:
        """Microseconds per call of one replay, on the GPU alone.

        Something is read first: what the work before has left in the caches to be written back is not
        charged to this replay, nor is the wait for the host, nor does it find its inputs there.
        """
        _lead().sum()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3 / len(self.calls)


@cache
def _lead() -> torch.Tensor:
    return torch.zeros(LEAD_BYTES // 4, dtype=torch.float32, device="cuda")


def interleave(graphs: list[Graph], rounds: int) -> list[Timing]:
    """Replay all graphs in turn, `rounds` times after one warm-up, and summarise each."""
    times: list[list[float]] = [[] for _ in graphs]
    for i in range(rounds + 1):
        for graph, series in zip(graphs, times, strict=True):
            value = graph.time()
            if i:
                series.append(value)
    return [summary(series) for series in times]


def summary(series: list[float]) -> Timing:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(series, n=4) if len(series) > 1 else series * 3
    return Timing(median, low, high)

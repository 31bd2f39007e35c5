"""Time calls as graph replays, interleaved with whatever they are compared to."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch


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
        """Microseconds per call of one replay."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3 / len(self.calls)


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

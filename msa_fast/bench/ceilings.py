"""The two ceilings that times are quoted against, measured in the same run."""

import torch

from msa_fast.bench.timing import Graph

MM_SIZE = 8192
"""Rows and columns of the matrices of MM."""
COPY_BYTES = 4 * 2**30
"""Bytes that BW reads and writes, half each."""


def matmul_graph(device: str = "cuda") -> Graph:
    """MM: a bf16 8192^3 matrix product of random normal values."""
    a, b = (torch.randn(MM_SIZE, MM_SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    return Graph([lambda: torch.mm(a, b, out=out)] * 2)


def matmul_rate(microseconds: float) -> float:
    """FLOP per microsecond of one MM."""
    return 2 * MM_SIZE**3 / microseconds


def copy_graph(device: str = "cuda") -> Graph:
    """BW: a copy between two large buffers on the device.

    It negates on the way, since a plain copy would become a copy-engine node of the graph, which is slower.
    """
    source = torch.randint(-(2**31), 2**31 - 1, (COPY_BYTES // 8,), device=device, dtype=torch.int32)
    target = torch.empty_like(source)
    return Graph([lambda: torch.neg(source, out=target)])


def copy_rate(microseconds: float) -> float:
    """Bytes per microsecond of one BW, read and written."""
    return COPY_BYTES / microseconds

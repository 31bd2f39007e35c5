"""The number of child processes that a machine has room for: cores for their hosts, and on a GPU memory for each."""

import os

from fuzz.isolation.gpus import free_bytes

GIB = 2**30
BYTES_EACH = 4 * GIB
"""Bytes of GPU memory for each child: its context (a little more than half a GiB), and the greatest case that a gate
judges beside others: a pool of half a GiB of keys, its copy, their comparison, and a ranking of 14 million scores. It
may keep less than that between cases. A drawn case of a run may take more: what lacks memory is judged again, alone."""
BYTES_OF_HEAVIEST = 16 * GIB
"""Bytes more for the one child whose turn it is to judge a case with far pages, or with very many scores."""
MAX_ON_GPU = 14
"""Bound on the children that share a GPU: more of them wait for each other."""


def default_jobs(device: str) -> int:
    """Child processes of a gate or a run: one for each core; on a GPU as many as its free memory holds besides."""
    cores = os.cpu_count() or 1
    if device == "cpu":
        return cores
    free = free_bytes()
    by_memory = cores if free is None else (free - BYTES_OF_HEAVIEST) // BYTES_EACH
    by_cores = cores // 2 if free is None else cores - 2  # two are left for the command and the driver
    return max(1, min(MAX_ON_GPU, by_cores, by_memory))

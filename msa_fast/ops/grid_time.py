"""The time of a grid of score programs, by a model, and the number of blocks by which it ends first."""

import numpy as np

from msa_fast.ops.launch_table import MAX_PROGRAM_BLOCKS
from msa_fast.ops.sharing import Sharing
from msa_fast.ops.short_plan import NUM_MORE, NUM_WAVES

_WAVES, _MORE = np.arange(NUM_WAVES), np.arange(NUM_MORE)
"""Numbers of waves that are tried beside the fewest, and of blocks beside those that the waves would need."""


def best_step(num_blocks: np.ndarray, superblock: int, sharing: Sharing, processors: int) -> tuple[np.ndarray, float]:
    """Blocks of one program, of some numbers the one whose grid ends first, and when it ends.

    num_blocks: int64, those of each query tile. A step is a whole number of superblocks. processors: multiprocessors
    of the GPU.

    Programs run in waves, as many as the GPU holds at once. Those that share a processor take turns; fewer than it
    holds do not keep it busy.
    """
    times, prologue, hidden = np.array((0, *sharing.times)), sharing.prologue, sharing.hidden
    at_once = len(sharing.times) * processors
    steps = _steps(int(num_blocks.sum()) // superblock, at_once, MAX_PROGRAM_BLOCKS // superblock) * superblock
    programs = (-(-num_blocks // steps[:, None])).sum(axis=1)
    waves, rest = divmod(programs, at_once)
    wave = times[-1] * steps + prologue
    last = times[-(-rest // processors)] * steps + prologue * (rest > 0)
    ends = waves * wave + last
    first = ends.argmin()
    later_waves = waves[first] + (rest[first] > 0) - 1
    return steps[first], float(ends[first] - hidden * later_waves)


def _steps(num_blocks: int, at_once: int, most: int) -> np.ndarray:
    """Numbers of blocks, up to `most`, with which num_blocks need little more than a whole number of waves."""
    first = max(1, -(-num_blocks // (at_once * most)))
    each = -(-num_blocks // (at_once * (first + _WAVES)))
    steps: np.ndarray = np.minimum(each[:, None] + _MORE, most).ravel().clip(1)
    return steps

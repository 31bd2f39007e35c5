"""The time of a grid of score programs, by a model, and the numbers of blocks by which it ends first."""

from functools import cache

import numpy as np

from msa_fast.ops.launch_table import MAX_PROGRAM_BLOCKS
from msa_fast.ops.sharing import Sharing, Tiling
from msa_fast.ops.short_plan import NUM_MORE, NUM_WAVES

_WAVES, _MORE = np.arange(-1, NUM_WAVES), np.arange(NUM_MORE + 1)
"""Numbers of waves that are tried beside the fewest (one place is for less than a wave), and of blocks beside those
that the waves would need (the last place is for equal parts)."""


def best_step(
    num_blocks: np.ndarray, is_half: np.ndarray, superblock: int, sharing: Sharing, processors: int
) -> tuple[np.ndarray, float]:
    """Blocks of one program, of some numbers the one whose grid ends first, and when it ends.

    num_blocks: int64 [num_query_tiles], those of each query tile. is_half: if its rows count as half a tile's, so that
    its programs may have more blocks. A step is a whole number of superblocks. processors: multiprocessors of the GPU.

    Programs run in waves, as many as the GPU holds at once. Those that share a processor take turns; fewer than it
    holds do not keep it busy. Ends of tiles are shorter, begin last, and follow each other as one program's blocks.

    Returns the step, of all tiles or int64 [num_query_tiles], and the time.
    """
    times, prologues = _by_sharers(sharing)
    at_once = len(sharing.times) * processors
    num, den = sharing.half
    has_half = num != den and is_half.any()
    total = int(num_blocks.sum())
    if has_half:
        total -= (of_half := int(num_blocks[is_half].sum())) - of_half * num // den
    longest_tile, most = -(-int(num_blocks.max(initial=0)) // superblock), MAX_PROGRAM_BLOCKS // superblock
    steps = superblock * _steps(total // superblock, longest_tile, processors, at_once, most)
    each = steps[:, None]
    if has_half:
        each = np.where(is_half, each // superblock * den // num * superblock, each)
    lengths, each = num_blocks.astype(np.float32), each.astype(np.float32)  # exact, and divided sooner than integers
    full = np.floor(lengths / each)
    ends = lengths - full * each
    wave = times[-1] * steps + prologues[-1]
    longest = ends.max(axis=1, initial=0).astype(np.float64)
    if has_half:
        longest_half = (ends * is_half).max(axis=1, initial=0).astype(np.float64) * num / den
        longest = np.maximum((ends * ~is_half).max(axis=1, initial=0), longest_half)
    beside = wave // (times[-1] * longest + prologues[-1])
    programs = full.sum(axis=1) - (-np.count_nonzero(ends, axis=1) // beside)
    waves, rest = divmod(programs.astype(np.int64), at_once)
    sharers = -(-rest // processors)
    last = times[sharers] * steps + prologues[sharers]
    end = waves * wave + last
    first = end.argmin()
    later_waves = waves[first] + (rest[first] > 0) - 1
    return each[first].astype(np.int64) if has_half else steps[first], float(end[first] - sharing.hidden * later_waves)


def may_end_by(end: float, num_rows: np.ndarray, num_blocks: np.ndarray, tiling: Tiling, processors: int) -> bool:
    """False if the grid of a tiling ends later than `end`, however the blocks of its query tiles are dealt out.

    num_rows, num_blocks: int64 [num_reqs], a request's query rows, and blocks that all of them see.
    """
    times, prologues, _, (num, den) = tiling.sharing
    num_tiles = np.maximum(-(-num_rows // tiling.rows) - 1 + num / den, 0)
    work = times[-1] * float(num_tiles @ num_blocks)
    return work < (end - prologues[0]) * len(times) * processors


@cache
def _by_sharers(sharing: Sharing) -> np.ndarray:
    """Times and prologues for 0, 1, 2, ... programs that share a processor."""
    return np.array(((0, *sharing.times), (0, *sharing.prologues)))


def _steps(num_blocks: int, longest_tile: int, processors: int, at_once: int, most: int) -> np.ndarray:
    """Numbers of blocks, up to `most`, with which num_blocks need little more than a program for each processor, or
    than a whole number of waves; and the next that cut the longest tile into equal parts. The longest come first."""
    first = max(1, -(-num_blocks // (at_once * most)))
    programs = at_once * (first + _WAVES)
    programs[0] = processors
    each = -(-num_blocks // programs)
    steps = each[:, None] + _MORE
    equal = -(-longest_tile // (longest_tile // each.clip(1)).clip(1))
    equal[1:] = np.where(equal[1:] < each[:-1], equal[1:], each[1:])  # longer ones were tried for fewer programs
    steps[:, -1] = equal
    return np.bincount(steps.ravel().clip(1, most)).nonzero()[0][::-1]  # each once

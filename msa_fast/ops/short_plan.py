"""The plan of one short chunk in plain integers: what `prefill_plan` computes with arrays, where they are too short to
pay for themselves.

Most steps of an engine have one chunk of a few query tiles, whose rows see nearly the same blocks.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from msa_fast.ops.launch_table import BLOCKS_ALONE, BLOCKS_OF_PROLOGUE, MAX_PROGRAM_BLOCKS

MAX_TILES = 64
"""Query tiles of a short chunk: 2,048 tokens of 4 heads."""
MAX_RANGES = 1 << 12
"""Full ranges of a query tile."""
MAX_LENGTHS = 20
"""Different numbers of blocks that its tiles see."""
NUM_WAVES, NUM_MORE = 12, 3
"""Numbers of waves that are tried from the fewest on, and of blocks from those on that the waves would need."""


class ShortRanges(NamedTuple):
    """The score tiles of request 0 in a plan, num_ranges: `common` full ranges of all query tiles, then the others.

    each: blocks of a full range. num_tiles: query tiles. ends: the numbers of the other ranges, as they are listed.
    """

    num_ranges: int
    common: int
    each: int
    num_tiles: int
    ends: list[int]

    def write(self, values: np.ndarray, score_rows: int) -> None:
        """Write the score tiles, then the query tiles, to `values`, int32. score_rows: rows of a query tile."""
        num_full, end = 4 * self.common * self.num_tiles, 4 * self.num_ranges
        values[:num_full] = _full_ranges(-(-self.common // 16) * 16, self.each, self.num_tiles, score_rows)[:num_full]
        if self.ends:
            struct.pack_into(f"{len(self.ends)}i", values.data, 4 * num_full, *self.ends)
        values[end:] = _query_tiles(self.num_tiles, score_rows)


@lru_cache(maxsize=64)
def _full_ranges(common: int, each: int, num_tiles: int, score_rows: int) -> np.ndarray:
    """The full ranges of all query tiles, kept: chunks of other lengths have them, too."""
    full = np.zeros((common, num_tiles, 4), np.int32)
    full[..., 1] = np.arange(num_tiles) * score_rows
    full[..., 2] += np.arange(0, common * each, each, dtype=np.int32)[:, None]
    full[..., 3] = full[..., 2] + each
    return full.ravel()


@lru_cache(maxsize=MAX_TILES)
def _query_tiles(num_tiles: int, score_rows: int) -> np.ndarray:
    """The query tiles of request 0, kept: they depend on their number alone."""
    tiles = np.zeros((num_tiles, 2), np.int32)
    tiles[:, 1] = np.arange(num_tiles) * score_rows
    return tiles.ravel()


def short_ranges(
    num_blocks: list[int], rows: range, superblock: int, programs_at_once: int, processors: int
) -> ShortRanges | None:
    """The score tiles of request 0, in the order that `prefill_plan` gives them; None if it is not short.

    num_blocks: visible blocks of each query tile, never falling. rows: its first row.
    programs_at_once: score programs that share a multiprocessor.
    """
    num_tiles, lengths = len(num_blocks), dict.fromkeys(num_blocks, 0)
    if num_tiles > MAX_TILES or len(lengths) > MAX_LENGTHS or num_blocks[0] == 0:
        return None
    for blocks in num_blocks:
        lengths[blocks] += 1
    each = _step([*lengths.items()], superblock, programs_at_once, processors)
    # All tiles have these full ranges. The others are few: full ones of later tiles, then the ends.
    common = num_blocks[0] // each
    if common > MAX_RANGES:
        return None
    ends = []
    for last, row in zip(num_blocks, rows, strict=True):
        for block in range(common * each, last, each):
            end = block + each if block + each < last else last
            ends.append((block - end, block, row, end))
    ends.sort()
    numbers = [number for _, block, row, end in ends for number in (0, row, block, end)]
    return ShortRanges(common * num_tiles + len(ends), common, each, num_tiles, numbers)


def _step(groups: list[tuple[int, int]], superblock: int, programs_at_once: int, processors: int) -> int:
    """Blocks of one program, by the model of `prefill_plan`: the first of the steps whose grid ends first.

    groups: numbers of visible blocks, and of the tiles that see so many.
    """
    at_once, most = programs_at_once * processors, MAX_PROGRAM_BLOCKS // superblock
    total = 0
    for blocks, tiles in groups:
        total += blocks * tiles
    total //= superblock
    first = -(-total // (at_once * most)) or 1
    alone = BLOCKS_ALONE if programs_at_once > 1 else 1
    steps: dict[int, None] = {}  # the keys of a dict are in order, and none comes twice
    needed = -1
    for waves in range(first, first + NUM_WAVES):
        last, needed = needed, -(-total // (at_once * waves))
        if needed == last:
            if needed <= 1:  # so will the others be
                break
        else:
            for more in range(NUM_MORE):
                count = needed + more
                steps[(most if count > most else count or 1) * superblock] = None
    best, best_time = 0, float("inf")
    for step in steps:
        programs = 0
        for blocks, tiles in groups:
            programs += -(-blocks // step) * tiles
        waves, rest = programs // at_once, programs % at_once
        wave = programs_at_once * step + BLOCKS_OF_PROLOGUE
        end = wave if rest > processors else alone * step + BLOCKS_OF_PROLOGUE if rest else 0
        if waves * wave + end < best_time:
            best, best_time = step, waves * wave + end
    return best

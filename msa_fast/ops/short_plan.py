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
        if num_full:
            rows, steps = _full_ranges((self.common - 1).bit_length(), self.num_tiles, score_rows)
            full = values[:num_full]
            np.multiply(steps[:num_full], self.each, full)
            np.add(full, rows[:num_full], full)
        if self.ends:
            struct.pack_into(f"{len(self.ends)}i", values.data, 4 * num_full, *self.ends)
        values[end : end + 2 * self.num_tiles] = _query_tiles(self.num_tiles, score_rows)


@lru_cache(maxsize=128)
def _full_ranges(bits: int, num_tiles: int, score_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the first 2 ** bits full ranges of all query tiles, and their blocks, counted in ranges.

    Kept: chunks of other lengths, whose ranges have other lengths, have them, too.
    """
    full = np.zeros((2, 1 << bits, num_tiles, 4), np.int32)
    full[0, ..., 1] = np.arange(num_tiles) * score_rows
    full[1, ..., 2] = np.arange(1 << bits)[:, None]
    full[1, ..., 3] = full[1, ..., 2] + 1
    return full[0].ravel(), full[1].ravel()


@lru_cache(maxsize=MAX_TILES)
def _query_tiles(num_tiles: int, score_rows: int) -> np.ndarray:
    """The query tiles of request 0, kept: they depend on their number alone."""
    tiles = np.zeros((num_tiles, 2), np.int32)
    tiles[:, 1] = np.arange(num_tiles) * score_rows
    return tiles.ravel()


def short_ranges(
    num_blocks: list[int], score_rows: int, superblock: int, programs_at_once: int, processors: int
) -> ShortRanges | None:
    """The score tiles of request 0, in the order that `prefill_plan` gives them; None if it is not short.

    num_blocks: visible blocks of each query tile, never falling. score_rows: rows of a query tile.
    programs_at_once: score programs that share a multiprocessor.
    """
    num_tiles, lengths = len(num_blocks), dict.fromkeys(num_blocks)
    if num_tiles > MAX_TILES or len(lengths) > MAX_LENGTHS or num_blocks[0] == 0:
        return None
    groups = [(blocks, num_blocks.count(blocks)) for blocks in lengths]
    each = _step(groups, superblock, programs_at_once, processors)
    # All tiles have these full ranges. The others are few: full ones of later tiles, then the ends.
    common = num_blocks[0] // each
    if common > MAX_RANGES:
        return None
    first, row, pieces = common * each, 0, []
    for last, tiles in groups:
        end_row = row + tiles * score_rows
        pieces += [
            (block - end, block, row, end_row, end)
            for block in range(first, last, each)
            for end in (block + each if block + each < last else last,)
        ]
        row = end_row
    pieces.sort()
    ends = [
        number
        for _, block, first_row, end_row, end in pieces
        for row in range(first_row, end_row, score_rows)
        for number in (0, row, block, end)
    ]
    return ShortRanges(common * num_tiles + len(ends) // 4, common, each, num_tiles, ends)


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
    best, best_time, last = 0, float("inf"), total + NUM_MORE
    for waves in range(first, first + NUM_WAVES):
        needed = -(-total // (at_once * waves))
        # From `last` on, all were tried for fewer waves.
        for count in range(needed, needed + NUM_MORE if needed + NUM_MORE < last else last):
            step = (most if count > most else count or 1) * superblock
            programs = 0
            for blocks, tiles in groups:
                programs += -(-blocks // step) * tiles
            full, rest = programs // at_once, programs % at_once
            wave = programs_at_once * step + BLOCKS_OF_PROLOGUE
            end = wave if rest > processors else alone * step + BLOCKS_OF_PROLOGUE if rest else 0
            if full * wave + end < best_time:
                best, best_time = step, full * wave + end
        if needed <= 1:  # so will the others be
            break
        last = needed
    return best

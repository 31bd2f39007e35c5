"""The plan of one short chunk in plain integers: what `prefill_plan` computes with arrays, where they are too short to
pay for themselves.

Most steps of an engine have one chunk of a few query tiles, whose rows see nearly the same blocks.
"""

import struct
from typing import NamedTuple

import numpy as np

from msa_fast.ops.launch_table import BLOCKS_ALONE, BLOCKS_OF_PROLOGUE, MAX_PROGRAM_BLOCKS

MAX_TILES = 16
"""Query tiles of a short chunk: 512 tokens of 4 heads."""
MAX_RANGES = 1 << 12
"""Full ranges of a query tile."""
MAX_LENGTHS = 8
"""Different numbers of blocks that its tiles see."""
NUM_WAVES, NUM_MORE = 12, 3
"""Numbers of waves that are tried from the fewest on, and of blocks from those on that the waves would need."""


class ShortRanges(NamedTuple):
    """The score tiles of request 0 in a plan: `common` full ranges of all query tiles, then the others.

    each: blocks of a full range. num_tiles: query tiles. ends: the numbers of the other ranges, as they are listed.
    """

    common: int
    each: int
    num_tiles: int
    ends: list[int]

    @property
    def num_ranges(self) -> int:
        """The score tiles."""
        return self.common * self.num_tiles + len(self.ends) // 4

    def write(self, ranges: np.ndarray, rows: np.ndarray) -> None:
        """Write them to `ranges`, int32 [num_ranges, 4]. rows: the score tile of each query tile, without blocks."""
        num_full = self.common * self.num_tiles
        full = ranges[:num_full].reshape(self.common, self.num_tiles, 4)
        np.multiply(_BLOCKS[: self.common], self.each, out=full)
        full += rows
        if self.ends:
            struct.pack_into(f"{len(self.ends)}i", ranges.data, 16 * num_full, *self.ends)


_BLOCKS = np.array([[[0, 0, number, number + 1]] for number in range(MAX_RANGES)], dtype=np.int32)
"""The ranges of a tile whose programs have one block each, without their rows."""


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
    each = _step(list(lengths.items()), superblock, programs_at_once, processors)
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
    return ShortRanges(common, each, num_tiles, numbers)


def _step(groups: list[tuple[int, int]], superblock: int, programs_at_once: int, processors: int) -> int:
    """Blocks of one program, by the model of `prefill_plan`: the first of the steps whose grid ends first.

    groups: numbers of visible blocks, and of the tiles that see so many.
    """
    at_once, most = programs_at_once * processors, MAX_PROGRAM_BLOCKS // superblock
    total = sum([blocks * tiles for blocks, tiles in groups]) // superblock
    first = max(1, -(-total // (at_once * most)))
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

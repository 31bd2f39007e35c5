"""The plan of one short chunk in plain integers: what `prefill_plan` computes with arrays, where they are too short to
pay for themselves.

Most steps of an engine have one chunk of a few query tiles, whose rows see nearly the same blocks. An engine waits for
its plan, so what all chunks of an indexer share is computed once, and tiles are written by copies of what is kept.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from msa_fast.ops.launch_table import MAX_PROGRAM_BLOCKS
from msa_fast.ops.plan_memory import Slot, TileLists
from msa_fast.ops.sharing import Sharing, Tiling

MAX_TILES = 64
"""Query tiles of a short chunk: 2,048 tokens of 4 heads."""
MAX_RANGES = 1 << 12
"""Full ranges of a query tile."""
MAX_LENGTHS = 20
"""Different numbers of blocks that its tiles see."""
NUM_WAVES, NUM_MORE = 12, 3
"""Numbers of waves that are tried from the fewest on, and of blocks from those on that the waves would need."""

Groups = list[tuple[int, int]]
"""Numbers of visible blocks, rising, and of the query tiles, one after another, that see so many."""
_Cut = tuple[int, Groups, int, int, Sharing]
"""The query tiles of a chunk by one tiling: its rows, groups of whole tiles and their number, blocks that the last tile
sees if it counts as half of one (it is in no group then), else 0, and how programs share a multiprocessor."""


@dataclass(eq=False, slots=True)
class ShortPlanner:
    """The plans of one indexer's short chunks on one GPU.

    heads, block_size: those of the indexer. topk_rows, superblock: those of the plans. tilings: those that a plan may
    have. processors: multiprocessors of the GPU.
    """

    heads: int
    block_size: int
    topk_rows: int
    superblock: int
    tilings: tuple[Tiling, ...]
    processors: int

    def tile_lists(self, query_len: int, seq_len: int, take: Callable[[int], Slot]) -> tuple[TileLists, int] | None:
        """The tiles of request 0, as `prefill_plan` lists them, on the device, and the rows of one of its query tiles.

        None if the chunk is not short. query_len, seq_len: 0 < query_len <= seq_len. take: gives memory for some
        numbers.
        """
        best_time, num_rows = float("inf"), query_len * self.heads
        for rows, sharing in self.tilings:
            num_tiles = -(-num_rows // rows)
            if num_tiles > MAX_TILES:
                return None
            groups = self._groups(query_len, seq_len, rows, num_tiles)
            if groups is None:
                return None
            cut: _Cut = rows, groups, num_tiles, 0, sharing
            if sharing.half != (1, 1) and num_tiles > 1 and 2 * num_rows <= (2 * num_tiles - 1) * rows:
                *earlier, (blocks, tiles) = groups
                whole = [*earlier, (blocks, tiles - 1)] if tiles > 1 else earlier
                cut = rows, whole, num_tiles - 1, blocks, sharing
            step, time = self._step(cut, best_time)
            if time < best_time:
                best, each, best_time = cut, step, time
        rows, groups, num_whole, half_blocks, (*_, half) = best
        # All whole tiles have these full ranges. The others are few: of half a tile, later tiles' full ones, ends.
        common = groups[0][0] // each
        if common > MAX_RANGES:
            return None
        longer: list[int] = []
        others, num_tiles = _ranges(groups, common * each, each, rows), num_whole
        if half_blocks:
            half_each = self._half_step(each, half)
            end = half_blocks % half_each
            if each in (half_each, end):  # some of its ranges would lie among the common ones
                return None
            others += _ranges([(half_blocks, 1)], 0, half_each, rows, num_whole * rows)
            num_tiles += 1
        others.sort()
        if half_blocks:
            num_longer = half_blocks // half_each + (end > each)
            longer, others = _numbers(others[:num_longer], rows), others[num_longer:]
        shorter, common_at = _numbers(others, rows), len(longer)
        common_end = common_at + 4 * common * num_whole
        ranges_end = common_end + len(shorter)
        tiles_end = ranges_end + 2 * num_tiles
        host, values, on_device = take(tiles_end)
        if longer:
            struct.pack_into(f"{common_at}i", values, 0, *longer)
        if common:
            full = _full_ranges((common - 1).bit_length(), num_whole, rows, each)
            values[common_at:common_end] = full[: common_end - common_at]
        if shorter:
            struct.pack_into(f"{len(shorter)}i", values, 4 * common_end, *shorter)
        values[ranges_end:tiles_end] = _query_tiles(num_tiles, rows)
        on_device.copy_(host, True)
        return TileLists(on_device, ranges_end >> 2, num_tiles), rows

    def _half_step(self, step: int, half: tuple[int, int]) -> int:
        """Blocks of one program of half a tile, where those of whole ones have `step`."""
        return step // self.superblock * half[1] // half[0] * self.superblock

    def _groups(self, query_len: int, seq_len: int, score_rows: int, num_tiles: int) -> Groups | None:
        """The tiles by the blocks that their last rows see; None if there are too many numbers of blocks."""
        heads, block_size = self.heads, self.block_size
        context_len, most = seq_len - query_len, (seq_len + block_size - 1) // block_size
        groups, begin = [], 0
        for blocks in range(context_len // block_size + 1, most):  # from those of the first token on
            # They hold the last row of so many tiles.
            end = (blocks * block_size - context_len) * heads // score_rows
            if end > begin:
                groups.append((blocks, end - begin))
                begin = end
                if len(groups) == MAX_LENGTHS:
                    return None
        groups.append((most, num_tiles - begin))
        return groups

    def _step(self, cut: _Cut, limit: float) -> tuple[int, float]:
        """Blocks of one program, by the model of `grid_time`: the longest of the steps whose grid ends first; its time.

        The time is `limit` where no grid ends sooner, not counting what is hidden.
        """
        _, groups, num_tiles, half_blocks, (times, prologues, hidden, (num, den)) = cut
        superblock, processors = self.superblock, self.processors
        full_time, prologue = times[-1], prologues[-1]
        at_once, most = len(times) * processors, MAX_PROGRAM_BLOCKS // superblock
        fewest, blocks = groups[0][0], groups[-1][0]
        total, lengths, tiles_before = half_blocks * num // den, [], [0]
        for seen, tiles in groups:
            total += seen * tiles
            lengths.append(seen)
            tiles_before.append(tiles_before[-1] + tiles)
        total //= superblock
        work = total * superblock
        best, best_time, best_programs, last = 0, limit, 1, total + NUM_MORE
        if full_time * work >= (limit - prologues[0]) * at_once:  # more than that, however it is dealt out
            return 0, limit
        first = -(-total // (at_once * most)) or 1
        longest_tile = -(-max(blocks, half_blocks) // superblock)
        for waves in range(first - 1, first + NUM_WAVES):  # at first a program for each processor
            needed = -(-total // (at_once * waves if waves >= first else processors))
            # From `last` on, all were tried for fewer programs.
            counts = [*range(needed, needed + NUM_MORE if needed + NUM_MORE < last else last)]
            equal = -(-longest_tile // (longest_tile // (needed or 1) or 1))
            if equal < last and not needed <= equal < needed + NUM_MORE:
                counts.append(equal)
            for count in counts:
                step = (most if count > most else count or 1) * superblock
                wave = full_time * step + prologue
                if wave > best_time and work > (at_once - processors) * step:  # too many for less than a whole wave
                    continue
                programs, ends, end_time = fewest // step * num_tiles, num_tiles, float(blocks % step)
                if blocks - fewest >= end_time:  # some tiles have more full ranges than others, or no end
                    programs, ends, end_time = _cut_by(step, lengths, tiles_before)
                if half_blocks:
                    half_step = self._half_step(step, (num, den))
                    programs += half_blocks // half_step
                    if end := half_blocks % half_step:
                        ends += 1
                        end_time = max(end_time, end * num / den)
                if ends:  # as many follow each other as take no longer than a program with all its blocks
                    programs -= -ends // int(wave // (full_time * end_time + prologue))
                full, rest = programs // at_once, programs % at_once
                time: float = full * wave
                if rest:
                    others = (rest - 1) // processors
                    time += times[others] * step + prologues[others]
                if time < best_time or (time == best_time and step > best > 0):
                    best, best_time, best_programs = step, time, programs
            if needed <= 1:  # so will the others be
                break
            # The other steps are shorter, and take a wave more. Those up to `even` blocks would end later even if all
            # processors ended at once, and those of more blocks end later by their waves.
            even = prologue * work / (best_time * at_once - full_time * work)
            if waves >= first and waves * (full_time * even + prologue) + times[0] * even + prologues[0] > best_time:
                break
            last = needed
        return best, best_time - hidden * ((best_programs - 1) // at_once)


def _cut_by(step: int, lengths: list[int], tiles_before: list[int]) -> tuple[int, int, float]:
    """Full ranges of tiles that are cut every `step` blocks, how many tiles end with a shorter one, and the longest.

    lengths: the numbers of blocks that tiles see, rising. tiles_before: how many see fewer than each; then all.
    """
    num_tiles, place, multiple = tiles_before[-1], 0, lengths[0] - lengths[0] % step
    full, ends, longest = multiple // step * num_tiles, num_tiles, lengths[-1] % step
    while multiple <= lengths[-1]:
        below, place = place, bisect_left(lengths, multiple, place)
        if place:
            full += num_tiles - tiles_before[place]
        if place > below:  # the longest of those between this multiple and the one before
            longest = max(longest, lengths[place - 1] - multiple + step)
        if lengths[place] == multiple:
            ends -= tiles_before[place + 1] - tiles_before[place]
        multiple += step
    return full, ends, float(longest)


_Range = tuple[int, int, int, int, int]
"""A range of blocks of neighbouring tiles: its length, negative; its first block, first row, end row, end block."""


def _ranges(groups: Groups, first: int, each: int, score_rows: int, row: int = 0) -> list[_Range]:
    """The ranges from block `first` on, `each` blocks long or shorter, of tiles from a row on."""
    ranges = []
    for last, tiles in groups:
        end_row = row + tiles * score_rows
        for block in range(first, last, each):
            end = block + each if block + each < last else last
            ranges.append((block - end, block, row, end_row, end))
        row = end_row
    return ranges


def _numbers(ranges: list[_Range], score_rows: int) -> list[int]:
    """The numbers of the ranges of request 0, tile by tile."""
    numbers: list[int] = []
    for _, block, first_row, end_row, end in ranges:
        for row in range(first_row, end_row, score_rows):
            numbers += (0, row, block, end)
    return numbers


@lru_cache(maxsize=512)
def _full_ranges(bits: int, num_tiles: int, score_rows: int, each: int) -> memoryview:
    """The first 2 ** bits ranges of `each` blocks of all query tiles, kept: chunks of other lengths have them, too."""
    rows, steps = _ranges_of_one(bits, num_tiles, score_rows)
    full = steps * np.int32(each)
    full += rows
    return full.data


@lru_cache(maxsize=128)
def _ranges_of_one(bits: int, num_tiles: int, score_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of 2 ** bits full ranges of all query tiles, and their blocks, counted in ranges; both kept."""
    full = np.zeros((2, 1 << bits, num_tiles, 4), np.int32)
    full[0, ..., 1] = np.arange(num_tiles) * score_rows
    full[1, ..., 2] = np.arange(1 << bits)[:, None]
    full[1, ..., 3] = full[1, ..., 2] + 1
    return full[0].ravel(), full[1].ravel()


@lru_cache(maxsize=MAX_TILES)
def _query_tiles(num_tiles: int, score_rows: int) -> memoryview:
    """The query tiles of request 0, kept: they depend on their number alone."""
    tiles = np.zeros((num_tiles, 2), np.int32)
    tiles[:, 1] = np.arange(num_tiles) * score_rows
    return tiles.ravel().data

"""The predicted time of a prefill score: its plan's programs on a card, at the pace of the binding unit."""

from dataclasses import dataclass
from functools import cache
from unittest import mock

import torch

from msa_fast.bench.model.emitted import Loop
from msa_fast.bench.model.grid import Pace, grid_clocks
from msa_fast.bench.model.rates import Card
from msa_fast.bench.model.units import Clocks, S, Tile, clocks
from msa_fast.bench.shapes import Shape
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.configurations import pretend
from msa_fast.ops import launch_table
from msa_fast.ops.launch_table import SCORE_ROWS, number
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_fast.ops.sharing import SHARING
from msa_ref.config import IndexerConfig

LATENCY_US = 1.35
"""Microseconds from a program's start to its first product, without the time that the first pages take from device
memory. By clocks in the kernel on one shape, 171 of 55,339 with 4 heads: 2.3 us in all (EXPERIMENTS.md), of which those
pages, at the rate of a copy, take 0.95."""
LAUNCH_US = 1.2
"""Microseconds of a launch in a graph of launches. The one fitted number, on the same shape; all others are checked."""
NEAR = 0.9
"""Share of the predicted time from which on what needs it is said to bind."""
FIRST_PAGES = 2
"""Pages that a program asks for before its first product: those behind wait for the queries."""


_ALONE = SHARING[launch_table.ANY, launch_table.ANY].times[0]


@dataclass(frozen=True)
class Scorer:
    """A compiled prefill scorer: its loops and its tile.

    at_once: programs that share a multiprocessor. alone: how slow one is that has it to itself (`Pace`).
    skips_half: True if a tile that has no rows in its second half takes half the time.
    """

    architecture: str
    loops: list[Loop]
    tile: Tile
    at_once: int = 1
    alone: float = 1.0
    skips_half: bool = False

    @property
    def page(self) -> Clocks:
        """Clocks of a page that all rows see whole."""
        return clocks(self.architecture, self.loops, self.tile)

    @property
    def diagonal(self) -> Clocks:
        """Clocks of a page that some rows see in part."""
        return clocks(self.architecture, self.loops, self.tile, is_diagonal=True)


def hopper(loops: list[Loop]) -> Scorer:
    """Hopper's scorer: one warpgroup, two programs a multiprocessor. Alone it is as slow as plans know it to be."""
    return Scorer("sm_90", loops, Tile(128, (64, S), warps=4), at_once=2, alone=_ALONE)


def generic(loops: list[Loop]) -> Scorer:
    """The generic scorer on sm_100: eight warps, two programs a multiprocessor, queries in shared memory."""
    return Scorer("sm_100", loops, Tile(128, (128, S), warps=8), at_once=2, alone=_ALONE)


def blackwell(loops: list[Loop], element_bytes: int = 2) -> Scorer:
    """Blackwell's scorer: two halves of 128 rows, with four warps each to take maxima; one program."""
    return Scorer("sm_100", loops, Tile(256, (128, S), warps=4, element_bytes=element_bytes), skips_half=True)


def blackwell_e4m3(loops: list[Loop]) -> Scorer:
    """The same of e4m3 queries and keys."""
    return blackwell(loops, element_bytes=1)


@dataclass(frozen=True)
class Prediction:
    """Microseconds of a score, and what binds: units, `memory` (of the device), or `start`, all before a product."""

    score: float
    binding: tuple[str, ...]


def predict(scorer: Scorer, card: Card, shape: Shape) -> Prediction:
    """The time of the scores of one batch.

    Launches of slabs follow one another. A launch takes as long as its programs on their multiprocessors, or as the
    pages take to come from device memory, each once, with the last of them still to be multiplied.
    """
    page, diagonal = scorer.page, scorer.diagonal
    pace = Pace(card.processors, scorer.at_once, scorer.alone, LATENCY_US * card.clock)
    start = on_processors = from_memory = total = 0.0
    for tiles in _tiles(scorer.architecture, shape, scorer.tile.rows):
        work = [
            share * (whole * page.page + part * diagonal.page) for share, whole, part in _blocks(tiles, shape, scorer)
        ]
        pages = {(req, block) for req, _, first, end in tiles for block in range(first, end)}
        first_ranges = {(req, first) for req, _, first, _ in tiles[: card.processors * scorer.at_once]}
        first_pages = card.from_memory(len(first_ranges) * FIRST_PAGES * scorer.tile.page_bytes)
        running = LAUNCH_US + first_pages + grid_clocks(work, pace) / card.clock
        reading = LAUNCH_US + LATENCY_US + card.from_memory(len(pages) * scorer.tile.page_bytes)
        reading += scorer.at_once * page.page / card.clock
        start += LAUNCH_US + first_pages + LATENCY_US
        on_processors, from_memory = on_processors + running, from_memory + reading
        total += max(running, reading)
    if start > total / 2:
        return Prediction(total, ("start",))
    near = {page.binding: on_processors, "memory": from_memory}
    return Prediction(total, tuple(name for name, time in near.items() if time > NEAR * total))


Tiles = list[list[int]]
"""Score tiles of a plan: request, first row, first block, end block."""


@cache
def _tiles(architecture: str, shape: Shape, rows: int) -> list[Tiles]:
    """The tiles of programs of some rows, for each slab of a shape's plan, whose own tiles may be larger.

    A plan has the GPU's own tiles here, also where it would have others of itself: those are what is modelled.
    """
    config = IndexerConfig(num_index_heads=shape.num_heads)
    query_lens = [shape.query_len] * len(shape.all_seq_lens)
    # Where kernels are interpreted, a plan is made for the interpreter; here it is numbers alone.
    with (
        mock.patch.object(launch_table, "IS_INTERPRETED", False),
        pretend(ARCHITECTURES[architecture], lambda **_: True, is_on_cpu=True) as device,
    ):
        own_rows = number(SCORE_ROWS, architecture)
        plan = PrefillPlan.build(config, query_lens, shape.all_seq_lens, device, tile_rows=own_rows)
        slabs: list[Tiles] = [torch.Tensor.tolist(plan.score_tiles[slab.score_tiles]) for slab in plan.slabs]
    parts = range(0, plan.score_rows, rows)
    return [[[req, row + part, *blocks] for req, row, *blocks in tiles for part in parts] for tiles in slabs]


def _blocks(tiles: Tiles, shape: Shape, scorer: Scorer) -> list[tuple[float, int, int]]:
    """(share of a tile's time, blocks seen whole, blocks seen in part) of each program: a kernel clips its tile so."""
    found = []
    rows, num_rows = scorer.tile.rows, shape.query_len * shape.num_heads
    for req, row, first, end in tiles:
        context = shape.all_seq_lens[req] - shape.query_len
        last_token = min((row + rows - 1) // shape.num_heads, shape.query_len - 1)
        end = min(end, -(-(context + last_token + 1) // S)) if row < num_rows else first
        full = min(max(first, (context + row // shape.num_heads + 1) // S), end)
        is_half = scorer.skips_half and row + rows // 2 >= num_rows
        found.append((0.5 if is_half else 1.0, max(0, full - first), max(0, end - full)))
    return found

"""The predicted time of a prefill score: its plan's programs on a card, at the pace of the binding unit."""

from dataclasses import dataclass
from functools import cache
from unittest import mock

import torch

from msa_fast.bench.model.emitted import Loop
from msa_fast.bench.model.grid import Pace, grid_clocks
from msa_fast.bench.model.rates import Card
from msa_fast.bench.model.units import PAGE_BYTES, Clocks, S, Tile, clocks, diagonal, steady
from msa_fast.bench.shapes import Shape
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.configurations import pretend
from msa_fast.ops import launch_table
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.config import IndexerConfig

LATENCY_US = 1.35
"""Microseconds from a program's start to its first product, without the time that the first pages take from device
memory. By clocks in the kernel on one shape, 171 of 55,339 with 4 heads: 2.3 us in all (EXPERIMENTS.md), of which those
pages, at the rate of a copy, take 0.95."""
LAUNCH_US = 1.2
"""Microseconds of a launch in a graph of launches. The one fitted number, on the same shape; all others are checked."""
FIRST_PAGES = 2
"""Pages that a program asks for before its first product: those behind wait for the queries."""


@dataclass(frozen=True)
class Scorer:
    """A compiled scorer: its loops, its tile, programs that share a multiprocessor, and how slow one is alone."""

    architecture: str
    loops: list[Loop]
    tile: Tile
    at_once: int
    alone: float

    @property
    def page(self) -> Clocks:
        """Clocks of a page that all rows see whole."""
        return clocks(self.architecture, steady(self.loops, self.tile), self.tile)

    @property
    def diagonal(self) -> Clocks:
        """Clocks of a page that some rows see in part."""
        return clocks(self.architecture, diagonal(self.loops), self.tile)


def hopper(loops: list[Loop]) -> Scorer:
    """Hopper's scorer: one warpgroup, two programs a multiprocessor. Alone it is as slow as plans know it to be."""
    return Scorer("sm_90", loops, Tile(128, warps=4), 2, launch_table.BLOCKS_ALONE)


def generic(loops: list[Loop]) -> Scorer:
    """The scorer for everyone on sm_100: eight warps, two programs a multiprocessor, queries in shared memory."""
    return Scorer("sm_100", loops, Tile(128, warps=8), 2, launch_table.BLOCKS_ALONE)


@dataclass(frozen=True)
class Prediction:
    """Microseconds of a score, and what binds: a unit, `device memory`, or `start`, all that is before a product."""

    score: float
    binding: str


def predict(scorer: Scorer, card: Card, shape: Shape) -> Prediction:
    """The time of the scores of one batch.

    Launches of slabs follow one another. A launch takes as long as its programs on their multiprocessors, or as the
    pages take to come from device memory, each once, with the last of them still to be multiplied.
    """
    page, diagonal = scorer.page, scorer.diagonal
    pace = Pace(card.processors, scorer.at_once, scorer.alone, LATENCY_US * card.clock)
    total, start_us, binding = 0.0, 0.0, page.binding
    for tiles in _tiles(scorer.architecture, shape):
        work = [whole * page.page + part * diagonal.page for whole, part in _blocks(tiles, shape, scorer.tile.rows)]
        pages = {(req, block) for req, _, first, end in tiles for block in range(first, end)}
        first_ranges = {(req, first) for req, _, first, _ in tiles[: card.processors * scorer.at_once]}
        start = LAUNCH_US + len(first_ranges) * FIRST_PAGES * PAGE_BYTES / (card.copy * 1e6)
        on_processors = start + grid_clocks(work, pace) / card.clock
        from_memory = LAUNCH_US + LATENCY_US + len(pages) * PAGE_BYTES / (card.copy * 1e6)
        from_memory += scorer.at_once * page.page / card.clock
        if from_memory > on_processors:
            binding = "device memory"
        total += max(on_processors, from_memory)
        start_us += start + LATENCY_US
    return Prediction(total, "start" if start_us > total / 2 else binding)


Tiles = list[list[int]]
"""Score tiles of a plan: request, first row, first block, end block."""


@cache
def _tiles(architecture: str, shape: Shape) -> list[Tiles]:
    """The score tiles of each slab of a shape's plan."""
    config = IndexerConfig(num_index_heads=shape.num_heads)
    query_lens = [shape.query_len] * len(shape.all_seq_lens)
    # Where kernels are interpreted, a plan is made for the interpreter; here it is numbers alone.
    with (
        mock.patch.object(launch_table, "IS_INTERPRETED", False),
        pretend(ARCHITECTURES[architecture], lambda **_: True, is_on_cpu=True) as device,
    ):
        plan = PrefillPlan.build(config, query_lens, shape.all_seq_lens, device)
        tiles: list[Tiles] = [torch.Tensor.tolist(plan.score_tiles[slab.score_tiles]) for slab in plan.slabs]
    return tiles


def _blocks(tiles: Tiles, shape: Shape, rows: int) -> list[tuple[int, int]]:
    """(blocks seen whole, blocks seen in part) of each program: the kernel clips its tile in the same way."""
    found = []
    for req, row, first, end in tiles:
        context = shape.all_seq_lens[req] - shape.query_len
        last_token = min((row + rows - 1) // shape.num_heads, shape.query_len - 1)
        end = min(end, -(-(context + last_token + 1) // S))
        full = min(max(first, (context + row // shape.num_heads + 1) // S), end)
        found.append((max(0, full - first), max(0, end - full)))
    return found

"""The predicted time of decode, which reads keys: a fixed time, and that in which device memory brings the pages."""

import csv
from pathlib import Path

from msa_fast.bench.measure import work
from msa_fast.bench.model.emitted import KERNELS
from msa_fast.bench.model.rates import Card
from msa_fast.bench.model.units import PAGE_BYTES, Clocks, S, Tile, clocks
from msa_fast.bench.shapes import Shape
from msa_ref.config import IndexerConfig

TABLE = Path(__file__).parents[1] / "results" / "decode-h200-48b0b21.csv"
FIXED_US = 4.0
"""Microseconds of launch, first page, last product and selection. Fitted on Hopper, on one shape: 4 x 1 of 10240."""
H200 = Card("H200", "sm_90", processors=132, mm=814, copy=4.27)
"""The card that measured decode, with MM and BW as RESULTS.md has them."""


def decode_us(card: Card, shape: Shape) -> float:
    """Microseconds of scores and selection. Short rows, which select all that they see, take less."""
    _, key_bytes = work(shape, IndexerConfig(num_index_heads=shape.num_heads))
    return FIXED_US + card.from_memory(key_bytes)


def checked() -> list[tuple[Shape, float, float]]:
    """(shape, predicted, measured) of the H200's rows of equal lengths that need scores at all."""
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lengths"] == "equal"]
    found = []
    for row in rows:
        shape = Shape(int(row["heads"]), int(row["num_reqs"]), int(row["query_len"]), int(row["seq_len"]))
        if shape.seq_len > IndexerConfig().topk_blocks * S:
            found.append((shape, decode_us(H200, shape), float(row["total_us"])))
    return found


def blackwell_page(version: str, rows: int = 16) -> Clocks:
    """Clocks of a page in Blackwell's decode scorer: keys are the left operand, query rows the right one."""
    return clocks("sm_100", KERNELS["sm_100 decode"].kept(version), Tile(rows, (S, rows), warps=4, pages=1))


def memory_clocks(card: Card) -> float:
    """Clocks in which device memory brings each multiprocessor a page of its own."""
    return card.from_memory(card.processors * PAGE_BYTES) * card.clock

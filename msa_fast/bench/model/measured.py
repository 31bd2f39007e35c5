"""The measured times that the model must predict: Hopper's scorer on one H100, with Triton 3.6.0."""

import csv
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from msa_fast.bench.model.rates import Card
from msa_fast.bench.shapes import Shape
from msa_ref.config import IndexerConfig

TABLE = Path(__file__).parents[1] / "results" / "prefill-h100-1e581ab.csv"
"""The rows that the model was held to when it was made; RESULTS.md has later ones."""
TRITON = "3.6.0"
"""The version that compiled what was measured."""
COPY = 3.03
"""TB/s of the H100's copy, as RESULTS.md has it."""


@dataclass(frozen=True)
class Measured:
    """One row: a shape, microseconds of its score, and the share that its floor is of them."""

    shape: Shape
    score: float
    floor: float


@cache
def measured() -> tuple[Measured, ...]:
    """The rows of the table. Score and floor follow from its columns, which are rounded to 0.5 % of them."""
    with TABLE.open(newline="") as file:
        return tuple(map(_row, csv.DictReader(file)))


def _row(row: dict[str, str]) -> Measured:
    total = float(row["total_us"])
    return Measured(
        Shape(int(row["heads"]), 1, int(row["query_len"]), int(row["seq_len"])),
        score=total / (1 + float(row["topk_over_score"])),
        floor=(total - float(row["over_1.05_floor_us"])) / 1.05,
    )


@cache
def h100() -> Card:
    """The card that was measured. Its MM follows from the floors, wherever the matrix product is what bounds them."""
    from msa_fast.bench.measure import work

    rates = []
    for row in measured():
        flops, key_bytes = work(row.shape, IndexerConfig(num_index_heads=row.shape.num_heads))
        if row.floor > 1.05 * key_bytes / (COPY * 1e6):
            rates.append(flops / row.floor / 1e6)
    return Card("H100", "sm_90", processors=132, mm=statistics.median(rates), copy=COPY)

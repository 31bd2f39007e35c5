"""Rooflines of prefill and decode: what an H200 reached, from the benchmark's tables, under what it could reach."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from msa_ref.walkthrough.svg import Drawing

RESULTS = Path(__file__).parents[2] / "msa_fast" / "bench" / "results"
"""The tables that `python -m msa_fast.bench` measured."""
TABLES = {"prefill": "prefill-h200-6ddc6fc", "decode": "decode-h200-48b0b21"}
"""Stage -> the H200's newest table of it. Their names end in commits, which have no order."""
HEADS, DIM, BYTES = 4, 128, 2
"""The index heads that are drawn, the head dim, and bytes of a bf16 element."""
SELECTED_TOKENS = 16 * 128
"""Tokens of a row that selects every block: decode reads no key for it."""
LEFT, RIGHT, TOP, BOTTOM = 74, 650, 40, 280
"""Pixels: the edges of the plot in its drawing."""

Row = dict[str, float]


@dataclass(frozen=True)
class Axes:
    """Logarithmic axes. x, y: the least and the greatest value on each."""

    drawing: Drawing
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        return _between(x, *self.x, LEFT, RIGHT), _between(y, *self.y, BOTTOM, TOP)

    def ticks(self, x_ticks: dict[float, str], y_ticks: dict[float, str], x_title: str, y_title: str) -> None:
        """Lines of a grid with their values, and what each axis counts."""
        for value, words in x_ticks.items():
            across, _ = self.at(value, self.y[0])
            self.drawing.line([(across, TOP), (across, BOTTOM)], "grid")
            self.drawing.text(across, BOTTOM + 18, words, "dim small")
        for value, words in y_ticks.items():
            _, down = self.at(self.x[0], value)
            self.drawing.line([(LEFT, down), (RIGHT, down)], "grid")
            self.drawing.text(LEFT - 8, down + 4, words, "dim small", "end")
        self.drawing.text(RIGHT, BOTTOM + 38, x_title, "dim small", "end")
        self.drawing.text(12, 22, y_title, "dim small", "start")


def prefill_roofline() -> Drawing:
    """Prefill scores: products a second over products for each byte of keys."""
    rows = _rows("prefill")
    flops = [2 * HEADS * DIM * row["num_reqs"] * _seen(row) for row in rows]
    num_bytes = [row["num_reqs"] * row["seq_len"] * DIM * BYTES for row in rows]
    # A row's floor is the larger of two times: that of its products, and that of reading its keys.
    peak = _median([flop / row["floor_us"] for flop, row in zip(flops, rows, strict=True) if row["query_len"] > 256])
    bandwidth = max(size / row["floor_us"] for size, row in zip(num_bytes, rows, strict=True))
    peak, bandwidth = peak / 1e6, bandwidth / 1e6
    drawing = Drawing(
        680,
        330,
        f"Prefill scores on an H200, 4 heads: {len(rows)} shapes under a roof that rises by {bandwidth:.2f} TB/s"
        f" of keys to {peak:.0f} TFLOP/s. Long chunks come close to it, and chunks of few tokens stay below.",
    )
    axes = Axes(drawing, (30, 100_000), (50, 1000))
    axes.ticks(
        {100.0: "100", 1000.0: "1,000", 10_000.0: "10,000", 100_000.0: "100,000"},
        {50.0: "50", 100.0: "100", 200.0: "200", 500.0: "500", 1000.0: "1,000"},
        "operations for each byte of keys",
        "TFLOP/s of the score",
    )
    ridge = peak / bandwidth
    drawing.line([axes.at(30, 30 * bandwidth), axes.at(ridge, peak), axes.at(100_000, peak)], "roof")
    drawing.text(
        *_beside(axes.at(ridge, peak), -8), f"a large matrix product: {peak:.0f} TFLOP/s", "dim small", "start"
    )
    drawing.text(*_beside(axes.at(36, 30 * bandwidth), 4), f"a copy: {bandwidth:.2f} TB/s", "dim small", "start")
    for row, size, flop in zip(rows, num_bytes, flops, strict=True):
        point = axes.at(flop / size, flop / row["score_us"] / 1e6)
        drawing.dot(*point, "warm" if row["query_len"] <= 512 else "chosen")
    _legend(drawing, (("chosen", "chunks of more than 512 tokens"), ("warm", "up to 512")))
    return drawing


def decode_roofline() -> Drawing:
    """Decode: bytes of keys read a second, over the bytes that a step must read."""
    rows = [row for row in _rows("decode") if row["seq_len"] > SELECTED_TOKENS]
    num_bytes = [row["num_reqs"] * row["seq_len"] * DIM * BYTES for row in rows]
    largest = max(range(len(rows)), key=lambda at: rows[at]["floor_us"])
    bandwidth = num_bytes[largest] / rows[largest]["floor_us"] / 1e6
    drawing = Drawing(
        680,
        330,
        f"Decode on an H200, 4 heads: {len(rows)} shapes under the {bandwidth:.2f} TB/s of a copy. Large steps reach "
        f"it; a step of few bytes takes as long as its launch.",
    )
    axes = Axes(drawing, (0.5, 20_000), (0.1, 10))
    axes.ticks(
        {1.0: "1 MB", 10.0: "10 MB", 100.0: "100 MB", 1000.0: "1 GB", 10_000.0: "10 GB"},
        {0.1: "0.1", 1.0: "1", 10.0: "10"},
        "index keys that a step reads",
        "TB/s of keys",
    )
    drawing.line([axes.at(0.5, bandwidth), axes.at(20_000, bandwidth)], "roof")
    drawing.text(*_beside(axes.at(0.6, bandwidth), -8), f"a copy: {bandwidth:.2f} TB/s", "dim small", "start")
    for row, size in zip(rows, num_bytes, strict=True):
        drawing.dot(*axes.at(size / 1e6, size / row["total_us"] / 1e6), "chosen" if row["query_len"] == 1 else "warm")
    _legend(drawing, (("chosen", "one query token a request"), ("warm", "several")))
    return drawing


def _rows(stage: str) -> list[Row]:
    """The rows of a stage's table: equal lengths, the heads that are drawn."""
    with (RESULTS / f"{TABLES[stage]}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("lengths", "equal") == "equal"]
    numbers = [{name: float(value) for name, value in row.items() if name != "lengths"} for row in rows]
    return [row for row in numbers if row["heads"] == HEADS]


def _seen(row: Row) -> float:
    """Tokens that the query tokens of one request see, all together."""
    return row["query_len"] * (row["seq_len"] - (row["query_len"] - 1) / 2)


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


def _between(value: float, low: float, high: float, first: float, last: float) -> float:
    share = math.log(value / low) / math.log(high / low)
    return round(first + share * (last - first), 1)


def _beside(pixel: tuple[float, float], down: float) -> tuple[float, float]:
    return pixel[0], pixel[1] + down


def _legend(drawing: Drawing, kinds: tuple[tuple[str, str], ...]) -> None:
    x = LEFT + 4.0
    for kind, words in kinds:
        drawing.dot(x, BOTTOM + 34, kind)
        drawing.text(x + 10, BOTTOM + 38, words, "dim small", "start")
        x += 24 + 7.3 * len(words)

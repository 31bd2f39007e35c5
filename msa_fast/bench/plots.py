"""Draws the two plots of RESULTS.md from the tables in results/: python -m msa_fast.bench.plots."""

import csv
import math
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PREFILL, DECODE = "prefill-h200-6ddc6fc", "decode-h200-48b0b21"
WIDTH, HEIGHT, MARGIN = 720, 380, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Colours that colour-blind readers tell apart (Okabe and Ito)."""

Points = list[tuple[float, float]]


def plots() -> dict[str, str]:
    """File name -> SVG."""
    prefill = [row for row in _rows(PREFILL) if row["heads"] == "4"]
    bounds = {"up to 64 new tokens": 64, "up to 400": 400, "up to 2,000": 2000, "8,192 and more": math.inf}
    share: dict[str, Points] = {name: [] for name in bounds}
    for row in prefill:
        name = next(name for name, bound in bounds.items() if int(row["query_len"]) <= bound)
        share[name].append((float(row["seq_len"]), float(row["score_share_of_mm"])))
    over: dict[str, Points] = {}
    for row in _rows(DECODE):
        ratio = float(row["total_us"]) / float(row["floor_us"])
        over.setdefault(f"{row['query_len']} query tokens a request", []).append((float(row["floor_us"]), ratio))
    return {
        "prefill-share-of-mm.svg": scatter(
            "Prefill score, 4 heads, H200 at 6ddc6fc: share of MM, by tokens in all",
            share,
            {number: f"{number / 1024:g}k" for number in (8192, 32768, 131072, 524288)},
            {number / 5: f"{number / 5:.1f}" for number in range(6)},
            is_y_log=False,
        ),
        "decode-over-floor.svg": scatter(
            "Decode, 4 heads, H200 at 48b0b21: time / floor, by floor in microseconds",
            over,
            {number: f"{number:g}" for number in (0.1, 1, 10, 100, 1000)},
            {number: f"{number:g}" for number in (0.3, 1, 3, 10, 30)},
            is_y_log=True,
        ),
    }


def scatter(
    title: str, series: dict[str, Points], x_ticks: dict[float, str], y_ticks: dict[float, str], is_y_log: bool
) -> str:
    """An SVG of points over a logarithmic x axis, one colour a series."""
    points = [point for group in series.values() for point in group]
    xs = [math.log(x) for x in (*x_ticks, *(x for x, _ in points))]
    y_of = math.log if is_y_log else float
    ys = [y_of(y) for y in (*y_ticks, *(y for _, y in points))]

    def across(x: float) -> float:
        return round(MARGIN + (math.log(x) - min(xs)) / (max(xs) - min(xs)) * (WIDTH - 2 * MARGIN), 1)

    def down(y: float) -> float:
        return round(HEIGHT - MARGIN - (y_of(y) - min(ys)) / (max(ys) - min(ys)) * (HEIGHT - 2 * MARGIN), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<style>text {font-size: 12px}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="20">{title}</text>',
    ]
    for x, text in x_ticks.items():
        at = across(x)
        lines.append(f'<line x1="{at}" x2="{at}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="#ddd"/>')
        lines.append(f'<text x="{at}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{text}</text>')
    for y, text in y_ticks.items():
        at = down(y)
        lines.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{at}" y2="{at}" stroke="#ddd"/>')
        lines.append(f'<text x="{MARGIN - 8}" y="{at + 4}" text-anchor="end">{text}</text>')
    for i, ((name, group), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        x = MARGIN + i * 160
        lines.append(f'<circle cx="{x}" cy="{HEIGHT - 18}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{x + 8}" y="{HEIGHT - 14}">{name}</text>')
        lines += [f'<circle cx="{across(x)}" cy="{down(y)}" r="3" fill="{colour}"/>' for x, y in group]
    return "\n".join([*lines, "</svg>\n"])


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    for file_name, svg in plots().items():
        (RESULTS / file_name).write_text(svg)

"""The figures of the walk-through, drawn from the reference's own answers and the benchmark's tables."""

from pathlib import Path

from msa_ref.config import IndexerConfig
from msa_ref.walkthrough.explained_row import explained
from msa_ref.walkthrough.rooflines import decode_roofline, prefill_roofline
from msa_ref.walkthrough.svg import Drawing

FOLDER = Path(__file__).parent / "figures"
"""The place of the drawn files."""
CELL, TOP = 92, 34
"""Pixels: of a block, and above the first box."""


def row() -> Drawing:
    """A row of five blocks with a forced one, a tie, and the cut."""
    scores = [5.0, 1.0, 7.0, 5.0, 0.0]
    rows = explained(scores, IndexerConfig(1, topk_blocks=3, local_blocks=1))
    chosen = [one.block for one in rows if one.is_chosen]
    words = (
        f"Five blocks score 5, 1, 7, 5, 0. Block 4 is forced, blocks 2 and 0 have ranks 1 and 2: {chosen} are selected."
    )
    drawing = Drawing(CELL * 5 + 120, 176, words)
    for name, y in (("block", 22), ("score", 66), ("rank", 110), ("selected", 132)):
        drawing.text(84, y, name, "dim small", "end")
    drawing.text(100, 164, "The cut is after rank 2. Blocks 0 and 3 tie: the lower id wins.", "dim small", "start")
    for one in rows:
        x = 100 + CELL * one.block
        drawing.text(x + CELL / 2 - 3, 22, str(one.block), "dim small")
        drawing.box(x, TOP, CELL - 6, 52, "warm" if not one.rank else "chosen" if one.is_chosen else "paper")
        drawing.text(x + CELL / 2 - 3, 66, f"{one.score:g}")
        drawing.text(x + CELL / 2 - 3, 110, str(one.rank) if one.rank else "forced", "dim small")
        drawing.text(x + CELL / 2 - 3, 132, "yes" if one.is_chosen else "", "ink small")
    return drawing


def pages() -> Drawing:
    """Blocks of one request on pages of a cache; what belongs to nobody is poison."""
    table, num_pages = [5, 0, 3, 1], 6
    drawing = Drawing(
        660, 228, "Blocks 0 to 3 lie on pages 5, 0, 3 and 1. Pages 2 and 4 and the tail of page 1 are poison."
    )
    drawing.text(84, 52, "blocks", "dim small", "end")
    drawing.text(84, 182, "pages", "dim small", "end")
    for page in range(num_pages):
        x = 100 + CELL * page
        is_used = page in table
        drawing.box(x, 150, CELL - 6, 52, "chosen" if is_used else "poison")
        if is_used and table.index(page) == len(table) - 1:
            drawing.box(x + (CELL - 6) / 2, 150, (CELL - 6) / 2, 52, "poison")
            drawing.text(x + (CELL - 6) * 3 / 4, 180, "tail", "ink small")
        elif not is_used:
            drawing.text(x + (CELL - 6) / 2, 180, "poison", "ink small")
        drawing.text(x + (CELL - 6) / 2, 218, f"page {page}", "dim small")
    for block, page in enumerate(table):
        x = 190 + CELL * block
        drawing.box(x, 22, CELL - 6, 52, "chosen")
        drawing.text(x + (CELL - 6) / 2, 53, f"block {block}")
        drawing.line([(x + (CELL - 6) / 2, 74), (100 + CELL * page + (CELL - 6) / 2, 150)])
    return drawing


def near_ties() -> Drawing:
    """Scores as intervals: two overlap at the cut."""
    middles, reach, slots, scale = (9.0, 7.2, 5.6, 5.0, 3.2, 1.6), 0.6, 3, 20.0
    drawing = Drawing(
        640, 236, "Six blocks with intervals. The third and the fourth overlap, so either may be selected."
    )
    low, high = middles[slots - 1] - reach, middles[slots] + reach
    for edge in (low, high):
        drawing.line(
            [(80 + 92 * (slots - 1) - 16, 212 - scale * edge), (80 + 92 * slots + 60, 212 - scale * edge)], "grid"
        )
    drawing.text(80 + 92 * (slots - 1) - 22, 216 - scale * (low + high) / 2, "overlap", "dim small", "end")
    drawing.text(20, 22, "score", "dim small", "start")
    for place, middle in enumerate(middles):
        x = 80 + 92 * place
        top = 212 - scale * (middle + reach)
        kind = "warm" if place in (slots - 1, slots) else "chosen" if place < slots else "paper"
        drawing.box(x + 14, top, 16, 2 * reach * scale, kind)
        words = "either" if kind == "warm" else "in" if place < slots else "out"
        drawing.text(x + 22, top - 8, words, "dim small")
        drawing.text(x + 22, 230, f"rank {place + 1}", "dim small")
    edge = 80 + 92 * slots - 24
    drawing.line([(edge, 20), (edge, 205)], "cut")
    drawing.text(edge + 6, 32, "the cut", "dim small", "start")
    return drawing


def overview() -> Drawing:
    """The suite at a glance: one case, two answers, laws, a verdict."""
    drawing = Drawing(
        778,
        176,
        "A case makes the tensors of one call. The specification and your kernel both answer it, and the judge holds"
        " the two answers together: agreed, or the law that broke, the row, and a command that shows it again.",
    )
    for x, y, width, kind, lines in (
        (4, 62, 150, "paper", ("a case", "JSON and a seed")),
        (214, 12, 190, "chosen", ("the specification", "plain PyTorch")),
        (214, 112, 190, "warm", ("your kernel", "or this suite's")),
        (464, 62, 120, "paper", ("the judge", "laws by name")),
        (634, 12, 140, "paper", ("agreed", "exit status 0")),
        (634, 112, 140, "poison", ("broke", "law, row, replay")),
    ):
        drawing.box(x, y, width, 52, kind)
        drawing.text(x + width / 2, y + 22, lines[0])
        drawing.text(x + width / 2, y + 41, lines[1], "dim small" if kind == "paper" else "ink small")
    for y in (38, 138):
        drawing.arrow([(154, 88), (184, 88), (184, y), (214, y)])
        drawing.arrow([(404, y), (524, y), (524, 62)] if y < 88 else [(404, y), (434, y), (434, 100), (464, 100)])
        drawing.arrow([(584, 88), (609, 88), (609, y), (634, y)])
    drawing.text(409, 30, "the answer", "dim small", "start")
    drawing.text(409, 156, "an answer", "dim small", "start")
    return drawing


FIGURES = {
    "row": row,
    "pages": pages,
    "near-ties": near_ties,
    "overview": overview,
    "prefill-roofline": prefill_roofline,
    "decode-roofline": decode_roofline,
}
"""Name of a file in `figures/` -> the function that draws it."""


def write_figures(folder: Path = FOLDER) -> list[Path]:
    """Draw all of them. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(draw().svg())
    return paths

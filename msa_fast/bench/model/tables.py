"""The model's tables: predicted beside measured, clocks by unit, predictions for B200. MODEL.md shows them, too."""

from functools import cache

from msa_fast.bench.measure import work
from msa_fast.bench.model import decode
from msa_fast.bench.model.emitted import KERNELS
from msa_fast.bench.model.measured import TRITON, Measured, h100, measured
from msa_fast.bench.model.predict import Prediction, Scorer, blackwell, blackwell_e4m3, generic, hopper, predict
from msa_fast.bench.model.rates import B200_PUBLISHED, H100_PUBLISHED, Card, by_shares
from msa_fast.bench.model.units import Clocks
from msa_fast.bench.shapes import SWEEP_PREFILL, Shape, production_shapes
from msa_ref.config import IndexerConfig

BOUND = 0.15
"""The share of the measured time by which a prediction may be off."""
NEWEST = "3.9.0"
"""The version of Triton whose code predictions for Blackwell are about."""
UNITS = {
    "matrix": "matrix unit",
    "shared": "shared memory",
    "l2": "L2 to the multiprocessor",
    "lanes": "maxima and integers",
    "issue": "issue slots",
    "tensor": "tensor memory",
}
"""Field of `Clocks` -> words."""
DECODE_SHAPES = [(1, 1, 8192), (1, 1, 131072), (128, 1, 8192), (64, 1, 102400), (1, 8, 204800), (128, 8, 102400)]
"""(requests, query tokens, tokens in all) of decode that is predicted for B200."""


@cache
def scorers() -> dict[str, Scorer]:
    """Every prefill scorer that is modelled, by its title."""
    made = {"Hopper's": ("sm_90 prefill", hopper), "generic, sm_100": ("sm_100 prefill generic", generic)}
    made["Blackwell's"] = ("sm_100 prefill", blackwell)
    made["Blackwell's of e4m3"] = ("sm_100 prefill e4m3", blackwell_e4m3)
    return {
        f"{title}, Triton {version[:3]}": scorer(KERNELS[name].kept(version))
        for title, (name, scorer) in made.items()
        for version in (TRITON, NEWEST)
    }


def checked(scorer: Scorer | None = None) -> list[tuple[Measured, Prediction]]:
    """The measured rows with what a scorer, by default the one that was measured, is predicted to take for them."""
    scorer = scorer or hopper(KERNELS["sm_90 prefill"].kept(TRITON))
    return [(row, predict(scorer, h100(), row.shape)) for row in measured()]


def ratio(row: Measured, prediction: Prediction) -> float:
    """The predicted time over the measured one."""
    return prediction.score / row.score


def hopper_table() -> str:
    """Predicted and measured times of Hopper's scorer."""
    lines = ["| shape | predicted | measured | ratio | binds |", "|---|---|---|---|---|"]
    for row, prediction in checked():
        times = f"{prediction.score:.1f} us | {row.score:.1f} us | {ratio(row, prediction):.2f}"
        lines.append(f"| {row.shape.name} | {times} | {_words(*prediction.binding)} |")
    return "\n".join(lines)


def units_table() -> str:
    """Clocks per page by unit of every scorer that is modelled. The binding unit stands in bold."""
    lines = [f"| scorer | rows | {' | '.join(UNITS.values())} | a page seen in part |", "|---" * (len(UNITS) + 3) + "|"]
    for title, scorer in scorers().items():
        lines.append(_units_row(title, scorer.tile.rows, scorer.page, scorer.diagonal))
    page = decode.blackwell_page(NEWEST)
    lines.append(_units_row(f"Blackwell's decode, Triton {NEWEST[:3]}", 16, page, page))
    return "\n".join(lines)


def _units_row(title: str, rows: int, page: Clocks, diagonal: Clocks) -> str:
    shown = [f"{getattr(page, unit):.0f}" if getattr(page, unit) else "-" for unit in UNITS]
    bold = [f"**{text}**" if unit == page.binding else text for unit, text in zip(UNITS, shown, strict=True)]
    return f"| {title} | {rows} | {' | '.join(bold)} | {diagonal.page:.0f}, {UNITS[diagonal.binding]} |"


def _words(*binding: str) -> str:
    return ", ".join((UNITS | {"memory": "device memory"}).get(name, name) for name in binding)


def b200_cards() -> tuple[Card, Card]:
    """B200 as its data sheet has it, and at the shares of a data sheet that the measured H100 reaches."""
    return B200_PUBLISHED, by_shares(B200_PUBLISHED, H100_PUBLISHED, h100())


def prefill_table() -> str:
    """Predicted times of prefill scores on B200, by Blackwell's scorer and by the generic one."""
    titles = ("Blackwell's", "generic, sm_100", "Blackwell's of e4m3")
    own, for_all, of_e4m3 = (scorers()[f"{title}, Triton {NEWEST[:3]}"] for title in titles)
    published, by_share = b200_cards()
    lines = [
        "| shape | by the data sheet | share of MM | at H100's shares | binds | generic | binds |",
        "|---" * 7 + "|",
    ]
    for shape in _prefill_shapes():
        best, likely, slow = (predict(*one, shape) for one in ((own, published), (own, by_share), (for_all, by_share)))
        flops, _ = work(shape, IndexerConfig(num_index_heads=shape.num_heads))
        share = flops / (published.mm * 1e6) / best.score
        own_cells = (f"{best.score:.1f} us", f"{share:.2f}", f"{likely.score:.1f} us", _words(*likely.binding))
        others = (f"{predict(of_e4m3, by_share, shape).score:.1f} us", f"{slow.score:.1f} us", _words(*slow.binding))
        lines.append(f"| {' | '.join((shape.name, *own_cells, *others))} |")
    return "\n".join(lines)


def _prefill_shapes() -> list[Shape]:
    """8,192 and 4,096 tokens on 128k, then production's chunks with 4 heads, and few tokens on much."""
    long = [Shape(heads, 1, 8192, 8192 + (128 << 10)) for heads in (4, 2, 1)]
    long.append(Shape(4, 1, 4096, 4096 + (128 << 10)))
    rows = production_shapes()["prefill_single_request"]
    chunks = [Shape(4, 1, row["query_len"], row["seq_len"]) for row in rows]
    few = [Shape(4, 1, query_len, seq_len) for query_len, seq_len in SWEEP_PREFILL if query_len < 8192]
    return [*long, *chunks, *few]


def decode_table() -> str:
    """Predicted times of decode on B200, scores and selection."""
    lines = ["| shape | by the data sheet | at H100's shares |", "|---|---|---|"]
    for num_reqs, query_len, seq_len in DECODE_SHAPES:
        shape = Shape(4, num_reqs, query_len, seq_len)
        times = (f"{decode.decode_us(card, shape):.1f} us" for card in b200_cards())
        lines.append(f"| {shape.name} | {' | '.join(times)} |")
    return "\n".join(lines)


def decode_words() -> str:
    """The share of Hopper's decode times that the formula meets, and what binds decode on B200."""
    ratios = [predicted / measured for _, predicted, measured in decode.checked()]
    page = decode.blackwell_page(NEWEST)
    clocks = [decode.memory_clocks(card) for card in b200_cards()]
    return (
        f"On the H200 all {len(ratios)} shapes that need scores lie at {min(ratios):.2f} to {max(ratios):.2f} of what "
        "was measured.\nOn B200 device memory brings a multiprocessor a page of its own every "
        f"{clocks[0]:.0f} clocks, or {clocks[1]:.0f} at H100's shares.\nThe busiest unit of the decode scorer, "
        f"{_words(page.binding)}, needs {page.page:.0f} of them: device memory binds."
    )


def text() -> str:
    """All tables, as `python -m msa_fast.bench model` prints them."""
    card = h100()
    return "\n\n".join(
        (
            f"Hopper's prefill scorer on an {card.name}: MM {card.mm:.0f} TFLOP/s, which a perfect matrix unit has at "
            f"{card.clock / 1e3:.2f} GHz; BW {card.copy:.2f} TB/s",
            hopper_table(),
            "Clocks of a multiprocessor per page of 128 keys, by unit",
            units_table(),
            "B200, predicted and not measured: prefill scores",
            prefill_table(),
            "B200, predicted and not measured: decode",
            decode_table(),
            decode_words(),
        )
    )

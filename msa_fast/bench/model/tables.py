"""The model's tables: predicted beside measured, and clocks by unit. MODEL.md shows the same text."""

from msa_fast.bench.model.emitted import KERNELS
from msa_fast.bench.model.measured import TRITON, Measured, h100, measured
from msa_fast.bench.model.predict import Prediction, Scorer, generic, hopper, predict

BOUND = 0.15
"""How far from the measured time a prediction may lie, as a share of it."""
UNITS = {
    "matrix": "matrix unit",
    "shared": "shared memory",
    "l2": "L2 to the multiprocessor",
    "lanes": "maxima and integers",
    "issue": "issue slots",
    "tensor": "tensor memory",
}
"""Field of `Clocks` -> words."""


def scorers() -> dict[str, Scorer]:
    """Every scorer that is modelled, by its title."""
    hopper_kernel, generic_kernel = KERNELS
    return {
        "Hopper's, Triton 3.6 (measured)": hopper(hopper_kernel.kept("3.6.0")),
        "Hopper's, Triton 3.9": hopper(hopper_kernel.kept("3.9.0")),
        "generic on sm_100, Triton 3.6": generic(generic_kernel.kept("3.6.0")),
        "generic on sm_100, Triton 3.9": generic(generic_kernel.kept("3.9.0")),
    }


def checked(scorer: Scorer | None = None) -> list[tuple[Measured, Prediction]]:
    """The measured rows with what a scorer, by default the one that was measured, is predicted to take for them."""
    scorer = scorer or hopper(KERNELS[0].kept(TRITON))
    return [(row, predict(scorer, h100(), row.shape)) for row in measured()]


def ratio(row: Measured, prediction: Prediction) -> float:
    """The predicted time over the measured one."""
    return prediction.score / row.score


def hopper_table() -> str:
    """Predicted and measured times of Hopper's scorer."""
    lines = ["| shape | predicted | measured | ratio | binds |", "|---|---|---|---|---|"]
    for row, prediction in checked():
        times = f"{prediction.score:.1f} us | {row.score:.1f} us | {ratio(row, prediction):.2f}"
        lines.append(f"| {row.shape.name} | {times} | {UNITS.get(prediction.binding, prediction.binding)} |")
    return "\n".join(lines)


def units_table() -> str:
    """Clocks per page by unit of every scorer that is modelled. The binding unit stands in bold."""
    lines = [f"| scorer | rows | {' | '.join(UNITS.values())} |", "|---" * (len(UNITS) + 2) + "|"]
    for title, scorer in scorers().items():
        page = scorer.page
        shown = [f"{getattr(page, unit):.0f}" if getattr(page, unit) else "-" for unit in UNITS]
        bold = [f"**{text}**" if unit == page.binding else text for unit, text in zip(UNITS, shown, strict=True)]
        lines.append(f"| {title} | {scorer.tile.rows} | {' | '.join(bold)} |")
    return "\n".join(lines)


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
        )
    )

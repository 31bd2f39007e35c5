"""Predicted scores beside those that the benchmark has just measured, for the card in the machine."""

import torch
import triton

from msa_fast.bench.measure import Row
from msa_fast.bench.model import tables
from msa_fast.bench.model.predict import predict
from msa_fast.bench.model.rates import RATES, Card
from msa_fast.bench.shapes import Shape

SCORERS = {"sm_90": "Hopper's", "sm_100": "Blackwell's"}
"""Architecture -> title of the scorer that serves MiniMax-M3's shape there."""


def this_card(stamp: dict[str, str]) -> Card | None:
    """The card that a stamp with both ceilings describes; None for an architecture without rates."""
    if stamp["architecture"] not in RATES:
        return None
    processors = torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
    mm, copy = float(stamp["MM TFLOP/s"]), float(stamp["BW TB/s"])
    return Card(stamp["device"], stamp["architecture"], processors, mm, copy)


def predicted(card: Card, shape: Shape) -> float | None:
    """Microseconds of a prefill score on a card by this Triton's code; None where no counts of that code are kept."""
    scorer = tables.scorers().get(f"{SCORERS[card.architecture]}, Triton {triton.__version__[:3]}")
    return None if scorer is None or shape.formats != "bf16" else predict(scorer, card, shape).score


def lines(card: Card, timed: list[tuple[Shape, Row]]) -> list[str]:
    """A line for each prefill row: measured and predicted score, and their ratio."""
    found = []
    for shape, row in timed:
        time = predicted(card, shape) if row.stage == "prefill" else None
        if time is not None:
            found.append(f"{row.shape:34} score {row.score:8.1f} us, predicted {time:8.1f} us: {time / row.score:.2f}")
    return found

"""Who computes prefill scores: a choice that is made by name, stays visible, and is never made twice.

`triton` runs everywhere. `fmha_sm100`, the vendor's score-only pass, is named here because engines
name it, and is NOT AVAILABLE: the package publishes its two calls (`fmha_sm100_plan(...,
output_maxscore=True)`, `fmha_sm100(..., output_o=False, output_maxscore=True)`), but neither the
layouts of its key pages, page list and scores nor its causal rule, so nothing here guesses them.
Nothing of it has run on SM100 hardware. Whoever has both can pass a function of his own.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch

from msa_fast.ops.score import minimax_m3_index_score
from msa_fast.plan import PrefillPlan
from msa_ref.batch import PagedBatch
from msa_ref.config import require

PrefillScorer = Callable[[PagedBatch, PrefillPlan, torch.Tensor], torch.Tensor]
"""(batch, plan, out) -> score: fills `out` [H, T, max_blocks] fp32, any strides, at visible blocks."""

PREFILL_SCORERS = ("triton", "fmha_sm100")
"""The choices that have a name."""


def choose_scorer(choice: str | PrefillScorer, device: torch.device) -> PrefillScorer:
    """The scorer of a choice on a device. What is not there is refused, never replaced.

    Raises:
        ValueError: one sentence naming the choice, the rule and what was got.
    """
    if callable(choice):
        return choice
    require(
        choice in PREFILL_SCORERS, "prefill_scorer", f"must be a function or one of {PREFILL_SCORERS}", repr(choice)
    )
    if choice == "fmha_sm100":
        _require_fmha_sm100(device)
    return minimax_m3_index_score


def _require_fmha_sm100(device: torch.device) -> None:
    """Refuse the vendor's scorer, for the first reason that holds. Imports nothing."""
    name, only = "prefill_scorer", "can be 'fmha_sm100' only where"
    is_there = find_spec("fmha_sm100") is not None
    require(is_there, name, f"{only} the package fmha_sm100 is importable", "no such package")
    is_sm100 = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 10
    require(is_sm100, name, f"{only} the device is SM100", device)
    require(False, name, f"{only} the layouts of its pages and scores are published", "a package without them")

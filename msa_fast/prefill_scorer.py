"""Selects the prefill scorer by name; never falls back silently.

`triton` runs everywhere and is the default. `fmha_sm100` is the vendor's score-only pass, where its
package is importable and the device is SM100; it is NOT RUN ON HARDWARE: see
`msa_fast.fmha_sm100` for what is known and what is not. A caller's own function overrides both.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch

from msa_fast.fmha_sm100 import check_fmha_sm100, fmha_sm100_score
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_fast.ops.score import minimax_m3_index_score
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require

PrefillScorer = Callable[[PagedBatch, PrefillPlan, torch.Tensor], torch.Tensor]
"""(batch, plan, out) -> score [H, T, max_blocks] fp32, any strides, right at visible blocks: `out`
filled, or a tensor that the scorer allocated. It scores the whole batch at once: only `minimax_m3_index_prefill`,
which serves the choice `triton`, bounds its workspace."""

PREFILL_SCORERS: dict[str, PrefillScorer] = {"triton": minimax_m3_index_score, "fmha_sm100": fmha_sm100_score}
"""Scorers by name."""


def choose_scorer(choice: str | PrefillScorer, device: torch.device, config: IndexerConfig) -> PrefillScorer:
    """The scorer for a choice on a device. A missing one is refused, never replaced. Imports nothing.

    Raises:
        ValueError: one sentence naming the choice, the rule and what was got.
    """
    if callable(choice):
        return choice
    names = tuple(PREFILL_SCORERS)
    require(choice in names, "prefill_scorer", f"must be a function or one of {names}", repr(choice))
    if choice == "fmha_sm100":
        only = "can be 'fmha_sm100' only where"
        is_there = find_spec("fmha_sm100") is not None
        require(is_there, "prefill_scorer", f"{only} the package fmha_sm100 is importable", "no such package")
        is_sm100 = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 10
        require(is_sm100, "prefill_scorer", f"{only} the device is SM100", device)
        check_fmha_sm100(config)
    return PREFILL_SCORERS[choice]

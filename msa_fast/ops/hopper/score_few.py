"""Prefill scores on Hopper of requests with few query rows: by its decode scorers, which share the live blocks out.

They begin sooner than scorers of tiles, keep more pages on their way, and read no tiles: what a request has is read on
the device. Plans whose caller has chosen the tiles or their ranges are scored by these.
"""

import torch

from msa_fast.ops.checks import MAX_SCORED_REQS
from msa_fast.ops.dispatch import DecodeScorer, SelectionStart
from msa_fast.ops.hopper import decode, decode_e4m3
from msa_fast.ops.launch_table import next_power_of_2, num_processors
from msa_fast.ops.launching import Launched
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.NEAR_END
IS_INTERLEAVED = False
SCORERS: tuple[DecodeScorer, ...] = (decode, decode_e4m3)
MAX_ROWS = max(decode.MAX_ROWS, decode_e4m3.MAX_ROWS)


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: scores in vectors alone, since it leaves out rows that select all they see."""
    if plan.is_tiled or plan.max_tile_rows > MAX_ROWS or plan.superblock != 1 or len(plan.slabs) != 1:
        return False
    is_read = superblock_score is None and (score is None or score.ndim == 4)
    return is_read and batch.num_reqs <= MAX_SCORED_REQS and _scorer_of(batch, plan) is not None


def launch_score(
    batch: PagedBatch,
    plan: PrefillPlan,
    tiles: torch.Tensor,
    slab_token: int,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None,
    is_followed: bool = False,
) -> Launched | None:
    """Launch on checked arguments that are served; tiles, and the first token of the only slab, are not needed."""
    scorer, query_len = _scorer_of(batch, plan), _query_len(plan)
    assert scorer is not None, "is_served was not asked"
    num_programs = scorer.programs_per_processor(batch, query_len) * num_processors(batch.device)
    num_reqs = next_power_of_2(batch.num_reqs)
    return scorer.launch_score(batch, score, num_programs, num_reqs, query_len, is_followed)


def _query_len(plan: PrefillPlan) -> int:
    """Query tokens of the longest request, if a tile holds all its rows."""
    return plan.max_tile_rows // plan.config.num_index_heads


def _scorer_of(batch: PagedBatch, plan: PrefillPlan) -> DecodeScorer | None:
    """The decode scorer that takes the longest tile. A request of several tiles has a full one, which none takes."""
    return next((scorer for scorer in SCORERS if scorer.is_served(batch, _query_len(plan))), None)

"""Prefill: block scores, then the selection, with nothing of either left behind."""

import torch

from msa_fast.ops.launch import new_score
from msa_fast.ops.score import minimax_m3_index_score
from msa_fast.ops.topk import minimax_m3_index_topk
from msa_fast.plan import PrefillPlan
from msa_ref.batch import PagedBatch


def minimax_m3_index_prefill(batch: PagedBatch, plan: PrefillPlan, out: torch.Tensor | None = None) -> torch.Tensor:
    """Scores and selection of a prefill batch, in two launches that share the best scores of superblocks.

    Args:
        batch, plan: as `minimax_m3_index_score` takes them.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    # Written once for every block and read for few: as they are written. The best ones the other way round.
    score = new_score(batch, is_block_major=True)
    superblock_score = new_score(batch, blocks_each=plan.superblock)
    minimax_m3_index_score(batch, plan, score, superblock_score)
    return minimax_m3_index_topk(score, batch, plan, out, superblock_score)

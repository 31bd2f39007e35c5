"""Prefill scores: dense block scores of every query row."""

import torch

from msa_fast.ops import prefill_score
from msa_fast.ops.blackwell import score as blackwell_score
from msa_fast.ops.buffers import new_score
from msa_fast.ops.checks import check_batch, check_score
from msa_fast.ops.dispatch import PrefillScorer
from msa_fast.ops.hopper import score as hopper_score
from msa_fast.ops.hopper import score_e4m3 as hopper_score_e4m3
from msa_fast.ops.hopper import score_few as hopper_score_few
from msa_fast.ops.hopper import score_wide as hopper_score_wide
from msa_fast.ops.launching import Launched
from msa_fast.ops.prefill_plan import PrefillPlan, Slab, check_plan
from msa_fast.ops.product import NativePrefill, check_product
from msa_ref.batch import PagedBatch

PREFILL_SCORERS: tuple[PrefillScorer, ...] = (
    hopper_score_few, hopper_score, hopper_score_wide, hopper_score_e4m3, blackwell_score, prefill_score,
)  # fmt: skip
"""Asked in order; the first that serves a call scores it."""
NATIVE_SCORERS: tuple[PrefillScorer, ...] = (blackwell_score, NativePrefill())
"""The same for products in e4m3, by those who ask for them."""


def minimax_m3_index_score(
    batch: PagedBatch,
    plan: PrefillPlan,
    out: torch.Tensor | None = None,
    superblock_score: torch.Tensor | None = None,
    product: str = "exact",
) -> torch.Tensor:
    """Dense block scores of a prefill batch.

    Args:
        batch: on a GPU (on the CPU under Triton's interpreter).
        plan: built for this batch's lengths.
        out: [H, T, max_blocks] fp32, any strides; by default new, blocks slowest, heads fastest.
        superblock_score: [H, T, ceil(max_blocks / plan.superblock)] fp32, any strides: filled with the
            best score in each superblock, which `minimax_m3_index_topk` uses.
        product: `exact`, or `fp8`: e4m3 queries and keys go to the GPU's unit for them, of which Hopper's may select
            other blocks (`msa_fast.ops.product`).

    Returns:
        [H, T, max_blocks] fp32: the greatest dot product over a block's visible tokens, -inf where
        all are NaN. Entries of blocks that a row does not see are not specified.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_plan(plan, batch)
    check_product(product, batch)
    score = new_score(batch, is_block_major=True) if out is None else out
    check_score(score, batch)
    if superblock_score is not None:
        check_score(superblock_score, batch, plan.superblock)
    launch_slab_score(batch, plan, plan.whole, score, superblock_score, product=product)
    return score


def scorer_of(
    batch: PagedBatch,
    plan: PrefillPlan,
    score: torch.Tensor | None,
    superblock_score: torch.Tensor | None,
    product: str,
) -> PrefillScorer:
    """The scorer that serves a call. score: None if it will lie in vectors, in either way."""
    scorers = PREFILL_SCORERS if product == "exact" else NATIVE_SCORERS
    return next(scorer for scorer in scorers if scorer.is_served(batch, plan, score, superblock_score))


def launch_slab_score(
    batch: PagedBatch,
    plan: PrefillPlan,
    slab: Slab,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None = None,
    *,
    is_followed: bool = False,
    product: str = "exact",
) -> Launched | None:
    """Launch the scorer that serves a call, on checked arguments, for the tokens of a slab.

    score, superblock_score: begin with the slab's first token, and have room for its tokens and for as
    many blocks as any row sees. is_followed: the selection waits for the scores on the GPU.
    """
    tiles = plan.score_tiles[slab.score_tiles]
    if len(tiles) == 0:
        return None
    scorer = scorer_of(batch, plan, score, superblock_score, product)
    return scorer.launch_score(batch, plan, tiles, slab.first_token, score, superblock_score, is_followed)

"""Prefill: block scores, then the selection, in a workspace of bounded size.

Without superblocks, scores lie row by row, in vectors, and decode's selection reads them all. With superblocks, their
best scores say which few of the scores are read.
"""

import torch

from msa_fast.ops.buffers import new_score, new_vector_score, own_out
from msa_fast.ops.checks import check_batch
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.launching import Launched
from msa_fast.ops.nvidia import warp_topk
from msa_fast.ops.prefill_plan import PrefillPlan, check_plan, scores_of_row
from msa_fast.ops.product import check_product
from msa_fast.ops.score import launch_slab_score, scorer_of
from msa_fast.ops.topk import launch_slab_topk
from msa_ref.batch import PagedBatch


def minimax_m3_index_prefill(
    batch: PagedBatch, plan: PrefillPlan, out: torch.Tensor | None = None, product: str = "exact"
) -> torch.Tensor:
    """Scores and selection of a prefill batch: two launches a slab.

    Allocates room for the scores of the plan's largest slab, which all slabs use in turn: at most
    the `workspace_bytes` of `PrefillPlan.build` (by default 512 MiB), unless one query tile takes more.

    Args:
        batch, plan, product: as `minimax_m3_index_score` takes them.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_plan(plan, batch)
    check_product(product, batch)
    out = own_out(out, batch)
    launch_prefill(batch, plan, out, *prefill_scores(batch, plan, product), product=product)
    return out[:, : batch.total_q]


def has_vectors(batch: PagedBatch, plan: PrefillPlan) -> bool:
    """True if the scores of a batch lie in vectors: by architecture and shapes alone."""
    return plan.superblock == 1 and warp_topk.is_served(batch, plan.max_row_blocks)


def prefill_scores(batch: PagedBatch, plan: PrefillPlan, product: str = "exact") -> tuple[torch.Tensor, ...]:
    """Memory for the block scores of the plan's largest slab, and for the best scores of superblocks, if it has any.

    It lies as the scorer that serves the call would have it. product: as `minimax_m3_index_prefill` takes it.
    """
    num_tokens = max((slab.num_tokens for slab in plan.slabs), default=0)
    if has_vectors(batch, plan):
        num_blocks = scores_of_row(plan.max_row_blocks, plan.superblock)
        is_interleaved = scorer_of(batch, plan, None, None, product).IS_INTERLEAVED
        return (new_vector_score(batch, is_interleaved, num_tokens=num_tokens, num_blocks=num_blocks),)
    if plan.superblock == 1:
        return (new_score(batch, num_tokens=num_tokens, num_blocks=plan.max_row_blocks),)
    # All block scores are written and few are read, so they have the layout of the writer; best scores that of the
    # reader.
    score = new_score(batch, is_block_major=True, num_tokens=num_tokens, num_blocks=plan.max_row_blocks)
    return score, new_score(batch, plan.superblock, num_tokens=num_tokens, num_blocks=plan.max_row_blocks)


def launch_prefill(
    batch: PagedBatch,
    plan: PrefillPlan,
    out: torch.Tensor,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None = None,
    *,
    product: str = "exact",
) -> list[Launched]:
    """Launch on checked arguments, with scores of `prefill_scores`. Returns what was launched."""
    launches: list[Launched | None] = []
    start = SelectionStart.BEHIND
    if has_vectors(batch, plan):
        start = scorer_of(batch, plan, score, superblock_score, product).SELECTION_START
    for slab in plan.slabs:
        launches.append(
            launch_slab_score(batch, plan, slab, score, superblock_score, is_followed=bool(start), product=product)
        )
        if launches[-1] is None:  # the kernel before may be anyone's, which lets the next one start at any time
            start = SelectionStart.BEHIND
        if has_vectors(batch, plan):
            launches.append(warp_topk.launch_prefill_topk(score, batch, plan, slab, out, start))
        else:
            launches.append(launch_slab_topk(batch, plan, slab, score, superblock_score, out))
    return [launch for launch in launches if launch is not None]

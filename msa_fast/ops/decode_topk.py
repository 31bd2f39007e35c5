"""Decode's selection: the kernel that serves a batch, and the operator that selects from any scores."""

import torch

from msa_fast.ops import topk
from msa_fast.ops.buffers import SCORE_VECTOR, new_vector_score, own_out
from msa_fast.ops.checks import check_batch, check_decode, check_score
from msa_fast.ops.dispatch import DecodeSelection
from msa_fast.ops.nvidia import warp_topk
from msa_ref.batch import PagedBatch

DECODE_SELECTIONS: tuple[DecodeSelection, ...] = (warp_topk, topk)
"""Asked in order; the first that serves a batch selects."""


def decode_selection(batch: PagedBatch) -> DecodeSelection:
    """The selection that serves a decode batch."""
    return next(selection for selection in DECODE_SELECTIONS if selection.is_served(batch))


def minimax_m3_index_decode_topk(
    score: torch.Tensor, batch: PagedBatch, decode_query_len: int, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Select as decode does, from scores that another scorer left.

    For testing: the scores are copied to where decode keeps its own, with -inf behind each row's last
    visible block as far as the selection reads, which makes this slower than `minimax_m3_index_decode`.

    Args:
        score: [H, T, max_blocks] fp32, any strides; only entries of visible blocks count. NaN counts as -inf.
        batch: the batch scored; its lengths say what each row sees.
        decode_query_len, out: as `minimax_m3_index_decode` takes them.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_decode(decode_query_len, batch.num_reqs, batch.total_q, batch.max_blocks)
    check_score(score, batch)
    out = own_out(out, batch)
    if batch.total_q:
        selection = decode_selection(batch)
        own = new_vector_score(batch, selection.is_interleaved(batch))
        rows = own.new_empty(*own.shape[:2], own.shape[2] * SCORE_VECTOR)
        rows[..., : batch.max_blocks] = score.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        num_visible = batch.num_visible_blocks()[:, None]
        block = torch.arange(rows.shape[2], device=rows.device)
        is_read = (num_visible <= block) & (block < -(-num_visible // SCORE_VECTOR) * SCORE_VECTOR)
        own.copy_(rows.masked_fill_(is_read, -torch.inf).view(own.shape))
        rows_per_req = decode_query_len * batch.config.num_index_heads
        selection.launch_decode_topk(own, batch, out, rows_per_req, is_early=False)
    return out[:, : batch.total_q]

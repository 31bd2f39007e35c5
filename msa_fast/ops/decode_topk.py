"""Decode's selection: from the scores that a decode scorer leaves, or from any."""

import torch

from msa_fast.ops.checks import SCORE_VECTOR, check_batch, check_decode, new_decode_score, own_out
from msa_fast.ops.hopper import topk as hopper_topk
from msa_fast.ops.launch_table import TOPK_ROWS, architecture_of, number
from msa_fast.ops.score import check_score
from msa_fast.ops.topk import launch_topk
from msa_ref.batch import PagedBatch


def minimax_m3_index_decode_topk(
    score: torch.Tensor, batch: PagedBatch, decode_query_len: int, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Select as decode does, from scores that another scorer left.

    They are copied to where decode keeps its own, with -inf behind each row's last visible block as far
    as the selection reads: this shows what the kernel does, and is not how decode is fast.

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
        own = new_decode_score(batch, hopper_topk.is_interleaved(batch))
        rows = own.new_empty(*own.shape[:2], own.shape[2] * SCORE_VECTOR)
        rows[..., : batch.max_blocks] = score.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        num_visible = batch.num_visible_blocks()[:, None]
        block = torch.arange(rows.shape[2], device=rows.device)
        is_read = (num_visible <= block) & (block < -(-num_visible // SCORE_VECTOR) * SCORE_VECTOR)
        own.copy_(rows.masked_fill_(is_read, -torch.inf).view(own.shape))
        launch_decode_topk(own, batch, out, decode_query_len * batch.config.num_index_heads, is_early=False)
    return out[:, : batch.total_q]


def launch_decode_topk(
    score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool
) -> None:
    """Launch on checked arguments, with scores as decode leaves them: [H, T, V, SCORE_VECTOR], of `new_decode_score`.

    is_early: the scorer may still run.
    """
    if hopper_topk.is_served(batch):
        hopper_topk.launch_topk(score, batch, out, rows_per_req, is_early)
        return
    launch_topk(
        score.flatten(2),
        batch,
        out,
        number(TOPK_ROWS, architecture_of(batch.device)),
        batch.max_blocks,
        most_rows=rows_per_req,
        score_vector=SCORE_VECTOR,
        is_early=is_early,
    )

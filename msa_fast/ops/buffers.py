"""Tensors that launchers allocate: outputs and scores, with strides that compile each kernel once."""

import torch

from msa_fast.ops.checks import check_out
from msa_ref.batch import PagedBatch

ALIGNMENT = 16
"""Elements that rows of scores are padded to: Triton compiles for strides that this divides."""
SCORE_VECTOR = 4
"""Scores that the selection reads at once, 16 bytes. A scorer writes -inf behind a request's last block, up to a
multiple of this."""


def own_out(out: torch.Tensor | None, batch: PagedBatch) -> torch.Tensor:
    """The output that a caller gave, checked, or a new one, [H, T, K] int32, head-major, yet to be written.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    if out is None:
        config = batch.config
        shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
        return torch.empty(shape, dtype=torch.int32, device=batch.device)
    check_out(out, batch)
    return out


def new_score(
    batch: PagedBatch,
    blocks_each: int = 1,
    is_block_major: bool = False,
    num_tokens: int | None = None,
    num_blocks: int | None = None,
) -> torch.Tensor:
    """Memory for the block scores of a batch: a [H, num_tokens, ceil(num_blocks / blocks_each)] fp32 view.

    is_block_major: the scores of many rows for one block lie side by side, as a prefill program stores
    them; else the scores of one row do, as the selection reads them. Rows are padded so that the strides
    of every batch have one alignment, and a kernel is compiled once. num_tokens, num_blocks: by default
    those of the batch.
    """
    num_tokens = batch.total_q if num_tokens is None else num_tokens
    num_blocks = batch.max_blocks if num_blocks is None else num_blocks
    heads, num_scores = batch.config.num_index_heads, -(-num_blocks // blocks_each)
    if is_block_major:
        shape = (num_scores, aligned(num_tokens), heads)
        return torch.empty(shape, dtype=torch.float32, device=batch.device)[:, :num_tokens].permute(2, 1, 0)
    shape = (num_tokens, heads, aligned(num_scores))
    return torch.empty(shape, dtype=torch.float32, device=batch.device)[..., :num_scores].transpose(0, 1)


def new_vector_score(
    batch: PagedBatch, is_interleaved: bool = False, num_tokens: int | None = None, num_blocks: int | None = None
) -> torch.Tensor:
    """Memory for block scores in vectors: a [H, num_tokens, ceil(num_blocks / SCORE_VECTOR), SCORE_VECTOR] fp32 view.

    is_interleaved: the vectors of all rows for the same blocks lie side by side, so that a program stores
    one block's scores to few cache lines; else the vectors of one row do, which the selection reads in
    fewer steps. num_tokens, num_blocks, padding: as `new_score`.
    """
    num_tokens = batch.total_q if num_tokens is None else num_tokens
    num_vectors = aligned(batch.max_blocks if num_blocks is None else num_blocks) // SCORE_VECTOR
    heads, device = batch.config.num_index_heads, batch.device
    if is_interleaved:
        shape = (num_vectors, aligned(num_tokens), heads, SCORE_VECTOR)
        return torch.empty(shape, dtype=torch.float32, device=device)[:, :num_tokens].permute(2, 1, 0, 3)
    shape = (num_tokens, heads, num_vectors, SCORE_VECTOR)
    return torch.empty(shape, dtype=torch.float32, device=device).transpose(0, 1)


def aligned(size: int) -> int:
    """The size rounded up to a multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT

"""The whole batch: score every request's blocks, select the best of every row."""

from collections.abc import Iterator
from itertools import pairwise

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD
from msa_ref.score import block_scores
from msa_ref.select import select_blocks

MAX_TOKEN_SCORES = 2**27
"""Token scores held at once, 1 GiB of float64: bounds the memory of long requests."""


def row_chunks(batch: PagedBatch, max_token_scores: int) -> Iterator[tuple[int, int, int, slice]]:
    """Cut a batch into chunks of query tokens of one request, small enough to score at once. Synchronizes.

    Yields:
        (req, first_token, last_token, rows): tokens counted within the request, rows of total_q.
    """
    config = batch.config
    cu_seqlens_q, seq_lens = batch.cu_seqlens_q.tolist(), batch.seq_lens.tolist()
    for req, (start, stop) in enumerate(pairwise(cu_seqlens_q)):
        key_tokens = config.num_blocks(seq_lens[req]) * config.block_size
        step = max(1, max_token_scores // max(1, config.num_index_heads * key_tokens))
        for first in range(0, stop - start, step):
            last = min(first + step, stop - start)
            yield req, first, last, slice(start + first, start + last)


def scored_chunks(batch: PagedBatch, max_token_scores: int = MAX_TOKEN_SCORES) -> Iterator[tuple[slice, torch.Tensor]]:
    """Walk a batch in chunks of query tokens of one request. Synchronizes.

    Yields:
        (rows, score): which rows of total_q, and their scores [H, rows, n] float64, n the visible
        blocks of the last of them.
    """
    for req, first, last, rows in row_chunks(batch, max_token_scores):
        yield rows, block_scores(batch, req, first, last)


def index_topk(batch: PagedBatch, max_token_scores: int = MAX_TOKEN_SCORES) -> torch.Tensor:
    """The right answer for a batch. Slow, dense, on whatever device the batch lives on.

    Args:
        batch: a valid batch (see `PagedBatch.validate`).
        max_token_scores: how many token scores to hold at once; changes memory, and the answer only
            where two scores differ by less than float64 rounds.

    Returns:
        topk_idx [H, T, K] int32: selected block ids ascending, then PAD.
    """
    config = batch.config
    num_visible_blocks = batch.num_visible_blocks()
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    topk_idx = torch.full(shape, PAD, dtype=torch.int32, device=batch.device)
    for rows, score in scored_chunks(batch, max_token_scores):
        topk_idx[:, rows] = select_blocks(score, num_visible_blocks[rows], config)
    return topk_idx

"""The whole batch: score every request's blocks, select the best of every row."""

from collections.abc import Iterator
from itertools import pairwise
from math import prod

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD
from msa_ref.score import block_scores
from msa_ref.select import select_blocks

MAX_TOKEN_SCORES = 2**27
"""Token scores held at once: 1 GiB of float64. It bounds the memory of long requests."""

CACHED_NUMBERS = 2**18
"""Float64 numbers of one computation that several requests share on a CPU. Larger requests run faster one by one,
because the caches hold no more."""


def row_chunks(batch: PagedBatch, max_token_scores: int) -> Iterator[slice]:
    """Cut a batch into stretches of query tokens, few enough to score at once. Synchronizes.

    Neighbouring small requests share a stretch, padded to the longest of them: one by one, many of them
    would be slow.

    Yields:
        rows of total_q, in order: of one request, max_token_scores token scores or one row, or of
        several, which with their padding have at most as many token scores, and numbers in keys.
    """
    config, start, stretch = batch.config, 0, (0, 0, 0)
    max_shared = min(max_token_scores, CACHED_NUMBERS) if batch.device.type == "cpu" else max_token_scores
    for first, last, keys in _pieces(batch, max_token_scores):
        num_reqs, max_numbers, max_keys = stretch
        numbers = max(config.num_index_heads * (last - first), config.index_head_dim)  # for each key
        stretch = num_reqs + 1, max(max_numbers, numbers), max(max_keys, keys)
        if num_reqs and prod(stretch) > max_shared:
            yield slice(start, first)
            start, stretch = first, (1, numbers, keys)
    if batch.total_q:
        yield slice(start, batch.total_q)


def _pieces(batch: PagedBatch, max_token_scores: int) -> Iterator[tuple[int, int, int]]:
    """(first, last, keys) of one request each: rows first .. last - 1 of total_q, and keys to score."""
    for (start, stop), seq_len in zip(pairwise(batch.cu_seqlens_q.tolist()), batch.seq_lens.tolist(), strict=True):
        keys = batch.config.num_blocks(seq_len) * batch.config.block_size
        step = max(1, max_token_scores // max(1, batch.config.num_index_heads * keys))
        for first in range(start, stop, step):
            yield first, min(first + step, stop), keys


def scored_chunks(batch: PagedBatch, max_token_scores: int = MAX_TOKEN_SCORES) -> Iterator[tuple[slice, torch.Tensor]]:
    """Walk a batch in stretches of query tokens (see `row_chunks`). Synchronizes.

    Yields:
        (rows, score): which rows of total_q, and their scores [H, rows, n] float64, where n is the greatest
        number of blocks that one of them sees.
    """
    for rows in row_chunks(batch, max_token_scores):
        yield rows, block_scores(batch, rows)


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

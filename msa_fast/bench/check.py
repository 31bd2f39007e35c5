"""Is what was timed right? The same shape on a lattice, exact against the reference on sampled rows."""

from dataclasses import replace

import torch

from msa_ref.batch import PagedBatch
from msa_ref.score import block_scores
from msa_ref.select import select_blocks

SAMPLES = 4
SAMPLE_TOKENS = 32


def on_lattice(batch: PagedBatch) -> PagedBatch:
    """The batch with its values rounded to small integers, so that every sum is exact in fp32."""
    return replace(
        batch,
        index_q=(batch.index_q * 2).round().clamp(-8, 8),
        index_k_pages=(batch.index_k_pages * 2).round().clamp(-8, 8),
    )


def wrong_rows(batch: PagedBatch, topk_idx: torch.Tensor) -> int:
    """Rows that differ from the reference, of sampled requests and sampled stretches of tokens."""
    num_visible_blocks = batch.num_visible_blocks()
    wrong = 0
    for req in _spread(batch.num_reqs):
        start, stop = batch.cu_seqlens_q[req : req + 2].tolist()
        for first in _spread(max(1, stop - start - SAMPLE_TOKENS + 1)):
            last = min(first + SAMPLE_TOKENS, stop - start)
            rows = slice(start + first, start + last)
            expected = select_blocks(block_scores(batch, rows), num_visible_blocks[rows], batch.config)
            wrong += int((topk_idx[:, rows] != expected).any(-1).sum())
    return wrong


def _spread(size: int) -> list[int]:
    """Up to SAMPLES indices below size, the first and the last among them."""
    return sorted({round(i * (size - 1) / (SAMPLES - 1)) for i in range(SAMPLES)})

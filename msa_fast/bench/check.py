"""Checks sampled rows of a timed batch: exact on a lattice, within certified intervals on the inputs as timed."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from msa_ref import nvfp4
from msa_ref.batch import PagedBatch
from msa_ref.certified import block_intervals
from msa_ref.contract import selections
from msa_ref.precision import bound_for, hopper_fp8
from msa_ref.profile import CONTRACT
from msa_ref.rows import broken_rows
from msa_ref.score import block_scores
from msa_ref.select import select_blocks

ONE_E4M3 = 0x38
"""The code of 1."""
SAMPLES = 4
"""Number of requests, and of places in each, that are sampled."""
SAMPLE_TOKENS = 32
"""Query tokens sampled at one place."""


def on_lattice(batch: PagedBatch) -> PagedBatch:
    """A copy of the batch with values rounded to small integers, so that every sum is exact in fp32.

    NVFP4 keys get the scale 1 instead: their elements are multiples of 1/2 then.
    """

    def rounded(values: torch.Tensor) -> torch.Tensor:
        wide = values.to(torch.bfloat16) if values.element_size() == 1 else values
        return (wide * 2).round().clamp(-8, 8).to(values.dtype)

    if batch.index_k_pages.dtype == torch.uint8:
        pages = batch.index_k_pages.clone()
        nvfp4.apart(pages)[1].fill_(ONE_E4M3)
    else:
        pages = rounded(batch.index_k_pages)
    return replace(batch, index_q=rounded(batch.index_q), index_k_pages=pages)


def wrong_rows(batch: PagedBatch, topk_idx: torch.Tensor) -> int:
    """The number of sampled rows that differ from the reference; for a batch on a lattice."""
    num_visible_blocks = batch.num_visible_blocks()
    wrong = 0
    for rows in sampled(batch):
        expected = select_blocks(block_scores(batch, rows), num_visible_blocks[rows], batch.config)
        wrong += int((topk_idx[:, rows] != expected).any(-1).sum())
    return wrong


def impossible_rows(batch: PagedBatch, topk_idx: torch.Tensor, product: str = "exact") -> int:
    """The number of sampled rows that no correct kernel writes, whatever the order of its sums; for any batch.

    product: a name of `msa_fast.ops.product.PRODUCTS`. `fp8` may lose what Hopper's unit does.
    """
    dim = batch.config.index_head_dim
    bound = hopper_fp8(dim) if product == "fp8" else bound_for(batch.index_q.dtype, dim)
    intervals = ((rows, *block_intervals(batch, rows, bound)) for rows in sampled(batch))
    return sum(int(broken_rows(selection).sum()) for _, selection in selections(batch, topk_idx, intervals, CONTRACT))


def sampled(batch: PagedBatch) -> Iterator[slice]:
    """Stretches of query tokens, spread evenly over requests and places, both ends included."""
    for req in _spread(batch.num_reqs):
        start, stop = batch.cu_seqlens_q[req : req + 2].tolist()
        for first in _spread(max(1, stop - start - SAMPLE_TOKENS + 1)):
            yield slice(start + first, start + min(first + SAMPLE_TOKENS, stop - start))


def _spread(size: int) -> list[int]:
    """Up to SAMPLES indices below size, with the first and the last."""
    return sorted({round(i * (size - 1) / (SAMPLES - 1)) for i in range(SAMPLES)})

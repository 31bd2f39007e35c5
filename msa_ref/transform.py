"""Batches made from a batch, whose right answers follow from its own: the batch laws compare them.

Each returns a new batch and leaves the old one alone. All of them look at values and synchronize.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from msa_ref.batch import PagedBatch


def take_requests(batch: PagedBatch, reqs: Sequence[int]) -> tuple[PagedBatch, torch.Tensor]:
    """The requests `reqs` in that order, on the same pages.

    Returns:
        (batch, rows): rows [T'] int64, which row of the old total_q each query token was.
    """
    picked = torch.tensor(list(reqs), dtype=torch.int64, device=batch.device)
    query_lens = batch.query_lens()[picked]
    return _windows(batch, picked, torch.zeros_like(query_lens), query_lens)


def query_window(batch: PagedBatch, first: torch.Tensor, last: torch.Tensor) -> tuple[PagedBatch, torch.Tensor]:
    """Only query tokens first .. last - 1 of each request, as if the later ones had not been written yet.

    Args:
        first, last: [B] int64, counted within each request, 0 <= first <= last <= query_len.

    Returns:
        (batch, rows): rows [T'] int64, which row of the old total_q each query token was.
    """
    return _windows(batch, torch.arange(batch.num_reqs, device=batch.device), first, last)


def _windows(
    batch: PagedBatch, reqs: torch.Tensor, first: torch.Tensor, last: torch.Tensor
) -> tuple[PagedBatch, torch.Tensor]:
    """Query tokens first .. last - 1 of each of `reqs`, all three [B'] int64."""
    start = batch.cu_seqlens_q.long()[reqs]
    windows = zip((start + first).tolist(), (start + last).tolist(), strict=True)
    rows = torch.tensor([row for window in windows for row in range(*window)], dtype=torch.int64, device=batch.device)
    # Behind a request whose last kept token sees nothing stands a length below zero: nothing either.
    seq_lens = ((batch.seq_lens.long() - batch.query_lens())[reqs] + last).clamp(min=0).int()
    cu_seqlens_q = torch.nn.functional.pad((last - first).cumsum(0), (1, 0)).int()
    new = replace(
        batch,
        index_q=batch.index_q[rows],
        block_table=batch.block_table[reqs],
        seq_lens=seq_lens,
        cu_seqlens_q=cu_seqlens_q,
    )
    return new, rows


def relabel_pages(batch: PagedBatch, seed: int) -> PagedBatch:
    """The same keys on other pages, shuffled."""
    return _labelled(batch, torch.randperm(batch.num_pages, generator=torch.Generator().manual_seed(seed)))


def exchange_pages(batch: PagedBatch) -> PagedBatch:
    """The same keys on other pages: each page's on one that as many blocks lie in, as far as there is one."""
    live = batch.block_table[live_entries(batch)].long()
    order = torch.bincount(live, minlength=batch.num_pages).argsort(stable=True)
    label = torch.empty_like(order)
    label[order] = order.roll(1)
    return _labelled(batch, label)


def _labelled(batch: PagedBatch, label: torch.Tensor) -> PagedBatch:
    """The same keys, those of page p on page label[p]; live block-table entries follow, dead ones stay."""
    label = label.to(batch.device)
    pages = torch.empty_like(batch.index_k_pages)
    pages[label] = batch.index_k_pages
    block_table, is_live = batch.block_table.clone(), live_entries(batch)
    block_table[is_live] = label[block_table[is_live].long()].int()
    return replace(batch, index_k_pages=pages, block_table=block_table)


def poison(batch: PagedBatch, value: float, entry: int) -> PagedBatch:
    """The same batch with `value` in every key slot that holds no token, and `entry` in every dead table entry.

    A format without infinities has its greatest number in place of one.
    """
    pages, block_table = batch.index_k_pages.clone(), batch.block_table.clone()
    pages[~batch.live_slots()] = batch.key_format.vector(value, batch.config.index_head_dim).to(pages.device)
    block_table[~live_entries(batch)] = entry
    return replace(batch, index_k_pages=pages, block_table=block_table)


def live_entries(batch: PagedBatch) -> torch.Tensor:
    """[B, max_blocks] bool, block-table entries of blocks that hold a token."""
    num_blocks = batch.config.num_blocks(batch.seq_lens)
    return torch.arange(batch.max_blocks, device=batch.device) < num_blocks[:, None]

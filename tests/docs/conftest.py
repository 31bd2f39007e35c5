"""The foreign engine that the documents' adapters call, and an end to what their code sets."""

import sys
import types
from collections.abc import Iterator

import pytest
import torch


def my_index_topk(index_q, index_k_pages, block_table, seq_lens, cu_seqlens_q, topk):
    """Token-major ids, best score first, made from the reference's scores."""
    from msa_ref import IndexerConfig, PagedBatch, forced_mask, index_topk
    from msa_ref.indexer import scored_chunks

    heads, dim, size = *index_q.shape[1:], index_k_pages.shape[1]
    config = IndexerConfig(heads, dim, size, topk, local_blocks=min(1, topk))
    batch = PagedBatch(config, index_q, index_k_pages, block_table, seq_lens, cu_seqlens_q)
    topk_idx = index_topk(batch)
    for rows, score in scored_chunks(batch):
        chosen = topk_idx[:, rows].long()
        forced = forced_mask(batch.num_visible_blocks()[rows], score.shape[-1], config)
        rank = score.masked_fill(forced, torch.inf).gather(-1, chosen.clamp(min=0))
        order = rank.masked_fill(chosen < 0, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        topk_idx[:, rows] = topk_idx[:, rows].gather(-1, order)
    return topk_idx.transpose(0, 1).contiguous()


@pytest.fixture(autouse=True)
def _my_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from my_engine import my_index_topk` works in the documents' code."""
    module = types.ModuleType("my_engine")
    module.my_index_topk = my_index_topk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_engine", module)


@pytest.fixture(autouse=True)
def _own_default_device() -> Iterator[None]:
    """A document's choice of torch's default device ends with its test."""
    yield
    torch.set_default_device(None)

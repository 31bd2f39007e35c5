"""The foreign engine that the documents' adapters call, slow and right, and an end to what their code sets."""

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


def my_topk(score, num_blocks, topk):
    """Best score first, the last block of a row behind all others; a short row ascending; -1 behind the ids."""
    heads, tokens, _ = score.shape
    ids = torch.full((heads, tokens, topk), -1, dtype=torch.int32)
    for head in range(heads):
        for token, n in enumerate(num_blocks.tolist()):
            ranked = score[head, token, : max(0, n - 1)].sort(descending=True, stable=True).indices[: topk - 1]
            row = ranked.tolist() + [n - 1] * (n > 0)
            ids[head, token, : len(row)] = torch.tensor(sorted(row) if n <= topk else row, dtype=torch.int32)
    return ids


class MyDecoder:
    """Decode in buffers that it keeps. `score`: of its last run, times a factor, with a sentinel for the last block."""

    def __init__(self, index_q, index_k_pages, block_table, seq_lens):
        self.inputs = index_q, index_k_pages, block_table, seq_lens

    def run(self, decode_query_len):
        from msa_ref import IndexerConfig, PagedBatch
        from msa_ref.indexer import scored_chunks

        index_q, pages, table, seq_lens = self.inputs
        config = IndexerConfig(index_q.shape[1], *pages.shape[:0:-1])
        cu_seqlens_q = decode_query_len * torch.arange(len(seq_lens) + 1, dtype=torch.int32)
        batch = PagedBatch(config, index_q, pages, table, seq_lens, cu_seqlens_q)
        n = batch.num_visible_blocks()
        self.score = torch.zeros(config.num_index_heads, batch.total_q, batch.max_blocks)
        for rows, score in scored_chunks(batch):
            self.score[:, rows, : score.shape[-1]] = score.float() * 128**-0.5
        ids = my_topk(self.score, n, config.topk_blocks)
        self.score[:, torch.arange(len(n)), (n - 1).clamp(min=0)] = torch.inf
        return ids


def my_index_decode(index_q, index_k_pages, block_table, seq_lens, decode_query_len):
    return MyDecoder(index_q, index_k_pages, block_table, seq_lens).run(decode_query_len)


class MyMetadataBuilder:
    """A builder whose metadata is the step itself."""

    def __init__(self, config, device, max_num_reqs, max_model_len, num_speculative_tokens):
        self.limits = max_num_reqs, max_model_len

    def build(self, common_prefix_len, common_attn_metadata):
        assert common_attn_metadata.num_reqs <= self.limits[0]
        assert common_attn_metadata.max_seq_len <= self.limits[1]
        return common_attn_metadata


class MyIndexerImpl:
    """The reference, which writes into an engine's buffer."""

    def __init__(self, config, topk_indices_buffer):
        self.config, self.buffer = config, topk_indices_buffer

    def forward(self, index_query, index_k_pages, step):
        from msa_ref import PagedBatch, index_topk

        num_tokens = int(step.query_start_loc[-1])
        queries, rows = index_query[:num_tokens], self.buffer[:, :num_tokens]
        batch = PagedBatch(
            self.config, queries, index_k_pages, step.block_table_tensor, step.seq_lens, step.query_start_loc
        )
        return rows.copy_(index_topk(batch))


@pytest.fixture(autouse=True)
def _my_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from my_engine import my_index_topk` works in the documents' code, as do its other names."""
    module = types.ModuleType("my_engine")
    for thing in (my_index_topk, my_topk, my_index_decode, MyDecoder, MyMetadataBuilder, MyIndexerImpl):
        setattr(module, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, "my_engine", module)


@pytest.fixture(autouse=True)
def _own_default_device() -> Iterator[None]:
    """A document's choice of torch's default device ends with its test."""
    yield
    torch.set_default_device(None)

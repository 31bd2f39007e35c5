"""Small batches for tests of the kernels, and prefill in one call."""

import torch

from msa_fast import PrefillPlan, minimax_m3_index_prefill
from msa_ref import IndexerConfig, PagedBatch


def make_batch(config: IndexerConfig, query_lens, seq_lens, dtype, device, seed=0) -> PagedBatch:
    """Small integers, so that every sum is exact; pages in random order; garbage behind live entries."""
    generator = torch.Generator().manual_seed(seed)
    num_blocks = [config.num_blocks(seq_len) for seq_len in seq_lens]
    order = torch.randperm(sum(num_blocks) + 3, generator=generator).int()
    page_shape = (len(order), config.block_size, config.index_head_dim)
    q_shape = (sum(query_lens), config.num_index_heads, config.index_head_dim)
    table = torch.full((len(query_lens), max(num_blocks) + 2), 2**31 - 1, dtype=torch.int32)
    for req, pages in enumerate(order.split([*num_blocks, 3])[:-1]):
        table[req, : len(pages)] = pages
    tensors = (
        torch.randint(-3, 4, q_shape, generator=generator).to(dtype),
        torch.randint(-3, 4, page_shape, generator=generator).to(dtype),
        table,
        torch.tensor(seq_lens, dtype=torch.int32),
        torch.tensor([0, *query_lens]).cumsum(0).int(),
    )
    return PagedBatch(config, *(tensor.to(device) for tensor in tensors)).validate()


def prefill(batch: PagedBatch, query_lens, seq_lens, out=None, num_splits=None) -> torch.Tensor:
    plan = PrefillPlan.build(batch.config, query_lens, seq_lens, batch.device, num_splits)
    return minimax_m3_index_prefill(batch, plan, out)

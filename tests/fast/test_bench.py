"""The bench says what is wrong with what it timed."""

import torch

from msa_fast.bench.check import impossible_rows, on_lattice, sampled, wrong_rows
from msa_ref import IndexerConfig, index_topk
from msa_ref.batch import PagedBatch

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)


def test_rows_are_sampled_from_both_ends_of_first_and_last_requests(device: str) -> None:
    batch = _batch(device)
    rows = {token for part in sampled(batch) for token in range(part.start, part.stop)}
    assert {0, 99, 100, batch.total_q - 1} <= rows


def test_a_wrong_row_is_counted_on_a_lattice_and_an_impossible_one_anywhere(device: str) -> None:
    batch = _batch(device)
    lattice = on_lattice(batch)
    for checked, count in ((lattice, wrong_rows), (lattice, impossible_rows), (batch, impossible_rows)):
        topk_idx = index_topk(checked)
        assert count(checked, topk_idx) == 0
        topk_idx[1, 99] = -1
        topk_idx[0, 100, 0] += 1
        assert count(checked, topk_idx) == 2


def _batch(device: str) -> PagedBatch:
    """Two requests, 100 new tokens of 200 and 3 of 170, with normal values."""
    generator = torch.Generator().manual_seed(0)
    return PagedBatch(
        CONFIG,
        index_q=torch.randn(103, 2, 16, generator=generator).bfloat16().to(device),
        index_k_pages=torch.randn(26, 16, 16, generator=generator).bfloat16().to(device),
        block_table=torch.randperm(26, generator=generator).int().reshape(2, 13).to(device),
        seq_lens=torch.tensor([200, 170], dtype=torch.int32, device=device),
        cu_seqlens_q=torch.tensor([0, 100, 103], dtype=torch.int32, device=device),
    )

"""Attention over a selection: dense attention when all is selected, and nothing else is read."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref.walkthrough.attention import attend, block_sparse_attention, dense_attention


def operands(seed: int, tokens: int, length: int, heads: int = 2, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(tokens, heads, 3, 4, generator=generator, dtype=dtype)
    return query, *(torch.randn(length, heads, dim, generator=generator, dtype=dtype) for dim in (4, 5))


def all_blocks(heads: int, tokens: int, length: int, block_size: int, slots: int) -> torch.Tensor:
    """Every block that each query token sees, then PAD."""
    topk_idx = torch.full((heads, tokens, slots), -1, dtype=torch.int32)
    for token in range(tokens):
        n = -(-(length - tokens + token + 1) // block_size)
        topk_idx[:, token, :n] = torch.arange(n)
    return topk_idx


def test_attention_worked_by_hand():
    # equal scores are equal weights, and a score 2000 below has none: (4 + 8) / 2 = 6
    query, keys = torch.tensor([1.0]), torch.tensor([[3.0], [3.0], [-1997.0]])
    assert attend(query, keys, torch.tensor([[4.0], [8.0], [1e9]]), scale=1.0).tolist() == [6.0]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 999), tokens=st.integers(1, 4), context=st.integers(0, 9), block_size=st.integers(1, 4))
def test_sparse_attention_over_every_block_is_dense_attention(seed, tokens, context, block_size):
    length = tokens + context
    query, key, value = operands(seed, tokens, length)
    topk_idx = all_blocks(2, tokens, length, block_size, slots=length + 1)
    sparse = block_sparse_attention(query, key, value, 0.5, topk_idx, block_size)
    assert torch.equal(sparse, dense_attention(query, key, value, 0.5))


def test_keys_of_blocks_that_were_left_out_do_not_matter():
    query, key, value = operands(0, 1, 8)
    topk_idx = torch.tensor([[[0, 3]], [[1, 3]]], dtype=torch.int32)
    before = block_sparse_attention(query, key, value, 0.5, topk_idx, 2)
    key[2:6, 0], value[2:6, 0] = torch.nan, torch.nan  # blocks 1 and 2 of head 0
    key[0:2, 1], key[4:6, 1] = torch.nan, torch.nan  # blocks 0 and 2 of head 1
    assert torch.equal(block_sparse_attention(query, key, value, 0.5, topk_idx, 2), before)


def test_the_future_does_not_matter_even_inside_a_selected_block():
    query, key, value = operands(0, 2, 4)
    topk_idx = torch.tensor([[[0, 1], [0, 1]]] * 2, dtype=torch.int32)
    before = block_sparse_attention(query, key, value, 0.5, topk_idx, 2)[0]
    key[3], value[3] = torch.nan, torch.nan  # token 3 shares block 1 with token 2, the first query
    assert torch.equal(block_sparse_attention(query, key, value, 0.5, topk_idx, 2)[0], before)


def test_a_row_that_selects_nothing_gives_zeros():
    query, key, value = operands(0, 1, 4)
    nothing = torch.full((2, 1, 2), -1, dtype=torch.int32)
    assert torch.equal(block_sparse_attention(query, key, value, 0.5, nothing, 2), torch.zeros(1, 2, 3, 5))

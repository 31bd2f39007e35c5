"""The reference agrees with a second, naive reading of the contract."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import index_topk as naive_topk
from naive import select as naive_select
from ref_batches import batches

from msa_ref import IndexerConfig, index_topk, select_blocks
from msa_ref.contract import judge

MANY = settings(max_examples=3000, deadline=None)
SCORES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, float("inf"), float("-inf"), 3.4e38, -3.4e38])


@MANY
@given(batch=batches())
def test_index_topk_agrees_with_the_naive_reading(batch):
    assert index_topk(batch).tolist() == naive_topk(batch)


@MANY
@given(
    scores=st.lists(SCORES, max_size=12),
    init_blocks=st.integers(0, 3),
    local_blocks=st.integers(0, 3),
    spare=st.integers(0, 4),
)
def test_select_blocks_agrees_with_one_sorted_call(scores, init_blocks, local_blocks, spare):
    topk_blocks = max(1, init_blocks + local_blocks + spare)
    config = IndexerConfig(topk_blocks=topk_blocks, init_blocks=init_blocks, local_blocks=local_blocks)
    score = torch.tensor(scores, dtype=torch.float64).reshape(1, 1, -1)
    row = select_blocks(score, torch.tensor([len(scores)]), config)[0, 0].tolist()
    expected = naive_select(scores, topk_blocks, init_blocks, local_blocks)
    assert row == expected + [-1] * (topk_blocks - len(expected))


@settings(max_examples=500, deadline=None)
@given(batch=batches())
def test_the_row_laws_accept_the_reference(batch):
    assert [str(violation) for violation in judge(batch, index_topk(batch))] == []


@settings(max_examples=500, deadline=None)
@given(batch=batches(), max_token_scores=st.integers(1, 200))
def test_chunking_never_changes_the_answer(batch, max_token_scores):
    assert torch.equal(index_topk(batch, max_token_scores), index_topk(batch))

"""The reference agrees with a second, naive reading of the contract."""

import random
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import IndexerConfig, block_scores, index_topk, select_blocks
from msa_ref.contract import judge
from msa_ref.indexer import row_chunks
from tests.support.naive import index_topk as naive_topk
from tests.support.naive import select as naive_select
from tests.support.ref_batches import batches, make_batch

MANY = settings(max_examples=1000, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(batch=batches(), data=st.data())
def test_any_rows_are_scored_as_they_are_in_company(batch, data):
    """Parts of requests, several of them, padding rows or nothing at all."""
    first = data.draw(st.integers(0, batch.total_q))
    rows = slice(first, data.draw(st.integers(first, batch.total_q)))
    whole, part = block_scores(batch, slice(0, batch.total_q)), block_scores(batch, rows)
    assert part.shape[:2] == (batch.config.num_index_heads, rows.stop - rows.start)
    assert torch.equal(part, whole[:, rows, : part.shape[-1]])
    assert (whole[:, rows, part.shape[-1] :] == -torch.inf).all()


def test_small_requests_are_scored_together_as_far_as_memory_allows():
    """Of 128 decode requests each holds 3 blocks of 4 keys of 4 numbers, more than the 2 * 12 token scores."""
    config = IndexerConfig(num_index_heads=2, index_head_dim=4, block_size=4, topk_blocks=2)
    batch = make_batch(config, [1] * 128, [12] * 127 + [9], random.Random(0))
    assert list(row_chunks(batch, 2**20)) == [slice(0, 128)]
    assert list(row_chunks(batch, 100 * 48)) == [slice(0, 100), slice(100, 128)]
    assert list(row_chunks(batch, 1)) == [slice(row, row + 1) for row in range(128)]


def test_a_long_request_is_cut_and_small_neighbours_share():
    config = IndexerConfig(num_index_heads=1, index_head_dim=1, block_size=1, topk_blocks=1)
    batch = make_batch(config, [1, 0, 1, 7, 1, 2], [4] * 6, random.Random(0))
    bounds = [0, 2, 4, 6, 8, 10, 12]
    assert list(row_chunks(batch, 8)) == [slice(first, last) for first, last in pairwise(bounds)]

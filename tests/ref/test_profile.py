"""Outside its profile a target is neither right nor wrong: the verdict there is Undefined."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT, Profile
from tests.support.ref_batches import INF, NAN, POOLS, batches, int32, make_batch, row_batch

SMALL = IndexerConfig(num_index_heads=2, index_head_dim=2, block_size=4, topk_blocks=3)


def batch_with(pool=POOLS["lattice"], query_lens=(2, 1), seq_lens=(9, 4), dtype=torch.float32):
    return make_batch(SMALL, query_lens, seq_lens, random.Random(0), pool, dtype)


WIDE = replace(batch_with(), block_table=int32([[0, 1, 2] + [0] * 6] * 2))
STRIDED = replace(batch_with(), index_q=batch_with().index_q.transpose(1, 2))
MISALIGNED = replace(batch_with(), seq_lens=int32([7, 9, 4])[1:])

OUTSIDE = {
    "dtype": (Profile(name="x", dtypes=(torch.bfloat16,)), batch_with(), "x does not take torch.float32"),
    "head dim": (
        Profile(name="x", index_head_dims=(64, 128)),
        batch_with(),
        "x takes index_head_dim in {64, 128}, not 2",
    ),
    "block size": (Profile(name="x", block_sizes=(128,)), batch_with(), "x takes block_size in {128}, not 4"),
    "heads": (Profile(name="x", num_index_heads=(1, 4)), batch_with(), "x takes num_index_heads in {1, 4}, not 2"),
    "topk": (Profile(name="x", topk_blocks=(4, 5, 6)), batch_with(), "x takes topk_blocks in {4..6}, not 3"),
    "init": (Profile(name="x", init_blocks=(1,)), batch_with(), "x takes init_blocks in {1}, not 0"),
    "local": (Profile(name="x", local_blocks=(0, 2)), batch_with(), "x takes local_blocks in {0, 2}, not 1"),
    "query len": (
        Profile(name="x", max_query_len=1),
        batch_with(),
        "x takes at most 1 query tokens of a request, not 2",
    ),
    "requests": (Profile(name="x", max_num_reqs=1), batch_with(), "x takes at most 1 requests, not 2"),
    "tokens": (Profile(name="x", max_total_q=2), batch_with(), "x takes at most 2 query tokens, not 3"),
    "table": (Profile(name="x", max_table_blocks=2), WIDE, "x takes at most 2 columns of the block table, not 9"),
    "ragged": (
        Profile(name="x", query_lens="uniform"),
        batch_with(),
        "x takes requests of equally many query tokens",
    ),
    "strided": (Profile(name="x", strides="contiguous"), STRIDED, "x takes contiguous tensors"),
    "misaligned": (Profile(name="x", strides="aligned"), MISALIGNED, "x takes aligned tensors"),
    "score": (
        Profile(name="x", max_abs_score=8.0),
        batch_with([3.0]),
        "x takes scores within 8 of 0, not 18.0176",
    ),
    "blocks": (Profile(name="x", max_visible_blocks=2), batch_with(), "x takes at most 2 visible blocks, not 3"),
    "padding": (
        Profile(name="x", padding_rows="undefined"),
        batch_with(seq_lens=(9, 0)),
        "x promises nothing for rows that see no token",
    ),
    "nan": (Profile(name="x", nan="undefined"), batch_with([NAN]), "x promises nothing for NaN"),
    "nan of inf": (
        Profile(name="x", nan="undefined"),
        batch_with([0.0, INF]),
        "x promises nothing for infinities, or for the NaN that they make",
    ),
    "inf": (
        Profile(name="x", infinities="undefined"),
        batch_with([1.0, -INF]),
        "x promises nothing for infinities, or for the NaN that they make",
    ),
}


@pytest.mark.parametrize(("profile", "batch", "reason"), OUTSIDE.values(), ids=OUTSIDE)
def test_a_batch_outside_the_profile_is_undefined_and_says_why(profile, batch, reason):
    assert profile.undefined(batch) == reason


@settings(max_examples=200, deadline=None)
@given(batch=batches())
def test_the_contract_is_defined_for_every_valid_batch(batch):
    assert CONTRACT.undefined(batch) is None


def test_nan_in_an_unseen_page_tail_is_inside_every_profile():
    """Nine tokens on pages of four: three slots of the last page, and the spare pages, hold NaN."""
    batch = batch_with()
    assert batch.index_k_pages.isnan().any()
    assert Profile(name="x", nan="undefined", infinities="undefined").undefined(batch) is None


def test_live_slots_are_the_slots_that_hold_a_token():
    batch = row_batch(SMALL, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]] * 6)
    assert batch.live_slots().tolist() == [[True] * 4, [True, True, False, False]]


def test_a_shared_page_is_live_as_far_as_either_request_sees():
    batch = row_batch(SMALL, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]] * 6)
    shared = replace(
        batch,
        index_q=batch.index_q.expand(2, 2, 2),
        block_table=int32([[0, 1], [1, 1]]),
        seq_lens=int32([6, 3]),
        cu_seqlens_q=int32([0, 1, 2]),
    )
    assert shared.live_slots().tolist() == [[True] * 4, [True, True, True, False]]

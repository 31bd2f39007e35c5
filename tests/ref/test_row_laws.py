"""Each row law catches its planted defect, and by its own name."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import IndexerConfig, index_topk
from msa_ref.contract import judge, violations
from msa_ref.profile import Profile
from msa_ref.rows import ROW_LAWS, Selection
from tests.support.ref_batches import POOLS, make_batch, row_batch

# One head, one-dimensional queries and keys, one token a block: block b scores KEYS[b].
# K = 3 of 5 blocks, the last one forced; the answer is [0, 2, 4].
CONFIG = IndexerConfig(num_index_heads=1, index_head_dim=1, block_size=1, topk_blocks=3, init_blocks=0, local_blocks=1)
KEYS = [[5.0], [1.0], [7.0], [5.0], [0.0]]
ANSWER = [0, 2, 4]

CANARIES = {
    "Visible": ([0, 2, 9], "Visible: head 0, token 0, request 0: holds [9], but sees blocks 0 .. 4"),
    "Distinct": ([2, 2, 4], "Distinct: head 0, token 0, request 0: selects [2] more than once"),
    "Count": ([2, 4, -1], "Count: head 0, token 0, request 0: selects 2 blocks, 3 expected of 5 visible"),
    "PaddedTail": (
        [0, -1, 4],
        "PaddedTail: head 0, token 0, request 0: has an id after the PAD at slot 1: [0, -1, 4]",
    ),
    "Forced": ([0, 2, 3], "Forced: head 0, token 0, request 0: lacks forced blocks [4] of 5 visible"),
    "Best": (
        [2, 3, 4],
        "Best: head 0, token 0, request 0: takes block 3 with score 5.0 and leaves block 0 with score 5.0",
    ),
    "Order": ([2, 0, 4], "Order: head 0, token 0, request 0: block 2 at slot 0 stands before block 0 at slot 1"),
}


def answer(row: list[int]) -> torch.Tensor:
    return torch.tensor(row, dtype=torch.int32).reshape(1, 1, -1)


def test_every_row_law_has_a_canary():
    assert set(CANARIES) == set(ROW_LAWS)


@pytest.mark.parametrize("law", ROW_LAWS)
def test_the_docstring_of_a_row_law_quotes_its_canary(law):
    assert str(CANARIES[law][0]) in ROW_LAWS[law].sentence


def test_the_right_answer_breaks_no_law():
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    assert index_topk(batch).tolist() == [[ANSWER]]
    assert list(judge(batch, answer(ANSWER))) == []


@pytest.mark.parametrize("law", CANARIES)
def test_a_row_law_catches_its_canary_by_name(law):
    row, sentence = CANARIES[law]
    found = {violation.law: str(violation) for violation in judge(row_batch(CONFIG, [[1.0]], KEYS), answer(row))}
    assert found[law] == sentence


@pytest.mark.parametrize("law", ["Distinct", "Forced", "Best", "Order"])
def test_a_canary_of_one_law_breaks_no_other(law):
    found = [violation.law for violation in judge(row_batch(CONFIG, [[1.0]], KEYS), answer(CANARIES[law][0]))]
    assert found == [law]


def test_a_repeated_id_is_seen_though_the_set_is_right():
    """[1, 1, -1] and [1, -1, -1] are the same set, and only one of them is wrong here."""
    batch = row_batch(CONFIG, [[1.0]], KEYS[:1])
    assert list(judge(batch, answer([0, -1, -1]))) == []
    assert [violation.law for violation in judge(batch, answer([0, 0, -1]))] == ["Distinct", "Count"]


@settings(max_examples=1000, deadline=None)
@given(row=st.lists(st.integers(-2, 6), min_size=3, max_size=3))
def test_one_row_alone_keeps_all_laws(row):
    """Of every way to fill three slots, exactly the answer is accepted."""
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    assert (list(judge(batch, answer(row))) == []) == (row == ANSWER)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), n=st.integers(0, 5))
def test_the_row_laws_take_any_integer_without_an_error(data, n):
    row = data.draw(st.lists(st.sampled_from([-(2**31), -2, -1, 0, 1, 4, 5, 2**31 - 1]), min_size=3, max_size=3))
    selection = Selection(CONFIG, answer(row), torch.tensor([n]), torch.zeros(1, 1, n, dtype=torch.float64))
    for violation in violations(selection):
        assert violation.evidence


def test_a_violation_names_its_row_of_the_whole_batch():
    """Head, token of total_q and request, also where rows are judged in several pieces."""
    config = IndexerConfig(num_index_heads=2, index_head_dim=1, block_size=1, topk_blocks=1, local_blocks=0)
    batch = make_batch(config, [2, 0, 3], [4, 3, 9], random.Random(0), POOLS["lattice"])
    topk_idx = index_topk(batch)
    topk_idx[1, 3] = 9
    for max_token_scores in (1, 30, 10**6):
        found = [(v.law, v.head, v.token, v.req) for v in judge(batch, topk_idx, max_token_scores)]
        assert found == [("Visible", 1, 3, 2)]


def test_best_first_order_is_judged_by_score_and_tie_rule():
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    best_first = Profile(name="best-first", order="score-desc")
    for row in ([2, 0, 4], [4, 2, 0], [2, 4, 0]):  # the forced block stands anywhere
        assert list(judge(batch, answer(row), profile=best_first)) == []
    found = [str(violation) for violation in judge(batch, answer([0, 2, 4]), profile=best_first)]
    assert found == [
        "Order: head 0, token 0, request 0: block 0 at slot 0 stands before block 2, which ranks above it: "
        "score 5.0 and score 7.0"
    ]


def test_a_profile_without_a_tie_rule_may_take_either_of_equals():
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    any_tie = Profile(name="any-tie", tie_rule="any")
    assert list(judge(batch, answer([2, 3, 4]), profile=any_tie)) == []
    assert [violation.law for violation in judge(batch, answer([1, 2, 4]), profile=any_tie)] == ["Best"]


def test_a_profile_without_an_order_takes_any_order():
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    assert list(judge(batch, answer([4, 0, 2]), profile=Profile(name="any-order", order="any"))) == []


def test_a_token_major_answer_is_read_token_major():
    config = IndexerConfig(num_index_heads=2, index_head_dim=1, block_size=1, topk_blocks=3)
    batch = row_batch(config, [[1.0], [-1.0]], KEYS)
    token_major = index_topk(batch).transpose(0, 1).contiguous()
    assert list(judge(batch, token_major, profile=Profile(name="token-major", axes="token-major"))) == []
    with pytest.raises(ValueError, match=r"^topk_idx must be \[H, T, K\] = \[2, 1, 3\]; got \[1, 2, 3\]$"):
        list(judge(batch, token_major))

"""The staged oracle tells wrong scores from a wrong selection."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import IndexerConfig, index_topk, select_blocks
from msa_ref.certified import certify
from msa_ref.indexer import scored_chunks
from msa_ref.profile import Profile
from msa_ref.staged import stages
from tests.support.ref_batches import INF, NAN, batches, make_batch, row_batch

# One head over five blocks of one token; block b scores KEYS[b]; K = 2, nothing forced.
CONFIG = IndexerConfig(num_index_heads=1, index_head_dim=1, block_size=1, topk_blocks=2, local_blocks=0)
KEYS = [[5.0], [1.0], [7.0], [5.0], [0.0]]
RIGHT = [5.0, 1.0, 7.0, 5.0, 0.0]


def judged(row, scores, **options):
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    topk_idx = torch.tensor([[row]], dtype=torch.int32)
    return stages(batch, topk_idx, torch.tensor([[scores]]), **options)


def test_right_scores_and_the_right_selection_break_nothing():
    found = judged([0, 2], RIGHT)
    assert (found.score, found.selection, found.blame(0, 0)) == ([], [], "neither")


def test_a_wrong_score_is_blamed_on_the_scores():
    """Block 4 scores 9 where it should score 0; the selection then rightly takes it."""
    found = judged([2, 4], [5.0, 1.0, 7.0, 5.0, 9.0])
    assert [str(violation) for violation in found.score] == [
        "Score: head 0, token 0, request 0: block 4 scores 9.0, outside [0.0, 0.0]; 1 such blocks"
    ]
    assert found.selection == []
    assert found.blame(0, 0) == "scores"


def test_a_wrong_selection_is_blamed_on_the_selection():
    """Block 3 ties with block 0 and has the higher id."""
    found = judged([2, 3], RIGHT)
    assert found.score == []
    assert [violation.law for violation in found.selection] == ["Best"]
    assert found.blame(0, 0) == "selection"


def test_a_lazy_target_may_leave_rows_without_a_choice_unscored():
    """With two slots a row of two blocks selects both, whatever they score; a row of five does not."""
    batch = row_batch(CONFIG, [[1.0]], KEYS[:2])
    topk_idx, unscored = torch.tensor([[[0, 1]]], dtype=torch.int32), torch.full((1, 1, 2), NAN)
    assert [violation.law for violation in stages(batch, topk_idx, unscored).score] == ["Score"]
    assert stages(batch, topk_idx, unscored, is_lazy=True).score == []
    assert [violation.law for violation in judged([0, 2], [NAN] * 5, is_lazy=True).score] == ["Score"]


def test_two_wrongs_are_blamed_on_both():
    assert judged([1, 4], [5.0, 1.0, 7.0, 5.0, 9.0]).blame(0, 0) == "both"


def test_a_promised_tie_rule_holds_on_own_scores():
    assert judged([2, 3], RIGHT, profile=Profile(name="any-tie", tie_rule="any")).blame(0, 0) == "neither"


@pytest.mark.parametrize("unseen", [NAN, INF, 1e30])
def test_scores_of_unseen_blocks_are_ignored(unseen):
    assert judged([0, 2], [*RIGHT, unseen, unseen]).blame(0, 0) == "neither"


def test_a_nan_score_counts_as_minus_infinity_in_both_stages():
    batch = row_batch(CONFIG, [[1.0]], [[NAN], [1.0], [2.0]])
    topk_idx = torch.tensor([[[1, 2]]], dtype=torch.int32)
    for nan_block in (NAN, -INF):
        assert stages(batch, topk_idx, torch.tensor([[[nan_block, 1.0, 2.0]]])).blame(0, 0) == "neither"
    assert stages(batch, topk_idx, torch.tensor([[[0.5, 1.0, 2.0]]])).blame(0, 0) == "scores"


@settings(max_examples=200, deadline=None)
@given(batch=batches(), seed=st.integers(0, 2**32), nudge=st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0]))
def test_a_row_that_passes_both_stages_is_admissible(batch, seed, nudge):
    """Scores nudged by a little, selected exactly: where the certified oracle objects, a stage objects too."""
    n = batch.num_visible_blocks()
    score = torch.zeros(batch.config.num_index_heads, batch.total_q, int(n.max()) if len(n) else 0)
    for rows, exact in scored_chunks(batch):
        score[:, rows, : exact.shape[-1]] = exact.float()
    score *= 1 + nudge * torch.rand(score.shape, generator=torch.Generator().manual_seed(seed))
    topk_idx = select_blocks(score, n, batch.config)
    found = stages(batch, topk_idx, score)
    assert found.selection == []
    for violation in certify(batch, topk_idx).violations:
        assert found.blame(violation.head, violation.token) == "scores"


def test_chunking_never_changes_the_verdict():
    batch = make_batch(
        IndexerConfig(num_index_heads=2, index_head_dim=2, block_size=2), [3, 2], [9, 40], random.Random(0)
    )
    topk_idx = index_topk(batch).roll(1, dims=0)
    score = torch.randn(2, 5, 20, generator=torch.Generator().manual_seed(0))
    whole, pieces = stages(batch, topk_idx, score), stages(batch, topk_idx, score, max_token_scores=1)
    assert {str(v) for v in whole.score} == {str(v) for v in pieces.score}
    assert {str(v) for v in whole.selection} == {str(v) for v in pieces.selection}
    assert whole.score
    assert whole.selection


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (torch.zeros(1, 5), r"score must be [H, T, N] with H, T = 1, 1; got [1, 5]"),
        (torch.zeros(2, 1, 5), r"score must be [H, T, N] with H, T = 1, 1; got [2, 1, 5]"),
        (torch.zeros(1, 1, 4), r"score must cover the 5 visible blocks; got N = 4"),
        (torch.zeros(1, 1, 5, dtype=torch.int32), r"score must be floating point; got torch.int32"),
    ],
)
def test_scores_that_do_not_fit_are_refused(score, sentence):
    batch = row_batch(CONFIG, [[1.0]], KEYS)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        stages(batch, index_topk(batch), score)
    assert str(refusal.value) == sentence


def test_a_lazy_targets_garbage_says_nothing_about_the_order_of_its_ids():
    """Best score first: block 1, of score 7, and then block 0, of 5; garbage says the opposite."""
    batch = row_batch(CONFIG, [[1.0]], [[5.0], [7.0]])
    best_first = Profile(name="best-first", order="score-desc")
    for row, laws in (([1, 0], []), ([0, 1], ["Order"])):
        topk_idx, garbage = torch.tensor([[row]], dtype=torch.int32), torch.tensor([[[9.0, 1.0]]])
        found = stages(batch, topk_idx, garbage, profile=best_first, is_lazy=True)
        assert [violation.law for violation in found.selection] == laws
        assert found.score == []

"""Every family sums exactly in fp32, in any order, in the dtype it was made for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fuzz import values
from fuzz.cases.case import DTYPES
from fuzz.inputs.stored_keys import stored
from fuzz.values.bands import BINS, band
from fuzz.values.designed import spread, ulp_ladder
from fuzz.values.families import EXACT_FAMILIES, FAMILIES, page, plant_nonfinite, require_exact
from fuzz.values.family import Designed, Lattice
from fuzz.values.natural import model
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape
from msa_ref.formats import FORMAT_PAIRS, ElementFormat

DESIGNED = [family for family in FAMILIES.values() if isinstance(family, Designed)]
WIDE_DTYPES = ("bfloat16", "float16", "float32")
"""Formats with more numbers than a row has blocks."""
NUM_BLOCKS, BLOCK_SIZE, HEADS, TOKENS = 9, 16, 3, 4


def _sums(products: np.ndarray, order: np.ndarray) -> np.ndarray:
    """fp32 sums over the last axis, one addition after another in a given order."""
    total = np.zeros(products.shape[:-1], dtype=np.float32)
    with np.errstate(all="ignore"):
        for d in order:
            total = total + products[..., d]
    return total


def _there_and_back(numbers: np.ndarray, row: ElementFormat) -> np.ndarray:
    """The numbers that a tensor of a format holds after some were stored in it."""
    read: np.ndarray = row.values(stored(torch.from_numpy(numbers), row)).numpy()
    return read


@pytest.mark.parametrize("head_dim", [16, 128])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", EXACT_FAMILIES)
def test_sums_do_not_depend_on_their_order(family: str, dtype: str, head_dim: int) -> None:
    shape = Shape(NUM_BLOCKS, BLOCK_SIZE, head_dim, 4, dtype)
    stream, made_by = Stream(3, family), FAMILIES[family]
    keys, queries = made_by.keys(stream, shape), made_by.queries(stream, TOKENS, HEADS, shape)
    if not made_by.is_held(shape):
        pytest.skip(f"{dtype} does not hold it")
    require_exact(torch.from_numpy(queries), torch.from_numpy(keys), family)
    if made_by.has_nonfinite:
        plant_nonfinite(stream, keys, queries, shape)
    formats = FORMAT_PAIRS[dtype]
    np.testing.assert_array_equal(_there_and_back(queries, formats.queries), queries)
    if shape.shares_scales and (made_by.has_nonfinite or not isinstance(made_by, Lattice)):
        keys = _there_and_back(keys, formats.keys)  # other numbers, whose sums are exact, too
    np.testing.assert_array_equal(_there_and_back(keys, formats.keys), keys)
    with np.errstate(all="ignore"):
        products = queries.reshape(-1, 1, head_dim) * keys.reshape(1, -1, head_dim)
        exact_sums = (
            queries.reshape(-1, 1, head_dim).astype(np.float64) * keys.reshape(1, -1, head_dim).astype(np.float64)
        ).sum(-1)
    for seed in range(3):
        sums = _sums(products, Stream(seed, "order").permutation(head_dim))
        np.testing.assert_array_equal(sums.astype(np.float64), exact_sums)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", DESIGNED, ids=lambda family: family.name)
def test_a_designed_row_scores_what_was_designed(family: Designed, dtype: str) -> None:
    shape = Shape(NUM_BLOCKS, BLOCK_SIZE, 16, 4, dtype)
    keys = family.keys(Stream(5, family.name), shape)
    rows = family.rows(Stream(5, family.name), family.num_rows(shape), shape)
    queries = family.queries(Stream(6, family.name), TOKENS, HEADS, shape).reshape(-1, 16)
    scores = (queries.astype(np.float64) @ keys.reshape(-1, 16).T.astype(np.float64)).reshape(
        -1, NUM_BLOCKS, BLOCK_SIZE
    )
    np.testing.assert_array_equal(scores.max(-1), rows[queries.argmax(-1)])


@pytest.mark.parametrize("num_blocks", [0, 1, 4, 17, 63, 64, 100])
@pytest.mark.parametrize("topk_blocks", [1, 13, 32])
def test_spread_has_as_many_winners_as_slots(num_blocks: int, topk_blocks: int) -> None:
    score = spread.rows(Stream(1, "spread"), 12, Shape(num_blocks, 16, 16, topk_blocks, "float32"))
    winner = torch.finfo(torch.float32).max / -2
    is_winner = score >= np.where(np.arange(12) % 2, winner, 1.0)[:, None]
    assert (is_winner.sum(axis=1) == min(num_blocks, topk_blocks)).all()


def _keys_of(score: np.ndarray) -> np.ndarray:
    """The order-preserving integers of float32 scores that radix selections rank by."""
    pattern = np.ascontiguousarray(score).view(np.uint32).astype(np.int64)
    return np.where(pattern >> 31 == 1, 2**32 - 1 - pattern, 2**31 + pattern)


@pytest.mark.parametrize("is_score", [False, True])
@pytest.mark.parametrize("dtype", WIDE_DTYPES)
def test_a_band_leaves_less_than_a_row_of_winners_outside_its_bin(dtype: str, is_score: bool) -> None:
    shape = Shape(300, 16, 48, 8, dtype, is_score and dtype == "float32")
    for seed in range(20):
        for row in _keys_of(band.rows(Stream(seed, "band"), 6, shape)):
            has_bins = False
            for fine, coarse in BINS:
                bins, counts = np.unique(row >> fine, return_counts=True)
                num_winners = 300 - counts.max()
                is_above = (bins >= bins[counts.argmax()]).all()
                has_bins |= bool(1 <= num_winners < 8 and is_above and len(set(row >> coarse)) == 1)
            assert has_bins


def test_bands_lie_at_any_distance_from_zero_and_on_both_sides() -> None:
    shape = Shape(40, 16, 48, 8, "bfloat16")
    medians = np.array([np.median(band.rows(Stream(seed, "band"), 6, shape), axis=1) for seed in range(40)])
    assert (medians < -1e30).any()
    assert (medians > 1e30).any()
    assert (np.abs(medians) < 1e-30).any()
    scores = band.scores(Stream(3, "band"), 6, Shape(40, 16, 48, 8, "float32", is_score=True))
    assert (scores.view(np.uint32) & 0xFFFF != 0).any(), "more bits than bf16 has"


def _model_scores(seed: int, dtype: str) -> np.ndarray:
    """[tokens, H, n] block scores of the model family."""
    shape, stream = Shape(64, 16, 64, 8, dtype), Stream(seed, "model")
    keys, queries = model.keys(stream, shape), model.queries(stream, TOKENS, HEADS, shape)
    scores: np.ndarray = np.einsum("thd,nsd->thns", queries.astype(np.float64), keys).max(axis=-1)
    return scores


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_score_in_a_narrow_band_far_from_zero(dtype: str) -> None:
    signs = set()
    for seed in range(12):
        score = _model_scores(seed, dtype)
        centre, width = np.median(score, axis=-1), score.std(axis=-1)
        assert (np.abs(centre) > 10 * width).all()
        assert (np.abs(score - centre[..., None]).max(axis=-1) > 2.4 * width).any(), "no block stands out"
        signs |= set(np.sign(centre).flatten())
        steps = np.diff(score, axis=-1).std(axis=-1)
        assert (steps < 1.3 * width).all(), "neighbours have nothing in common"
    assert signs == {1.0, -1.0}


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_families_are_below_the_smallest_normal_number(dtype: str) -> None:
    shape = Shape(NUM_BLOCKS, BLOCK_SIZE, 128, 4, dtype)
    min_normal = shape.format.min_normal
    for name, is_of_keys in (("subnormal_keys", True), ("subnormal_queries", False)):
        family = FAMILIES[name]
        keys, queries = family.keys(Stream(3, name), shape), family.queries(Stream(4, name), TOKENS, HEADS, shape)
        small, large = (keys, queries) if is_of_keys else (queries, keys)
        assert 0 < np.abs(small).max() < min_normal <= np.abs(large).max()
        score = np.einsum("thd,nsd->thns", queries.astype(np.float64), keys).max(axis=-1)
        is_subnormal = np.abs(score) < 2.0**-126
        assert (
            is_subnormal.mean() > 0.9 if not is_of_keys and dtype in ("bfloat16", "float32") else not is_subnormal.all()
        )


def test_full_width_queries_differ_in_their_last_bits() -> None:
    shape = Shape(NUM_BLOCKS, BLOCK_SIZE, 16, 4, "float32")
    queries = FAMILIES["full_width"].queries(Stream(3, "full"), 40, 2, shape).reshape(80, 16)
    pattern = np.ascontiguousarray(queries).view(np.uint32)
    assert (pattern & 1).any()
    alike = [len(set(row >> 4)) == 1 < len(set(row)) for row in pattern]
    assert any(alike), "the last four bits alone tell some rows apart"


def test_a_ladder_climbs_by_one_ulp() -> None:
    for dtype in WIDE_DTYPES:
        steps = np.sort(np.abs(ulp_ladder.rows(Stream(1, "x"), 1, Shape(50, 16, 16, 4, dtype))[0]))
        here = torch.from_numpy(steps).to(getattr(torch, dtype))
        up = torch.nextafter(here[:-1], torch.full_like(here[:-1], torch.inf))
        assert torch.equal(up, here[1:])


def test_inexact_values_are_refused() -> None:
    third = torch.full((1, 4), 1 / 3)
    with pytest.raises(ValueError, match="values must sum exactly"):
        require_exact(third, third, "thirds")
    with pytest.raises(ValueError, match="values must sum exactly"):
        require_exact(torch.full((1, 4), 2047.0), torch.full((1, 4), 2051.0), "too wide")


def test_score_matrices_hold_zeros_of_both_signs() -> None:
    for family in ("zeros", "few_values"):
        score = FAMILIES[family].scores(Stream(1, "x"), 8, Shape(40, 16, 16, 4, "float32"))
        assert len(set(np.signbit(score[score == 0]))) == 2


def test_every_family_says_what_it_is_for() -> None:
    for family in FAMILIES.values():
        assert family.sentence.endswith(".")


def test_the_page_of_families_is_todays() -> None:
    kept = Path(values.__file__).with_name("FAMILIES.md").read_text()
    assert kept == page(), "run python -m tests.support.pages --write"

"""Changes of selections: those that a bit model makes, those that it cannot make, and how sure their share is."""

import pytest
import torch

from msa_ref import IndexerConfig
from msa_ref.matrix_units import UNITS, unit_product
from msa_ref.selection_changes import (
    COMPARISONS,
    EXACT,
    STORAGES,
    SUMMINGS,
    Comparison,
    Measured,
    Stored,
    Total,
    measure,
)

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=128, block_size=16, topk_blocks=4)


def _numbers(seed: int = 0, num_blocks: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 2, 128, generator=generator), torch.randn(num_blocks, 16, 128, generator=generator)


def test_upcast_sums_of_e4m3_change_no_row_while_they_stay_below_64() -> None:
    queries, keys = (numbers.clamp(-2, 2) / 4 for numbers in _numbers())  # |q k| <= 1/4, so no sum passes 32
    for before in ("e4m3", "bf16 x e4m3", "e4m3 x nvfp4"):
        exact = Stored(STORAGES[before], queries.to(torch.float8_e4m3fn).float(), keys)
        assert torch.equal(exact.block_scores(SUMMINGS["16-bit unit"]), exact.block_scores(EXACT))


def _row_that_13_bits_cannot_hold() -> tuple[torch.Tensor, torch.Tensor]:
    """Block 0 scores 4096 and block 1 as much and 127 / 512 more, which is below Hopper's last bit."""
    queries, keys = torch.ones(1, 1, 128), torch.zeros(3, 16, 128)
    queries[..., 0] = keys[:2, :, 0] = 64.0
    keys[1, :, 1:] = 2.0**-9
    return queries, keys


@pytest.mark.parametrize(("summing", "is_changed"), [("Hopper's fp8 unit", 1), ("Blackwell's fp8 unit", 0)])
def test_a_row_that_13_bits_cannot_hold_changes_on_hopper_alone(summing: str, is_changed: int) -> None:
    config = IndexerConfig(1, 128, 16, topk_blocks=2)  # the last block is forced, so one of two is ranked
    one = Comparison(("e4m3", EXACT.name), ("e4m3", summing))
    (measured,) = measure(*_row_that_13_bits_cannot_hold(), config, [one])
    assert (measured.num_rows, measured.num_changed, measured.num_exchanged) == (1, is_changed, is_changed)
    assert measured.max_distance == (127 / 512 if is_changed else 0)
    assert 0 <= measured.share_of_bound < 1


@pytest.mark.parametrize("summing", list(SUMMINGS)[1:])
def test_scores_of_the_tokens_that_may_be_best_are_those_of_all(summing: str) -> None:
    stored = Stored(STORAGES["e4m3"], *_numbers())
    way = SUMMINGS[summing]
    queries, keys = (numbers.flatten(0, 1).to(way.dtype) for numbers in (stored.queries, stored.keys))
    every = unit_product(queries, keys, UNITS[way.unit])
    best = every.view(8, 2, 40, 16).amax(-1).transpose(0, 1).double()
    assert torch.equal(stored.block_scores(way), best)


def test_no_unit_errs_beyond_its_bound_and_formats_have_none() -> None:
    for one, measured in zip(COMPARISONS, measure(*_numbers(), CONFIG), strict=True):
        assert measured.share_of_bound != measured.share_of_bound if one.is_of_formats else measured.share_of_bound < 1


def test_coarser_keys_change_more_rows() -> None:
    queries, keys = _numbers(num_blocks=100)
    finer, _, coarser = measure(queries, keys, CONFIG, COMPARISONS[:3])
    assert 0 < finer.num_changed < coarser.num_changed
    same = Comparison(("bf16", EXACT.name), ("bf16", EXACT.name))
    assert measure(queries, keys, CONFIG, [same])[0].num_changed == 0


def _total(*changed: int, rows: int = 100) -> Total:
    return Total(tuple(Measured(rows, count, 2 * count, 0.0, 0.0) for count in changed))


def test_an_interval_holds_its_share_and_is_never_empty() -> None:
    assert _total(0, 0).interval == pytest.approx((0, 0.0188), abs=1e-4)  # Wilson's for 0 of 200
    assert _total(10, 10).interval == pytest.approx((0.0657, 0.1494), abs=1e-3)  # and for 20 of 200
    assert _total(200, rows=200).interval[1] == 1
    assert (_total(10, 10).share_changed, _total(10, 10).exchanged) == (0.1, 2)


def test_requests_that_differ_by_more_than_chance_widen_the_interval() -> None:
    (low, high), (wide_low, wide_high) = _total(10, 10).interval, _total(0, 20).interval
    assert wide_low < low < high < wide_high
    assert _total(0, 20).share_changed == 0.1

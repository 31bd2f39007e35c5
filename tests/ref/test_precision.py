"""The error bounds hold for every simulated unit, are not far above what is reached, and treat the edges."""

import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import magnitudes, precision
from tests.support import accumulators as sim

F32_MAX = torch.finfo(torch.float32).max
MIN_NORMAL = {torch.bfloat16: -126, torch.float16: -14, torch.float32: -126, torch.float8_e4m3fn: -6}

TENSOR_CORES = {
    "wgmma bf16": (precision.wgmma, torch.bfloat16, {"L": 16, "F": 25, "m": 23}),
    "tcgen05 fp16": (precision.tcgen05, torch.float16, {"L": 16, "F": 25, "m": 23}),
    "mma.sync bf16": (precision.mma_sync, torch.bfloat16, {"L": 8, "F": 24, "m": 23}),
    "mma.sync fp16": (precision.mma_sync, torch.float16, {"L": 8, "F": 24, "m": 23}),
    "Hopper fp8": (precision.hopper_fp8, torch.float8_e4m3fn, {"L": 32, "F": 13, "m": 13}),
    "Ada fp8": (precision.ada_fp8, torch.float8_e4m3fn, {"L": 16, "F": 13, "m": 13}),
    "Blackwell fp8": (precision.blackwell_fp8, torch.float8_e4m3fn, {"L": 32, "F": 25, "m": 23}),
}
UNITS = [*TENSOR_CORES, "TF32", "fp32 sum", "fp32 sum flushed", "IEEE fp32", "IEEE fp32 in order"]


def operands(dtype: torch.dtype, dim: int, spread: int, rng: random.Random, scale: float = 1.0) -> list[Fraction]:
    """Numbers over scale * 2^+-spread, some of them zero or subnormal, about half of them with all bits set."""
    numbers = []
    for _ in range(dim):
        digits = 2 - 2.0**-20 if rng.random() < 0.5 else 1 + rng.random()
        numbers.append(rng.choice([-1, 1]) * digits * scale * 2.0 ** rng.randint(-spread, spread))
    for index in rng.sample(range(dim), rng.choice([0, dim // 4])):
        numbers[index] = rng.choice([0.0, 2.0 ** MIN_NORMAL[dtype] * rng.random()])
    limit = torch.finfo(dtype).max
    cast = torch.tensor(numbers, dtype=torch.float64).clamp(-limit, limit).to(dtype)
    return [Fraction(value) for value in cast.double().tolist()]


def share_of_bound(unit: str, dim: int, spread: int, rng: random.Random, scale: float = 1.0) -> Fraction:
    """Error of one simulated dot product, as a share of its bound. All in rational arithmetic."""
    drop = rng.choice([sim.toward_zero, sim.downward])
    if unit in TENSOR_CORES:
        make_bound, dtype, parameters = TENSOR_CORES[unit]
    elif unit.startswith("fp32 sum"):
        make_bound, dtype = precision.any_order_fp32, rng.choice([torch.bfloat16, torch.float16])
        dtype = torch.bfloat16 if scale < 1 else dtype  # the smallest product of fp16 is 2^-48, far from subnormal
    else:
        make_bound, dtype = (precision.tf32 if unit == "TF32" else precision.ieee_fp32), torch.float32
    query, key = operands(dtype, dim, spread, rng, scale), operands(dtype, dim, spread, rng, scale)
    if rng.random() < 0.5:  # no cancellation: partial sums are as large as they can be
        query, key = [abs(q) for q in query], [abs(k) for k in key]
    terms = [q * k for q, k in zip(query, key, strict=True)]
    if unit in TENSOR_CORES:
        got = sim.tensor_core_dot(query, key, min_normal=MIN_NORMAL[dtype], drop=drop, **parameters)
    elif unit == "TF32":
        cut = [sim.tf32(q, drop) for q in query], [sim.tf32(k, drop) for k in key]
        got = sim.tensor_core_dot(*cut, L=4, F=24, m=23, min_normal=-126, drop=drop)
    elif unit == "fp32 sum":
        got = sim.any_order_sum(terms, rng)
    elif unit == "fp32 sum flushed":
        got = sim.any_order_sum(terms, rng, sim.fp32_flushed)
    elif unit == "IEEE fp32":
        got = sim.any_order_sum(terms, rng)
    else:
        got = sim.left_to_right_sum(terms)
    bound = make_bound(dim)
    least = Fraction(2) ** MIN_NORMAL[dtype]
    lifted = [max(abs(q), least) * max(abs(k), least) for q, k in zip(query, key, strict=True) if q and k]
    magnitude = sum(lifted, Fraction(0))
    allowed = Fraction(bound.relative) * magnitude + Fraction(bound.absolute)
    error = abs(got - sum(terms, Fraction(0)))
    return error / allowed


@pytest.mark.parametrize("unit", UNITS)
def test_no_simulated_unit_exceeds_its_bound(unit):
    rng = random.Random(unit)
    for dim, repeats in ((1, 40), (2, 60), (5, 100), (17, 150), (40, 60), (128, 60)):
        for _ in range(repeats):
            spread = rng.choice([0, 1, 4, 6 if "fp8" in unit or "fp16" in unit else 30])
            share = share_of_bound(unit, dim, spread, rng)
            assert share <= 1, f"{unit}, D = {dim}: {float(share)} of the bound"


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "fp8" not in unit and "fp16" not in unit])
def test_no_simulated_unit_exceeds_its_bound_where_results_are_subnormal(unit):
    """Products around 2^-126, where rounding is absolute and one unit flushes to zero."""
    rng = random.Random(unit)
    for dim, repeats in ((1, 60), (2, 100), (5, 100), (17, 60), (128, 15)):
        for _ in range(repeats):
            assert share_of_bound(unit, dim, rng.choice([0, 3, 8]), rng, scale=2.0**-63) <= 1


def test_flushing_to_zero_costs_more_than_the_relative_term_alone_allows():
    """Why the absolute term: 1.5 * 2^-127 is lost whole."""
    term = Fraction(3, 2) * Fraction(2) ** -127
    bound = precision.any_order_fp32(2)
    error = abs(sim.left_to_right_sum([term], sim.fp32_flushed) - term)
    assert error > Fraction(bound.relative) * term
    assert error <= Fraction(bound.absolute)


def steep_key(make_bound, L: int) -> list[Fraction]:
    """1, then terms that lie just below what an accumulator of that size keeps."""
    bits = {precision.hopper_fp8: 13, precision.ada_fp8: 13, precision.mma_sync: 24}.get(make_bound, 25)
    small = (2 - Fraction(1, 8)) * Fraction(2) ** -(bits + 1)
    return [Fraction(1)] + [small] * 127


@pytest.mark.parametrize("unit", TENSOR_CORES)
def test_a_tensor_core_bound_is_within_2_times_a_real_loss(unit):
    """One large product in the first instruction, and everything behind it falls off the end."""
    make_bound, _, parameters = TENSOR_CORES[unit]
    key = steep_key(make_bound, parameters["L"])
    query = [Fraction(1)] * 128
    got = sim.tensor_core_dot(query, key, min_normal=-126, **parameters)
    share = (sum(key) - got) / (Fraction(make_bound(128).relative) * sum(key))
    assert Fraction(1, 2) < share <= 1


@pytest.mark.parametrize("make_bound", [precision.any_order_fp32, precision.ieee_fp32])
def test_an_fp32_bound_is_within_2_times_a_real_loss(make_bound):
    """1 + 127 numbers a little below half of its last bit, added one at a time: all of them are lost."""
    terms = [Fraction(1)] + [Fraction(2) ** -24 * (1 - Fraction(1, 256))] * 127
    share = (sum(terms) - sim.left_to_right_sum(terms)) / (Fraction(make_bound(128).relative) * sum(terms))
    assert Fraction(1, 2) < share <= 1


def test_the_tf32_bound_is_within_2_times_a_real_loss():
    operand = Fraction(1) + Fraction(2) ** -10 - Fraction(2) ** -23
    query = [operand] * 128
    cut = [sim.tf32(operand)] * 128
    exact = sum(q * q for q in query)
    got = sim.tensor_core_dot(cut, cut, L=4, F=24, m=23, min_normal=-126)
    share = abs(got - exact) / (Fraction(precision.tf32(128).relative) * exact)
    assert Fraction(1, 2) < share <= 1


@settings(max_examples=300, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), unit=st.sampled_from(list(TENSOR_CORES)))
def test_a_score_on_the_lattice_is_exact(data, seed, unit):
    """M up to exact_units: no order of fp32 additions and no tensor core drops anything."""
    make_bound, _, parameters = TENSOR_CORES[unit]
    small = int(make_bound(8).exact_units) // 8
    products = data.draw(st.lists(st.integers(-small, small), min_size=8, max_size=8))
    query, key = [Fraction(p) for p in products], [Fraction(1)] * 8
    assert sim.tensor_core_dot(query, key, min_normal=-126, **parameters) == sum(products)
    assert sim.any_order_sum(query, random.Random(seed)) == sum(products)
    unit_q = magnitudes.lattice_unit(torch.tensor(products, dtype=torch.float64))
    magnitude = torch.tensor(float(sum(abs(p) for p in products)), dtype=torch.float64)
    assert precision.half_width(magnitude, unit_q, 8, make_bound(8)) == 0


@settings(max_examples=200, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), unit=st.sampled_from(list(TENSOR_CORES)))
def test_a_score_is_exact_where_positive_and_negative_products_stay_on_the_lattice(data, seed, unit):
    """M may be twice exact_units: no partial sum leaves the sums of all products of one sign."""
    make_bound, _, parameters = TENSOR_CORES[unit]
    small = int(make_bound(8).exact_units) // 4
    sizes = data.draw(st.lists(st.integers(small // 2, small), min_size=8, max_size=8))
    products = [size * sign for size, sign in zip(sizes, [1, -1] * 4, strict=True)]
    random.Random(seed).shuffle(products)
    query, key = [Fraction(p) for p in products], [Fraction(1)] * 8
    assert sim.tensor_core_dot(query, key, min_normal=-126, **parameters) == sum(products)
    assert sim.any_order_sum(query, random.Random(seed)) == sum(products)
    score, magnitude = (torch.tensor(float(total), dtype=torch.float64) for total in (sum(products), sum(sizes)))
    largest = magnitudes.largest_partial_sum(score, magnitude, magnitude)
    assert precision.half_width(magnitude, torch.ones_like(score), 8, make_bound(8), largest) == 0


E4M3_UNITS = {"Blackwell fp8": -6, "wgmma bf16": -126, "mma.sync bf16": -126, "tcgen05 fp16": -14}
"""Units that score e4m3 as it is, or upcast, and log2 of the smallest normal number of what they are given."""


@pytest.mark.parametrize("unit", E4M3_UNITS)
def test_e4m3_scores_are_exact_while_partial_sums_stay_below_64(unit):
    """Vectors whose products reach 2^-18, and whose sums come close to 64 and go beyond."""
    rng, generator = random.Random(unit), torch.Generator().manual_seed(3)
    q = torch.randn(60, 128, generator=generator).to(torch.float8_e4m3fn)
    k = (torch.randn(60, 128, generator=generator) * torch.linspace(0.5, 1.3, 60)[:, None]).to(torch.float8_e4m3fn)
    exact_magnitude, magnitude = (
        (of(q) * of(k)).sum(-1)
        for of in (magnitudes.finite_magnitudes, lambda x: magnitudes.magnitudes(x, torch.float8_e4m3fn))
    )
    score = (q.double() * k.double()).sum(-1)
    largest = magnitudes.largest_partial_sum(score, exact_magnitude, magnitude)
    units = magnitudes.lattice_unit(q) * magnitudes.lattice_unit(k)
    bound = precision.bound_for(torch.float8_e4m3fn, 128)
    is_exact = precision.half_width(magnitude, units, 128, bound, largest) == 0
    assert 10 < is_exact.sum() < 60
    assert magnitude[is_exact].max() > 70
    assert (is_exact == (largest <= 2**24 * units)).all()
    for row in is_exact.nonzero().flatten().tolist():
        query, key = ([Fraction(value) for value in x[row].tolist()] for x in (q.double(), k.double()))
        got = sim.tensor_core_dot(query, key, min_normal=E4M3_UNITS[unit], **TENSOR_CORES[unit][2])
        assert got == sum(a * b for a, b in zip(query, key, strict=True))
        assert sim.any_order_sum([a * b for a, b in zip(query, key, strict=True)], rng) == got


def test_one_unit_beyond_the_lattice_is_not_exact():
    bound = precision.any_order_fp32(2)
    assert sim.left_to_right_sum([Fraction(2**24), Fraction(1)]) == 2**24  # loses the 1
    at = torch.tensor([2.0**24, 2.0**24 + 1], dtype=torch.float64)
    assert (precision.half_width(at, torch.ones(2, dtype=torch.float64), 2, bound) > 0).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_lattice_unit_is_the_lowest_set_bit(dtype):
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps  # the smallest subnormal
    rows = {(6.0, 4.0, 0.0): 2.0, (0.75, 8.0, 3.0): 0.25, (tiny, 1.0, 1.0): tiny, (0.0, -0.0, 0.0): math.inf}
    rows[(math.nan, math.inf, -24.0)] = 8.0
    for row, expected in rows.items():
        assert magnitudes.lattice_unit(torch.tensor(row, dtype=dtype)).item() == expected


def test_overflow_leaves_nothing_promised():
    bound = precision.any_order_fp32(128)
    magnitude = torch.tensor([1e30, F32_MAX * (1 - 1e-5), F32_MAX, 1e300], dtype=torch.float64)
    widths = precision.half_width(magnitude, torch.full_like(magnitude, 2.0**-60), 128, bound)
    assert widths.isinf().tolist() == [False, False, True, True]


def test_half_width_is_finite_just_below_overflow():
    """The largest finite M: its partial sums, each off by the bound at most, stay below the largest fp32."""
    bound = precision.any_order_fp32(128)
    magnitude = F32_MAX / (1 + 2 * bound.relative)
    width = precision.half_width(
        torch.tensor(magnitude, dtype=torch.float64), torch.tensor(2.0**-60, dtype=torch.float64), 128, bound
    )
    assert width.isfinite()
    assert magnitude + width.item() < F32_MAX


def test_subnormal_operands_count_as_the_smallest_normal_number():
    for dtype in (torch.bfloat16, torch.float16):
        least = torch.finfo(dtype).smallest_normal
        values = torch.tensor([0.0, least / 4, -least / 4, least, 1.0, math.nan, -math.inf], dtype=dtype)
        assert magnitudes.magnitudes(values, dtype).tolist() == [0, least, least, least, 1, 0, 0]


def test_a_subnormal_operand_loses_more_than_an_unlifted_magnitude_would_allow():
    """Why the lift: the fp16 product 2^-24 * 2^15 is aligned as if it were 2^-14 * 2^15."""
    query = [Fraction(2) ** -24, Fraction(2) ** -12]
    key = [Fraction(2) ** 15, Fraction(2) ** -13 * (2 - Fraction(2) ** -10)]
    exact = sum(q * k for q, k in zip(query, key, strict=True))
    error = exact - sim.tensor_core_dot(query, key, L=16, F=25, m=23, min_normal=-14)
    relative = Fraction(precision.wgmma(2).relative)
    assert error > 40 * relative * exact
    assert error <= relative * (Fraction(2) ** -14 * key[0] + query[1] * key[1])


def test_zero_magnitude_is_exact_whatever_the_unit():
    zero = torch.zeros(2, dtype=torch.float64)
    widths = precision.half_width(zero, torch.tensor([2.0**-200, math.inf], dtype=torch.float64), 4, precision.wgmma(4))
    assert widths.tolist() == [0, 0]


def test_bound_for_a_dtype_covers_every_unit_that_may_score_it():
    upcast = (precision.any_order_fp32, precision.wgmma, precision.tcgen05)
    for dim in (1, 16, 64, 128, 256):
        for dtype, more in (
            (torch.bfloat16, ()),
            (torch.float16, ()),
            (torch.float8_e4m3fn, (precision.blackwell_fp8,)),
        ):
            bound = precision.bound_for(dtype, dim)
            for unit in (*upcast, *more):
                assert bound.relative >= unit(dim).relative
                assert bound.exact_units <= unit(dim).exact_units
        assert precision.bound_for(torch.float8_e4m3fn, dim).relative < precision.hopper_fp8(dim).relative
        assert precision.bound_for(torch.float32, dim) == precision.ieee_fp32(dim)


def test_a_dtype_without_a_bound_is_refused():
    with pytest.raises(ValueError, match=r"^dtype must be bf16, fp16, fp32, e4m3 or nvfp4; got torch.float64$"):
        precision.bound_for(torch.float64, 128)


def test_gamma_beyond_its_range_is_refused():
    with pytest.raises(ValueError, match=r"^num_roundings must be below 1.67772e\+07; got 16777216$"):
        precision.gamma(2**24)

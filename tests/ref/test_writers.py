"""Writers round as their sources say, and readers get back what they wrote."""

import math
import random
from itertools import pairwise

import pytest
import torch

from msa_ref.formats import ELEMENTS
from msa_ref.writers import WRITERS, nearest_e2m1
from tests.support.byte_values import E2M1, FINITE, nearest_e4m3


def written(name: str, numbers: torch.Tensor) -> torch.Tensor:
    """The numbers that a reader finds where a writer wrote some."""
    writer = WRITERS[name]
    return ELEMENTS[writer.format].values(writer.write(numbers))


def test_e4m3_is_rounded_to_the_nearest_even_and_saturates() -> None:
    """Every number, every middle of two, and their neighbours in fp32."""
    middles = torch.tensor([(low + high) / 2 for low, high in pairwise(FINITE)])
    numbers = torch.cat([torch.tensor(FINITE), middles, torch.tensor([449.0, 464.0, 480.0, 1e30, torch.inf])])
    around = [numbers.nextafter(torch.tensor(end)) for end in (torch.inf, -torch.inf)]
    numbers = torch.cat([numbers, *around])
    for signed in (numbers, -numbers):
        assert written("e4m3", signed).tolist() == [nearest_e4m3(number) for number in signed.tolist()]


def test_writers_differ_in_nan_and_in_numbers_beside_a_middle() -> None:
    middle = (FINITE[60] + FINITE[61]) / 2
    number = torch.tensor(middle).nextafter(torch.tensor(math.inf if FINITE.index(FINITE[60]) % 2 == 0 else 0.0))
    assert written("e4m3", number) != written("e4m3 through bf16", number)
    nan = torch.tensor([math.nan])
    assert written("e4m3", nan).isnan()
    assert written("e4m3 through bf16", nan).isnan()
    assert written("e4m3, NaN to -448", nan) == -448


@pytest.mark.parametrize("name", WRITERS)
def test_no_keys_are_written_as_no_keys(name: str) -> None:
    one, none = (WRITERS[name].write(torch.zeros(pages, 16, 64)) for pages in (1, 0))
    assert none.shape == (0, *one.shape[1:])
    assert none.dtype == one.dtype


def test_e2m1_codes_are_the_nearest_with_ties_to_even() -> None:
    numbers = [sign * step / 64 for step in range(500) for sign in (1.0, -1.0)]
    codes = nearest_e2m1(torch.tensor([*numbers, math.inf, -math.inf, math.nan])).tolist()
    for number, code in zip(numbers, codes, strict=False):
        nearest = min(range(8), key=lambda one: (abs(E2M1[one] - abs(number)), one % 2))
        assert code % 8 == nearest
        assert code // 8 == (math.copysign(1, number) < 0)
    assert codes[-3:] == [7, 15, 7]


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.format == "nvfp4"])
def test_an_nvfp4_key_keeps_what_it_can_hold(name: str) -> None:
    """Multiples of a scale by E2M1 numbers come back; a 6 in each group makes the scale the one that was meant."""
    rng = random.Random(3)
    for scale in (1.0, 0.5, 2.0**-6, 13.0, 40.0, 64.0):
        numbers = torch.tensor([scale * rng.choice(E2M1) for _ in range(64)])
        numbers[::16] = 6 * scale
        assert torch.equal(written(name, numbers), torch.tensor([nearest_e4m3(number) for number in numbers.tolist()]))


@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.format == "nvfp4"])
def test_an_nvfp4_key_of_anything_stays_near_it(name: str) -> None:
    numbers = torch.randn(500, 64, generator=torch.Generator().manual_seed(4))
    greatest = numbers.unflatten(-1, (-1, 16)).abs().amax(-1).repeat_interleave(16, -1)
    # Half of the widest step, 2 of 6; a scale rounded down by 1/16 cuts 6; and e4m3 rounds the product.
    assert ((written(name, numbers) - numbers).abs() <= greatest * (1 / 6 + 1 / 16 + 1 / 16)).all()
    assert written(name, torch.tensor([0.0] * 16)).tolist() == [0.0] * 16
    assert written(name, torch.tensor([1e9] * 16)).tolist() == [448.0] * 16


def test_the_nvfp4_writers_disagree_now_and_then() -> None:
    numbers = torch.randn(4000, 128, generator=torch.Generator().manual_seed(5)).bfloat16().float()
    one, other = (WRITERS[name].write(numbers) for name in ("nvfp4, divided", "nvfp4, by reciprocals"))
    share = (one != other).float().mean().item()
    assert 0 < share < 0.01

"""Random numbers of the process are seeded otherwise before each run, so that two runs leave other states behind."""

import pytest
import torch

from fuzz.judge.dice import GENERATORS, Dice


@pytest.mark.parametrize("seed", [*range(40), 106, 20260, 2**31 + 1, 2**63])
def test_runs_that_draw_nothing_are_never_said_to_seed_a_generator_anew(seed: int) -> None:
    dice = Dice(seed)
    for number in range(9):
        dice.throw(number)
        assert dice.violations() == []


def test_a_run_that_seeds_a_generator_anew_is_found_by_its_second_time() -> None:
    for generator in GENERATORS:
        dice = Dice(1)
        for number in range(2):
            dice.throw(number)
            generator.seed(5)
            assert [generator.name in violation.evidence for violation in dice.violations()] == [True] * number


def test_a_throw_leaves_nothing_to_do_for_a_gpu_that_is_not_in_use() -> None:
    waiting = len(torch.cuda._queued_calls)  # `torch.manual_seed` adds one, with a stack, at every call
    Dice(1).throw(0)
    assert len(torch.cuda._queued_calls) == waiting

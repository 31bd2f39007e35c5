"""Random numbers that a process shares: other ones before each run, so that no answer hangs on them unnoticed.

What happens once in a hundred runs by a number from such a generator happens soon: of three runs one finds generators
whose next number is among the lowest, and one among the highest.

A target may draw from them. One that seeds them anew in every run takes them from everybody else: an engine would
sample the same tokens at each step. Its first run may do so, as the initialisation of an engine does.
"""

import pickle
import random
from collections.abc import Callable
from functools import cache
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np
import torch

from msa_ref.contract import Violation

EXTREME = 0.01
"""Distance from 0, or from 1, of the next number of a generator that is as low, or as high, as it gets."""
NUM_SEEDS = 5
"""Seeds of each such kind that are used in turn."""
MIN_SEED = 2**31
"""Bound on all other seeds: those of the two kinds are the first ones from 1 that will do."""


class _Generator(NamedTuple):
    """One generator of the process: its name, how it is seeded, its state as bytes, and the first number of a seed."""

    name: str
    seed: Callable[[int], Any]
    state: Callable[[], bytes]
    first: Callable[[int], float]


def _seed_torch(seed: int) -> None:
    """Seed torch's generators, a GPU's among them where it is in use.

    `torch.manual_seed` would keep a call, with the stack that made it, for each kind of device that is not.
    """
    torch.default_generator.manual_seed(seed)
    is_initialized: Callable[[], bool] = torch.cuda.is_initialized
    if is_initialized():
        torch.cuda.manual_seed_all(seed)


GENERATORS = (
    _Generator(
        "torch",
        _seed_torch,
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda seed: float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)),
    ),
    _Generator(
        "Python", random.seed, lambda: pickle.dumps(random.getstate()), lambda seed: random.Random(seed).random()
    ),
    _Generator(
        "numpy",
        np.random.seed,
        lambda: pickle.dumps(np.random.get_state()),
        lambda seed: float(np.random.RandomState(seed).random_sample()),
    ),
)


class Dice:
    """The generators, around the runs of one target on one case."""

    def __init__(self, seed: int) -> None:
        self._seed, self._left = seed, dict[str, bytes]()

    def throw(self, number: int) -> None:
        """Seed each generator for the run of some number, otherwise than for the one before."""
        for place, generator in enumerate(GENERATORS):
            generator.seed(_seed(place, self._seed + 7919 * number, number % 3))

    def violations(self) -> list[Violation]:
        """One violation for each generator that two runs left in the same state, though it was not before them."""
        found = []
        for generator in GENERATORS:
            left = generator.state()
            if self._left.get(generator.name) == left:
                text = f"left {generator.name}'s generator of the process as the run before did: seeded anew"
                found.append(Violation("LeavesState", text))
            self._left[generator.name] = left
        return found


def _seed(place: int, any_seed: int, kind: int) -> int:
    """A seed for one generator. kind: 0 for any, 1 for one whose next number is low, 2 for one where it is high."""
    if kind == 0:
        return MIN_SEED + any_seed % MIN_SEED
    return _extreme_seeds(place, kind == 2)[any_seed % NUM_SEEDS]


@cache
def _extreme_seeds(place: int, is_high: bool) -> list[int]:
    """Seeds whose generator draws one of the lowest numbers next, or one of the highest."""
    first = GENERATORS[place].first
    return list(
        islice((seed for seed in count(1) if (1 - first(seed) if is_high else first(seed)) < EXTREME), NUM_SEEDS)
    )

"""Random numbers that a process shares: other ones before each run, so that no answer hangs on them unnoticed.

A target may draw from them. One that seeds them anew in every run takes them from everybody else: an engine would
sample the same tokens at each step. Its first run may do so, as the initialisation of an engine does.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from msa_ref.contract import Violation


class _Generator(NamedTuple):
    """One generator of the process: its name, how it is seeded, and its state as bytes."""

    name: str
    seed: Callable[[int], Any]
    state: Callable[[], bytes]


GENERATORS = (
    _Generator("torch", torch.manual_seed, lambda: torch.get_rng_state().numpy().tobytes()),
    _Generator("Python", random.seed, lambda: repr(random.getstate()).encode()),
    _Generator("numpy", np.random.seed, lambda: repr(np.random.get_state()).encode()),
)


class Dice:
    """The generators, around the runs of one target on one case."""

    def __init__(self, seed: int) -> None:
        self._seed, self._left = seed, dict[str, bytes]()

    def throw(self, number: int) -> None:
        """Seed each generator for the run of some number, as it is for no other."""
        for generator in GENERATORS:
            generator.seed((self._seed + 7919 * number) % 2**32)

    def violations(self) -> list[Violation]:
        """One violation for each generator that two runs left in the same state, though it was not before them."""
        found = []
        for name, _, state in GENERATORS:
            left = state()
            if self._left.get(name) == left:
                text = f"left {name}'s generator of the process as the run before did: seeded anew"
                found.append(Violation("LeavesState", text))
            self._left[name] = left
        return found

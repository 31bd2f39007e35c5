"""The choices that a generator makes, driven either by a seed or by Hypothesis."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from fuzz.values.rng import Stream

Option = TypeVar("Option")


class Chooser(Protocol):
    """The interface that the generator is written against, once for both drivers."""

    def integer(self, low: int, high: int) -> int:
        """An integer within low .. high, both included."""

    def choice(self, options: Sequence[Option]) -> Option:
        """One of the options; put the simplest first."""

    def boolean(self, percent: int = 50) -> bool:
        """True in about `percent` of 100 draws."""


class SeededChooser:
    """Choices that follow from a seed, the same on every machine, with every library version."""

    def __init__(self, seed: int, name: str) -> None:
        self._stream = Stream(seed, name)

    def integer(self, low: int, high: int) -> int:
        return self._stream.integer(low, high)

    def choice(self, options: Sequence[Option]) -> Option:
        return options[self.integer(0, len(options) - 1)]

    def boolean(self, percent: int = 50) -> bool:
        return self.integer(0, 99) < percent


class HypothesisChooser:
    """Choices that Hypothesis makes, so that a failing case shrinks towards the first options."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def choice(self, options: Sequence[Option]) -> Option:
        chosen: Option = self._draw(st.sampled_from(options))
        return chosen

    def boolean(self, percent: int = 50) -> bool:
        # Drawn as a number so that False, the simpler, is what shrinking finds.
        return self.integer(0, 99) >= 100 - percent

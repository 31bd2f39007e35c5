"""The hangs of a command's targets: how often each hung, and when it is given up."""

import threading
from collections import Counter

from fuzz.judge.verdict import Undefined

MAX_HANGS = 3
"""Cases in which a target may hang. Each costs minutes, and one is a finding."""

GIVEN_UP = Undefined(f"not judged: the target was given up, as it hung in {MAX_HANGS} cases")
"""The verdict on a target that has hung so often, on every further case."""


class Hangs:
    """A count for each target, shared by the workers of a command, which are threads."""

    def __init__(self, max_hangs: int = MAX_HANGS) -> None:
        self._max_hangs, self._counts, self._in_first_calls = max_hangs, Counter[str](), set[str]()
        self._turn = threading.Lock()

    def count(self, target: str) -> None:
        """Count a case in which a target hung."""
        with self._turn:
            self._counts[target] += 1

    def is_given_up(self, target: str) -> bool:
        """True if a target hung too often to be judged any further."""
        return self._counts[target] >= self._max_hangs

    def count_first_call(self, target: str) -> None:
        """Note that a target hung in a first call: the next ones have no more time than others."""
        self._in_first_calls.add(target)

    def has_hung_in_first_call(self, target: str) -> bool:
        """True if a target hung in a first call of its kind."""
        return target in self._in_first_calls

"""The failure that one random round shrinks, first by Hypothesis and then by `fuzz.cases.simplify`."""

import time
from collections.abc import Callable

from fuzz.cases.case import Case
from fuzz.cases.simplify import shrink
from msa_ref.contract import Violation

TRIES_IF_FLAKY = 5
"""Runs per example while shrinking a failure that does not always show."""


class RoundShrinker:
    """One failure at most: a target and a law, the smallest case so far, and the answers given to Hypothesis.

    For Hypothesis every target is deterministic: the same case always gets the same answer.
    """

    def __init__(self, violations: Callable[[Case, str], tuple[Violation, ...]], seconds: float) -> None:
        """violations: the laws that a target breaks on a case. seconds: to shrink for."""
        self._violations, self._seconds = violations, seconds
        self.target = self.law = ""
        self._answers: dict[Case, bool] = {}
        self._tries, self._deadline = 1, 0.0
        self._smallest: Case | None = None
        self._shown: tuple[Violation, ...] = ()

    @property
    def has_begun(self) -> bool:
        """True if the round has found its failure."""
        return self._smallest is not None

    def begin(self, target: str, law: str, case: Case) -> None:
        """Take up a failure."""
        self.target, self.law, self._smallest = target, law, case
        self._deadline = time.perf_counter() + self._seconds
        # A failure that does not always show counts as shown if any of several runs shows it.
        again = [law in {violation.law for violation in self._violations(case, target)} for _ in range(2)]
        self._tries = 1 if all(again) else TRIES_IF_FLAKY
        self._answers[case] = True

    def shows(self, case: Case) -> bool:
        """True if a smaller case still shows the failure; the same case gets the same answer."""
        if case not in self._answers:
            self._answers[case] = self._shows_now(case)
        if self._answers[case]:
            self._smallest = case
        return self._answers[case]

    def _shows_now(self, case: Case) -> bool:
        for _ in range(self._tries):
            if self.is_over():
                return False
            violations = self._violations(case, self.target)
            if any(violation.law == self.law for violation in violations):
                self._shown = violations
                return True
        return False

    def is_over(self) -> bool:
        """True if its time is up."""
        return time.perf_counter() > self._deadline

    def finish(self) -> tuple[Case, tuple[Violation, ...]]:
        """Simplify the case that Hypothesis left. Returns it, and the laws that it breaks."""
        assert self._smallest is not None
        # Half as long again: a plainer specialization is worth more than one more example.
        self._deadline = max(self._deadline, time.perf_counter() + self._seconds / 2)
        case = shrink(self._smallest, self._shows_now, self._deadline)
        for _ in range(self._tries):
            violations = self._violations(case, self.target)
            if violations:
                return case, violations
        return case, self._shown

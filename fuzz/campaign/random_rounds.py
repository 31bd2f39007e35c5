"""Random fuzzing driven by Hypothesis: rounds of examples, each ended early by one new kind of failure.

A round is a Hypothesis test with its own seed, made from the run's seed and the round's number, so
that the same seed and scale give the same cases on every machine, until something breaks: then
Hypothesis shrinks what broke, `fuzz.cases.simplify` does the rest, and the next round starts afresh.
Everything is judged in child processes. A verdict is remembered: for Hypothesis, every target is
deterministic. One that in truth is not is run several times per example while shrinking.

Examples that broke in an earlier run come first, from the database: the same seed gives the same
cases from there on, and from the start where the database is empty.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from fuzz.campaign.pool import Results
from fuzz.cases.case import Case, Views
from fuzz.cases.chooser import SeededChooser
from fuzz.cases.generate import cases_of_forms
from fuzz.cases.scale import Scale
from fuzz.cases.simplify import minimise
from fuzz.cases.specialization import Form, draw_forms
from fuzz.isolation.worker import Question, Task, Worker
from fuzz.judge.verdict import Broke
from fuzz.values.rng import Bits
from msa_ref.contract import Violation

CASES_PER_ROUND = 100
FORMS_PER_ROUND = 6
"""Few, because on a GPU every form is compiled."""

TRIES_IF_FLAKY = 5
"""Runs per example while shrinking a failure that does not always show."""

PROFILE = "fuzz-nightly"


def nightly_profile(database: Path | None) -> settings:
    """Hypothesis's settings for a run, registered by name: its own ones for CI would derandomise.

    database: the folder of its example database; None for none.
    """
    kept: ExampleDatabase | None = DirectoryBasedExampleDatabase(database) if database is not None else None
    settings.register_profile(
        PROFILE,
        settings(
            max_examples=CASES_PER_ROUND,
            database=kept,
            derandomize=False,
            deadline=None,
            phases=(Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=Verbosity.quiet,
        ),
    )
    return settings.get_profile(PROFILE)


@dataclass(frozen=True)
class Limits:
    """When a run ends: after so many seconds, or so many cases. shrink_seconds: for one finding."""

    seconds: float | None
    cases: int | None
    shrink_seconds: float = 60.0


class Broken(AssertionError):
    """Tells Hypothesis that an example shows the failure that is being shrunk."""


class Enough(KeyboardInterrupt):
    """Ends a round whose time is up: the run's, or that of a failure. Hypothesis hands an interrupt on at once."""


class Hunt:
    """One run: its rounds, and what is known to break."""

    def __init__(
        self,
        results: Results,
        worker: Worker,
        targets: tuple[str, ...],
        device: str,
        limits: Limits,
        is_diagnosed: bool = True,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """is_interrupted: asked before every case; then the run ends as by KeyboardInterrupt."""
        self._results, self._worker, self._targets, self._device = results, worker, targets, device
        self._limits, self._is_diagnosed, self._is_interrupted = limits, is_diagnosed, is_interrupted
        self._start = time.perf_counter()
        self._known: set[tuple[str, str]] = set()

    def is_over(self) -> bool:
        """Whether the budget is spent."""
        limits = self._limits
        if limits.cases is not None and self._results.cases >= limits.cases:
            return True
        # However slow the machine, a run that judged no case would say nothing.
        is_late = limits.seconds is not None and time.perf_counter() - self._start >= limits.seconds
        return is_late and self._results.cases > 0

    def rounds(
        self, run_seed: int, scale: Scale, shard: tuple[int, int], profile: settings, tell: Callable[[int], None]
    ) -> None:
        """Run rounds until the budget is spent: of all rounds, those of this shard. tell: called after each."""
        number, step = shard
        try:
            while not self.is_over():
                forms = draw_forms(SeededChooser(run_seed, f"run {scale.name} {number}"), scale, FORMS_PER_ROUND)
                round_seed = Bits(run_seed, f"round {number}").integer(0, 2**62)
                self.round(sorted(forms, key=plainness), scale, round_seed, profile)
                self._count_seconds()
                tell(number)
                number += step
        finally:
            self._count_seconds()

    def _count_seconds(self) -> None:
        self._results.seconds = time.perf_counter() - self._start

    def round(self, forms: list[Form], scale: Scale, round_seed: int, profile: settings) -> None:
        """One round: examples until they are enough, or until one breaks in a new way and is shrunk."""
        shrinker, seen = _Shrinker(self), set[str]()

        @seed(round_seed)
        @profile
        @given(cases_of_forms(scale, forms))
        def examples(case: Case) -> None:
            if shrinker.is_over() if shrinker.quarry is not None else self.is_over():
                raise Enough
            if shrinker.quarry is not None:
                is_broken = shrinker.still_shows(case)
            elif case.to_json() in seen:  # Hypothesis likes simple choices, and so draws some again
                is_broken = False
            else:
                seen.add(case.to_json())
                is_broken = self._judge(case, shrinker)
            # One line raises: Hypothesis tells failures apart by where they come from.
            if is_broken:
                raise Broken

        with suppress(Enough, Broken):
            examples()
        if shrinker.quarry is not None:
            shrinker.finish()

    def _judge(self, case: Case, shrinker: "_Shrinker") -> bool:
        """A new example on all targets. The first new failure becomes what the round shrinks."""
        self._end_if_interrupted()
        judged = self._worker.judge(Task(case, self._targets, self._device))
        self._results.add(judged)
        for name, verdict, _ in judged.verdicts:
            if isinstance(verdict, Broke):
                for violation in verdict.violations:
                    if (name, violation.law) not in self._known:
                        shrinker.begin(name, violation.law, case)
                        return True
        return False

    def violations(self, case: Case, target: str) -> tuple[Violation, ...]:
        """The laws that a target breaks on a case, judged without counting it."""
        self._end_if_interrupted()
        return self._worker.violations(case, target, self._device)

    def _end_if_interrupted(self) -> None:
        if self._is_interrupted():
            raise KeyboardInterrupt

    def settle(self, target: str, law: str, case: Case, violations: tuple[Violation, ...]) -> None:
        """Put a minimised case into the findings, and do not hunt what it shows again."""
        is_ended = any(violation.has_ended_process for violation in violations)
        if violations and self._is_diagnosed and not is_ended:
            violations += self._worker.diagnose(Question(case, target, self._device, violations[0]))
        self._known |= {(target, law), *((target, violation.law) for violation in violations)}
        if violations:
            self._results.findings.settle(target, case, violations, self._results.environment)

    @property
    def shrink_seconds(self) -> float:
        """The budget for one finding."""
        return self._limits.shrink_seconds


def plainness(form: Form) -> tuple[int, ...]:
    """Sort key: forms that fewer things can be special about come first, so that failures shrink to them."""
    config, is_viewed = form.config, form.views not in (None, Views())
    sizes = (config.num_index_heads, config.topk_blocks, config.block_size, config.index_head_dim)
    return (form.most_reqs, is_viewed, form.table_blocks, *sizes)


class _Shrinker:
    """What one round shrinks, and every answer that it has given to Hypothesis."""

    def __init__(self, hunt: Hunt) -> None:
        self._hunt = hunt
        self.quarry: tuple[str, str] | None = None
        self._answers: dict[str, bool] = {}
        self._tries, self._deadline = 1, 0.0
        self._smallest: Case | None = None
        self._violations: tuple[Violation, ...] = ()

    def begin(self, target: str, law: str, case: Case) -> None:
        """Take up a failure."""
        self.quarry = (target, law)
        self._deadline = time.perf_counter() + self._hunt.shrink_seconds
        # Does it always show? If not, an example counts as broken when any of several runs is.
        again = [law in {violation.law for violation in self._hunt.violations(case, target)} for _ in range(2)]
        self._tries = 1 if all(again) else TRIES_IF_FLAKY
        self._answers[case.to_json()] = True
        self._smallest = case

    def still_shows(self, case: Case) -> bool:
        """Whether a smaller case still shows the failure; the same case gets the same answer."""
        key = case.to_json()
        if key not in self._answers:
            self._answers[key] = self._still_breaks(case)
        if self._answers[key]:
            self._smallest = case
        return self._answers[key]

    def _still_breaks(self, case: Case) -> bool:
        assert self.quarry is not None
        target, law = self.quarry
        for _ in range(self._tries):
            if self.is_over():
                return False
            violations = self._hunt.violations(case, target)
            if any(violation.law == law for violation in violations):
                self._violations = violations
                return True
        return False

    def is_over(self) -> bool:
        """Whether its time is up."""
        return time.perf_counter() > self._deadline

    def finish(self) -> None:
        """Minimise what Hypothesis left, and hand it over."""
        assert self.quarry is not None
        assert self._smallest is not None
        # Half as long again: a form that shrinks is worth more than one more example.
        self._deadline = max(self._deadline, time.perf_counter() + self._hunt.shrink_seconds / 2)
        case = minimise(self._smallest, self._still_breaks, self.is_over)
        target, law = self.quarry
        for _ in range(self._tries):
            violations = self._hunt.violations(case, target)
            if violations:
                break
        self._hunt.settle(target, law, case, violations or self._violations)

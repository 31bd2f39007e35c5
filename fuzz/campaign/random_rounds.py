"""Random rounds, driven by Hypothesis: each draws examples until one fails in a new way, and shrinks that one.

A round is a Hypothesis test with its own seed, made from the run's seed and the round's number, so
the same seed and scale give the same cases on every machine until something breaks. Everything is
judged in child processes.

Examples that broke in an earlier run come first, from Hypothesis's database. A run therefore repeats
from its start only where that database is empty.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import given, seed, settings

from fuzz.campaign.results import Results
from fuzz.campaign.round_shrinker import RoundShrinker
from fuzz.campaign.told import Told
from fuzz.cases.case import Case, Views
from fuzz.cases.chooser import SeededChooser
from fuzz.cases.generate import cases_of
from fuzz.cases.inside import inside
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization, draw_specializations
from fuzz.isolation.messages import Order, Question, Task
from fuzz.isolation.worker import NoScene, Worker
from fuzz.judge.verdict import Broke
from fuzz.targets import Target
from fuzz.values.rng import Stream
from msa_ref.contract import Violation

SPECIALIZATIONS_PER_ROUND = 6
"""Specializations that a round draws cases of: few, because a GPU's kernels are compiled for each."""


@dataclass(frozen=True)
class Budget:
    """The seconds or the cases after which a run ends. shrink_seconds: to shrink one finding."""

    seconds: float | None
    cases: int | None
    shrink_seconds: float = 60.0


class Broken(AssertionError):
    """Tells Hypothesis that an example shows the failure that is being shrunk."""


class Enough(KeyboardInterrupt):
    """Ends a round whose time is up.

    It is a KeyboardInterrupt because Hypothesis passes that one on at once. It would take any other
    exception for a failure of the example, shrink it and keep it in its database.
    """


class RandomRounds:
    """The rounds of one run, and the failures that they have found so far."""

    def __init__(
        self,
        results: Results,
        worker: Worker,
        targets: Sequence[Target],
        device: str,
        budget: Budget,
        is_diagnosed: bool = True,
        is_interrupted: Callable[[], bool] = lambda: False,
        is_first_only: bool = False,
    ) -> None:
        """is_interrupted: asked before every case; True ends the run with KeyboardInterrupt.

        is_first_only: whether the first finding ends the run, before it is shrunk.
        """
        self._results, self._worker, self._targets, self._device = results, worker, targets, device
        self._budget, self._is_diagnosed, self._is_interrupted = budget, is_diagnosed, is_interrupted
        self._is_first_only, self._told = is_first_only, Told(is_tried_at_once=is_first_only)
        self._start = time.perf_counter()
        self._known: set[tuple[str, str]] = set()
        self._scales: dict[str, Scale] = {}
        self._last_broken: tuple[str, Case | None, Order] = ("", None, ())

    def is_over(self) -> bool:
        """True if the budget is spent."""
        budget, num_cases = self._budget, self._results.record.cases
        if self._is_first_only and self._results.record.findings:
            return True
        if budget.cases is not None and num_cases >= budget.cases:
            return True
        # A run judges at least one case, however slow the machine: without any it would say nothing.
        is_late = budget.seconds is not None and time.perf_counter() - self._start >= budget.seconds
        return is_late and num_cases > 0

    def run(
        self,
        run_seed: int,
        scale: Scale,
        shard: tuple[int, int],
        hypothesis_settings: settings,
        on_round: Callable[[int], None],
    ) -> None:
        """Run the rounds of one shard until the budget is spent. on_round: called with each round's number.

        Each round draws inside the promises of some targets; others judge the cases that they take, too.
        """
        number, step = shard
        self._scales = {target.name: inside(scale, target.domain) for target in self._targets}
        scales = list(dict.fromkeys(self._scales.values()))
        try:
            while not self.is_over():
                inner = scales[Stream(run_seed, f"scale {number}").integer(0, len(scales) - 1)]
                chooser = SeededChooser(run_seed, f"run {scale.name} {number}")
                drawn = draw_specializations(chooser, inner, SPECIALIZATIONS_PER_ROUND)
                round_seed = Stream(run_seed, f"round {number}").integer(0, 2**62)
                self._round(sorted(drawn, key=plainness), inner, round_seed, hypothesis_settings)
                self._count_seconds()
                on_round(number)
                number += step
        finally:
            self._count_seconds()

    def _count_seconds(self) -> None:
        self._results.record.seconds = round(time.perf_counter() - self._start, 3)

    def _round(
        self, specializations: list[Specialization], scale: Scale, round_seed: int, hypothesis_settings: settings
    ) -> None:
        """Draw examples until the round is full, or until one breaks in a new way and is shrunk."""
        shrinker, seen = RoundShrinker(self._violations, self._budget.shrink_seconds), set[Case]()

        @seed(round_seed)
        @hypothesis_settings
        @given(cases_of(scale, specializations))
        def examples(case: Case) -> None:
            is_over = shrinker.is_over() if shrinker.has_begun else self.is_over()
            if is_over:
                raise Enough
            if shrinker.has_begun:
                is_broken = shrinker.shows(case)
            elif case in seen:  # Hypothesis likes simple choices, and draws some of them again
                is_broken = False
            else:
                seen.add(case)
                is_broken = self._judge(case, self._takers(case, scale), shrinker)
            # Only this line raises: Hypothesis takes errors from different lines for different failures.
            if is_broken:
                raise Broken

        with suppress(Enough, Broken):
            examples()
        if shrinker.has_begun:
            self._settle(shrinker.target, shrinker.law, *shrinker.finish())

    def _takers(self, case: Case, scale: Scale) -> tuple[str, ...]:
        """The targets that a round at some scale is for, and others that take its case."""
        return tuple(
            target.name
            for target in self._targets
            if (self._scales[target.name] == scale and target.is_run_by(case, self._device))
            or target.takes(case, self._device)
        )

    def _judge(self, case: Case, names: tuple[str, ...], shrinker: RoundShrinker) -> bool:
        """Judge a new example on some targets. The first new failure becomes the one that the round shrinks."""
        self._end_if_interrupted()
        judged = self._worker.judge(Task(case, names, self._device))
        self._results.add(judged)
        if self._told.tell(judged) and self._is_first_only:
            raise Enough
        for name, verdict, _ in judged.verdicts:
            if isinstance(verdict, Broke):
                for violation in verdict.violations:
                    if (name, violation.law) not in self._known:
                        shrinker.begin(name, violation.law, case)
                        return True
        return False

    def _violations(self, case: Case, target: str) -> tuple[Violation, ...]:
        """The laws that a target breaks on a case, judged without counting it; none if no such case can be made."""
        self._end_if_interrupted()
        try:
            judged = self._worker.judge(Task(case, (target,), self._device))
        except NoScene:
            return ()
        if judged.orders:
            self._last_broken = (target, case, judged.orders[target])
        ((_, verdict, _),) = judged.verdicts
        return verdict.violations if isinstance(verdict, Broke) else ()

    def _end_if_interrupted(self) -> None:
        if self._is_interrupted():
            raise KeyboardInterrupt

    def _settle(self, target: str, law: str, case: Case, violations: tuple[Violation, ...]) -> None:
        """Put a minimised case into the findings, and do not shrink the same failure again."""
        has_ended = any(violation.has_ended_process for violation in violations)
        if violations and self._is_diagnosed and not has_ended:
            violations += self._worker.diagnose(Question(case, target, self._device, violations[0]))
            self._worker.renew()  # a question runs the target on other batches, which no finding's order holds
        self._known |= {(target, law), *((target, violation.law) for violation in violations)}
        if violations:
            *last, order = self._last_broken
            self._results.settle(target, case, violations, order if last == [target, case] else ())


def plainness(one: Specialization) -> tuple[int, ...]:
    """Sort key that puts plain specializations first, so that failures shrink to them."""
    config, is_viewed = one.config, one.views not in (None, Views())
    sizes = (config.num_index_heads, config.topk_blocks, config.block_size, config.index_head_dim)
    return (one.max_reqs, is_viewed, one.table_blocks, *sizes)

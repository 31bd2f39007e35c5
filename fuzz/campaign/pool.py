"""Judges cases on targets in child processes, and collects what came out."""

import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from fuzz.campaign.findings import Findings
from fuzz.cases.coverage import Coverage
from fuzz.isolation.worker import HANGS_AFTER, HarnessError, Judged, Question, Task, Worker
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.record import FixedRecord, Record, TargetRecord
from fuzz.targets import Target
from fuzz.targets.profiles import in_words
from msa_ref.contract import Violation

CASES_IN_FLIGHT = 8
"""Cases handed to each worker ahead of time: enough to keep it busy, few enough to stop early."""

MAX_DIAGNOSED = 4
"""Broken cases of each target that are asked why, beside those that broke a law for the first time."""

Ask = Callable[[Question], tuple[Violation, ...]]


@dataclass
class Outcome:
    """What became of one target."""

    agreed: int = 0
    broke: int = 0
    undefined: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    certified: int = 0
    seconds: float = 0.0


@dataclass
class Results:
    """What became of a run. outcomes: by target name."""

    outcomes: dict[str, Outcome]
    coverage: Coverage
    findings: Findings
    environment: dict[str, str]
    cases: int = 0
    seconds: float = 0.0
    aborted: str = ""
    fixed: list[FixedRecord] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 all agreed, 1 something broke, 3 a target was judged by no case at all."""
        if self.aborted or any(outcome.broke for outcome in self.outcomes.values()):
            return 1
        return 0 if self.cases and all(outcome.agreed for outcome in self.outcomes.values()) else 3

    @property
    def broke(self) -> int:
        """Bad verdicts so far."""
        return sum(outcome.broke for outcome in self.outcomes.values())

    def add(self, judged: Judged, ask: Ask | None = None) -> None:
        """Count one judged case. ask: says why a finding of a new kind broke; None to leave that open."""
        case, device = judged.task.case, judged.task.device
        self.cases += 1
        self.coverage.add(case)
        for name, verdict, seconds in judged.verdicts:
            outcome = self.outcomes[name]
            outcome.seconds += seconds
            match verdict:
                case Agreed(rows=rows, certified=certified):
                    outcome.agreed += 1
                    outcome.rows += rows
                    outcome.certified += certified
                case Undefined(reason=reason):
                    outcome.undefined[reason] += 1
                case Broke(violations=violations, rows=rows, certified=certified):
                    outcome.broke += 1
                    outcome.rows += rows
                    outcome.certified += certified
                    is_asked = outcome.broke <= MAX_DIAGNOSED or self.findings.is_new(name, violations)
                    if (
                        ask is not None
                        and is_asked
                        and not any(violation.has_ended_process for violation in violations)
                    ):
                        violations += ask(Question(case, name, device, violations[0]))
                    self.findings.add(name, case, violations, self.environment)

    def record(self, command: str, reproduce: str, seed: int, device: str, targets: list[Target]) -> Record:
        """All of it as data."""
        return Record(
            command=command,
            reproduce=reproduce,
            seed=seed,
            scale=self.coverage.scale,
            device=device,
            environment=self.environment,
            cases=self.cases,
            seconds=round(self.seconds, 3),
            coverage=self.coverage.table(),
            histograms={
                "tie classes of cases": self.coverage.tie_classes(),
                "dispatch paths of cases": dict(sorted(self.coverage.paths.items())),
            },
            targets=tuple(_target_record(target, self.outcomes[target.name]) for target in targets),
            findings=self.findings.records(),
            fixed=tuple(self.fixed),
            aborted=self.aborted,
            exit_status=self.exit_status,
        )


def _target_record(target: Target, outcome: Outcome) -> TargetRecord:
    return TargetRecord(
        target.name,
        target.sentence,
        in_words(target.profile),
        outcome.agreed,
        outcome.broke,
        dict(outcome.undefined),
        outcome.rows,
        outcome.certified,
        round(outcome.seconds, 3),
    )


def run_tasks(
    tasks: Iterable[Task],
    total: int,
    results: Results,
    jobs: int = 1,
    hangs_after: float = HANGS_AFTER,
    is_diagnosed: bool = True,
) -> None:
    """Judge every task and add it to the results, in order.

    Args:
        total: for the progress bar only.
        jobs: child processes. On a GPU more of them compile and prepare side by side.
        hangs_after: seconds that one target may take for one case.
        is_diagnosed: whether a broken target is asked for the laws between runs.
    """
    start, bar = time.perf_counter(), Progress(total)
    try:
        with Worker(hangs_after) as asked, judged_in_order(tasks, jobs, hangs_after) as stream:
            for judged in stream:
                results.add(judged, asked.diagnose if is_diagnosed else None)
                bar.step(results.broke)
    except HarnessError as error:
        results.aborted = f"the harness failed on case number {results.cases}: {error}"
    except KeyboardInterrupt:  # what was judged is worth a report
        results.aborted = f"interrupted after {results.cases} of {total} cases"
    bar.close()
    results.seconds += time.perf_counter() - start


@contextmanager
def judged_in_order(tasks: Iterable[Task], jobs: int, hangs_after: float) -> Iterator[Iterator[Judged]]:
    """The tasks' outcomes in order, computed by some child processes."""
    with ExitStack() as stack:
        far_turn = threading.Lock()
        idle = [stack.enter_context(Worker(hangs_after, far_turn)) for _ in range(jobs)]

        def judge(task: Task) -> Judged:
            worker = idle.pop()  # as many workers as threads: one is always there
            try:
                return worker.judge(task)
            finally:
                idle.append(worker)

        pool = ThreadPoolExecutor(jobs)
        try:
            yield _ahead(tasks, pool, judge, jobs * CASES_IN_FLIGHT)
        finally:
            pool.shutdown(cancel_futures=True)


def _ahead(
    tasks: Iterable[Task], pool: ThreadPoolExecutor, judge: Callable[[Task], Judged], most: int
) -> Iterator[Judged]:
    rest = iter(tasks)
    futures: list[Future[Judged]] = [pool.submit(judge, task) for task in itertools.islice(rest, most)]
    while futures:
        yield futures.pop(0).result()
        futures += [pool.submit(judge, task) for task in itertools.islice(rest, 1)]


class Progress:
    """A line on stderr that keeps up with a run; silent where stderr is no terminal."""

    def __init__(self, total: int, what: str = "cases", bad: str = "broke") -> None:
        self._what, self._bad = what, bad
        self._total, self._done, self._start, self._last = total, 0, time.perf_counter(), 0.0
        self._is_shown = sys.stderr.isatty()

    def step(self, broke: int) -> None:
        """One more is done; `broke` so far were bad."""
        self._done += 1
        now = time.perf_counter()
        if not self._is_shown or (now - self._last < 0.2 and self._done < self._total):
            return
        self._last = now
        filled = 30 * self._done // max(1, self._total)
        left = (now - self._start) / self._done * (self._total - self._done)
        text = (
            f"[{'#' * filled}{'.' * (30 - filled)}] {self._done}/{self._total} {self._what}, {broke} {self._bad}, "
            f"{left:.0f} s left"
        )
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipe the line, so that the report starts on a clean one."""
        if self._is_shown:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)

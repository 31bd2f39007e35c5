"""Runs cases over targets, here or in worker processes, and collects what came out."""

import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice

import torch

from fuzz.case import Case
from fuzz.coverage import Coverage
from fuzz.findings import Findings
from fuzz.laws import diagnose
from fuzz.materialise import Scene
from fuzz.oracle import Agreed, Broke, Examiner, Undefined, Verdict
from fuzz.targets import find

CASES_IN_FLIGHT = 8
"""Cases handed to each worker ahead of time: enough to keep it busy, few enough to stop early."""

MAX_DIAGNOSED = 4
"""Broken cases of each target that are asked why, beside those that broke a law for the first time."""


MAX_KEPT_BYTES = 4 * 2**30
"""GPU memory that a process may keep cached between cases; the others want some too."""

_far_turn: AbstractContextManager = nullcontext()
"""Held by the worker whose turn it is with far pages."""


@dataclass(frozen=True)
class Task:
    """One case and the names of the targets to judge on it."""

    case: Case
    targets: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class Judged:
    """What came of a task: (target, verdict, seconds) each."""

    task: Task
    verdicts: tuple[tuple[str, Verdict, float], ...]


def judge(task: Task) -> Judged:
    """Judge one case on its targets. The right answer is computed once for all of them."""
    # Far pages take many GiB of a GPU that the other workers share: one such case at a time.
    with _far_turn if task.case.pages.is_far else nullcontext():
        judged = _judge(task)
        if task.device != "cpu" and torch.cuda.memory_reserved() > MAX_KEPT_BYTES:
            torch.cuda.empty_cache()
    return judged


def _judge(task: Task) -> Judged:
    examiner, verdicts = Examiner(Scene(task.case, task.device)), []
    for name in task.targets:
        start = time.perf_counter()
        verdict = examiner.examine(find(name))
        verdicts.append((name, verdict, time.perf_counter() - start))
    return Judged(task, tuple(verdicts))


@dataclass
class Outcome:
    """What became of one target."""

    agreed: int = 0
    broke: int = 0
    undefined: Counter[str] = field(default_factory=Counter)
    rows: int = 0
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

    def add(self, judged: Judged) -> None:
        """Count one judged case. A finding of a new kind is diagnosed at once, in this process."""
        case, device = judged.task.case, judged.task.device
        self.cases += 1
        self.coverage.add(case)
        for name, verdict, seconds in judged.verdicts:
            outcome = self.outcomes[name]
            outcome.seconds += seconds
            match verdict:
                case Agreed(rows=rows):
                    outcome.agreed += 1
                    outcome.rows += rows
                case Undefined(reason=reason):
                    outcome.undefined[reason] += 1
                case Broke(breaches=breaches, rows=rows):
                    outcome.broke += 1
                    outcome.rows += rows
                    if "CUDA error" in breaches[-1].evidence:
                        self.aborted = "a CUDA error ended this process's use of the GPU"
                    elif outcome.broke <= MAX_DIAGNOSED or self.findings.is_new(name, breaches):
                        breaches += tuple(diagnose(case, find(name), device, breaches[0]))
                    self.findings.add(name, case, breaches, self.environment)


def run_tasks(tasks: Iterable[Task], total: int, results: Results, jobs: int = 1) -> None:
    """Judge every task and add it to the results, in order.

    Args:
        total: for the progress bar only.
        jobs: worker processes; 1 stays in this one. On a GPU more of them compile and prepare side by side.
    """
    start, bar = time.perf_counter(), Progress(total)
    try:
        with _judged(tasks, jobs) as stream:
            for judged in stream:
                results.add(judged)
                bar.step(results.broke)
                if results.aborted:
                    break
    except torch.OutOfMemoryError:
        results.aborted = f"the GPU's memory ran out near case number {results.cases}: fewer --jobs need less"
    except BrokenProcessPool:
        last = results.cases + jobs * CASES_IN_FLIGHT - 1
        results.aborted = f"a worker process died on one of the cases number {results.cases} .. {last}"
    bar.close()
    results.seconds += time.perf_counter() - start


@contextmanager
def _judged(tasks: Iterable[Task], jobs: int) -> Iterator[Iterator[Judged]]:
    """The tasks' outcomes in order, computed here or by worker processes."""
    if jobs == 1:
        yield map(judge, tasks)
        return
    # Spawned, not forked: a child must import triton under this process's environment, cleanly.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(context.Lock(),)) as pool:
        try:
            yield _ahead(tasks, pool, jobs * CASES_IN_FLIGHT)
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(far_turn: AbstractContextManager) -> None:
    global _far_turn
    _far_turn = far_turn
    torch.set_num_threads(1)


def _ahead(tasks: Iterable[Task], pool: ProcessPoolExecutor, most: int) -> Iterator[Judged]:
    rest = iter(tasks)
    futures = [pool.submit(judge, task) for task in islice(rest, most)]
    while futures:
        yield futures.pop(0).result()
        futures += [pool.submit(judge, task) for task in islice(rest, 1)]


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

"""Runs cases over targets and collects what came out."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from fuzz.case import Case
from fuzz.coverage import Coverage
from fuzz.findings import Findings
from fuzz.laws import diagnose
from fuzz.materialise import Scene
from fuzz.oracle import Agreed, Broke, Examiner, Undefined
from fuzz.targets import Target


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
    cases: int = 0
    seconds: float = 0.0
    aborted: str = ""

    @property
    def exit_status(self) -> int:
        """0 all agreed, 1 something broke, 3 a target was judged by no case at all."""
        if self.aborted or any(outcome.broke for outcome in self.outcomes.values()):
            return 1
        return 0 if self.cases and all(outcome.agreed for outcome in self.outcomes.values()) else 3


def run_cases(
    cases: Iterable[tuple[Case, list[Target]]],
    total: int,
    device: torch.device | str,
    results: Results,
    environment: dict[str, str],
) -> None:
    """Judge every case on its targets and add to the results. total: for the progress bar only."""
    start, bar = time.perf_counter(), Progress(total)
    for case, targets in cases:
        scene = Scene(case, device)
        examiner = Examiner(scene)
        for target in targets:
            outcome = results.outcomes[target.name]
            before = time.perf_counter()
            verdict = examiner.examine(target)
            outcome.seconds += time.perf_counter() - before
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
                        results.aborted = "a CUDA error ended this process's use of the GPU"
                    elif results.findings.is_new(target.name, breaches):
                        first = breaches[0]
                        breaches += tuple(diagnose(case, target, device, first.req, first.num_splits))
                    results.findings.add(target.name, case, breaches, environment)
        results.cases += 1
        results.coverage.add(case)
        bar.step(sum(outcome.broke for outcome in results.outcomes.values()))
        if results.aborted:
            break
    bar.close()
    results.seconds += time.perf_counter() - start


class Progress:
    """A line on stderr that keeps up with a run; silent where stderr is no terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._start, self._last = total, 0, time.perf_counter(), 0.0
        self._is_shown = sys.stderr.isatty()

    def step(self, broke: int) -> None:
        """One more case is done; `broke` verdicts so far were bad."""
        self._done += 1
        now = time.perf_counter()
        if not self._is_shown or (now - self._last < 0.2 and self._done < self._total):
            return
        self._last = now
        filled = 30 * self._done // max(1, self._total)
        left = (now - self._start) / self._done * (self._total - self._done)
        text = (
            f"[{'#' * filled}{'.' * (30 - filled)}] {self._done}/{self._total} cases, {broke} broke, {left:.0f} s left"
        )
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipe the line, so that the report starts on a clean one."""
        if self._is_shown:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)

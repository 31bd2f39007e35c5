"""What `gate` and `run` share: options, the look back at old findings, and what they print at the end."""

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from fuzz.campaign.findings import Findings, mark_fixed, stored
from fuzz.campaign.pool import Outcome, Results
from fuzz.cases.case import Case
from fuzz.cases.coverage import Coverage
from fuzz.cases.scale import SCALES, Scale
from fuzz.cases.simplify import minimise
from fuzz.isolation.worker import Task, Worker
from fuzz.judge.examiner import Agreed
from fuzz.report.junit import junit_xml
from fuzz.report.record import FixedRecord
from fuzz.report.run_text import text_report
from fuzz.targets import built_in as targets
from fuzz.targets.built_in import Target
from msa_fast import environment

MOST_LOOKED_BACK_AT = 50
"""Old findings that are judged again: the folder may hold those of months."""


def choose(options: argparse.Namespace, device: str) -> list[Target]:
    """The targets to judge: all built-in ones that can run here, if none is named."""
    chosen = [targets.find(name) for name in options.target or targets.BUILT_IN]
    return chosen if options.target or device != "cpu" else [target for target in chosen if not target.is_graph]


def scale_of(options: argparse.Namespace, device: str) -> Scale:
    """The size of cases."""
    return SCALES[options.scale or ("large" if device == "cuda" else "small")]


def new_results(options: argparse.Namespace, chosen: list[Target], scale: Scale, device: str) -> Results:
    """Nothing judged yet."""
    outcomes = {target.name: Outcome() for target in chosen}
    return Results(outcomes, Coverage(scale), Findings(options.findings), environment.stamp(device))


def look_back(results: Results, folder: Path, device: str, hangs_after: float) -> None:
    """Judge the findings of earlier runs again, and mark those that no longer fail as fixed."""
    since = results.environment["commit"]
    old = stored(folder, set(results.outcomes))[:MOST_LOOKED_BACK_AT]
    if not old:
        return
    with Worker(hangs_after) as worker:
        for finding in old:
            if finding.case.pages.is_far and device == "cpu":
                continue
            ((_, verdict, _),) = worker.judge(Task(finding.case, (finding.target,), device)).verdicts
            if isinstance(verdict, Agreed):
                mark_fixed(finding.path, since)
                results.fixed.append(FixedRecord(finding.target, finding.law, str(finding.path), since))


def shrink_findings(results: Results, device: str, seconds: float, hangs_after: float) -> None:
    """Minimise the first finding of every target and law, each within so many seconds."""
    first = {(finding.target, finding.law): finding for finding in reversed(results.findings.all())}
    settled: set[tuple[str, str]] = set()
    with Worker(hangs_after) as worker:
        for (target, law), finding in reversed(first.items()):
            if (target, law) in settled:
                continue
            deadline = time.perf_counter() + seconds

            def still_breaks(case: Case, target: str = target, law: str = law) -> bool:
                return law in {violation.law for violation in worker.violations(case, target, device)}

            case = minimise(finding.case, still_breaks, lambda deadline=deadline: time.perf_counter() > deadline)  # type: ignore[misc]
            found = worker.violations(case, target, device)
            if found:
                results.findings.settle(target, case, found, results.environment)
                settled |= {(target, violation.law) for violation in found}


@dataclass
class Ending:
    """Whether the run was asked to end before it was done."""

    is_asked: bool = False


@contextmanager
def ended_politely() -> Iterator[Ending]:
    """Meanwhile a request to terminate is an interrupt from the keyboard: what was judged is worth a report.

    Whoever calls foreign code in a loop should look at what this yields, too: an interrupt that is
    raised inside a callback of the garbage collector (Hypothesis has one) is printed and gone.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # signals are the main thread's business
        return

    def end(number: int, frame: FrameType | None) -> None:
        ending.is_asked = True
        signal.default_int_handler(number, frame)

    # One that whoever started this process has told it to ignore stays ignored.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(
    results: Results, chosen: list[Target], command: str, reproduce: str, options: argparse.Namespace, device: str
) -> int:
    """Print the report, write the record where it is wanted, and return the exit status."""
    record = results.record(command, reproduce, options.seed, device, chosen)
    record = replace(record, shard=getattr(options, "shard", record.shard))
    print(text_report(results, chosen, options.verbose))
    if options.json:
        _write(options.json, record.to_json())
    if options.junit:
        _write(options.junit, junit_xml(record))
    print(f"again: {reproduce}")
    return results.exit_status


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def at_least(name: str, value: float, least: float) -> None:
    """Refuse an option that is too small.

    Raises:
        ValueError: one sentence.
    """
    if value < least:
        raise ValueError(f"{name} must be >= {least}; got {value}")


def default_jobs(device: str) -> int:
    """Child processes of a gate or a run: one per core; on a GPU a few, which share its memory."""
    cores = os.cpu_count() or 1
    return max(1, min(8, cores // 2)) if device == "cuda" else cores


def command_line(command: str, options: argparse.Namespace, *words: str) -> str:
    """A command to paste: what was given, with the seed, device and scale spelled out."""
    named = [word for name in options.target or () for word in ("--target", name)]
    return shlex.join(["python", "-m", "fuzz", command, "--seed", str(options.seed), *words, *named])


def say(text: str) -> None:
    """A line about progress, beside the report."""
    print(text, file=sys.stderr, flush=True)

"""Shrinks the findings of a fixed list of cases, one for each target and law that broke."""

import time

from fuzz.campaign.results import Results
from fuzz.cases.case import Case
from fuzz.cases.simplify import shrink
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Broke


def shrink_findings(results: Results, worker: Worker, device: str, seconds: float) -> None:
    """Make the first finding of every target and law smaller, each within a number of seconds.

    Nothing is shrunk after an interrupt.
    """
    if results.record.aborted:
        return
    try:
        _shrink_each(results, worker, device, seconds)
    except KeyboardInterrupt:
        results.record.aborted = "ended while findings were shrunk"


def _shrink_each(results: Results, worker: Worker, device: str, seconds: float) -> None:
    settled: set[tuple[str, str]] = set()
    for finding in results.findings.records():
        target, law = finding.target, finding.law
        if (target, law) in settled:
            continue

        def shows(case: Case, target: str = target, law: str = law) -> bool:
            return law in {violation.law for violation in worker.violations(case, target, device)}

        case = shrink(results.findings.case(finding), shows, time.perf_counter() + seconds)
        judged = worker.judge(Task(case, (target,), device))
        ((_, verdict, _),) = judged.verdicts
        violations = verdict.violations if isinstance(verdict, Broke) else ()
        settled |= {(target, law), *((target, violation.law) for violation in violations)}
        if violations:
            results.settle(target, case, violations, judged.orders[target])

"""Judges findings of earlier runs again, and marks those that no longer fail.

A finding counts as fixed only if it agrees after the cases that its process had judged when it broke.
"""

from collections.abc import Iterator
from pathlib import Path

from fuzz.campaign.findings import Finding, mark_fixed, stored
from fuzz.campaign.pool import Pool
from fuzz.campaign.results import Results
from fuzz.campaign.tried_again import NUM_TRIES
from fuzz.isolation.messages import Task
from fuzz.isolation.repeated import judged_behind
from fuzz.isolation.worker import HarnessError
from fuzz.judge.verdict import Agreed
from fuzz.report.record import FixedRecord

MAX_RECHECKED = 50
"""Bound on the old findings that one run judges again: the folder may hold those of months."""

MAX_REPEATED = 100
"""Bound on the cases that one run repeats in front of old findings."""


def look_back(results: Results, folder: Path, device: str, pool: Pool) -> None:
    """Judge the findings of earlier runs again, and mark those that no longer fail as fixed."""
    record = results.record
    since = record.environment["commit"]
    old = stored(folder, {target.name for target in record.targets})
    chosen = dict(list(old.items())[:MAX_RECHECKED])
    try:
        for path in _fixed(chosen, device, pool):
            mark_fixed(path, since)
            record.fixed += (FixedRecord(chosen[path].target, chosen[path].law, str(path), since),)
    except HarnessError as error:
        record.aborted = f"the harness failed on an earlier finding: {error}"
    except KeyboardInterrupt:
        record.aborted = "ended while earlier findings were judged again"


def _fixed(old: dict[Path, Finding], device: str, pool: Pool) -> Iterator[Path]:
    """Paths of findings that agree now, in the circumstances in which they broke."""
    tasks = {path: Task(finding.case, (finding.target,), device) for path, finding in old.items()}
    plain = [path for path, finding in old.items() if not finding.before and finding.breaks in ("alone", "untried")]
    for number, judged in pool.judged(enumerate(tasks[path] for path in plain)):
        if isinstance(judged.verdicts[0][1], Agreed):
            yield plain[number]
    num_repeated = 0
    for path, finding in old.items():
        # One that came and never came back would agree today as it did then.
        is_left = path in plain or finding.breaks == "never"
        num_repeated += 0 if is_left else len(finding.before)
        if not is_left and num_repeated <= MAX_REPEATED and _agrees(finding, tasks[path], pool):
            yield path


def _agrees(finding: Finding, task: Task, pool: Pool) -> bool:
    """True if a finding agrees after its order; several times, if it did not break every time."""
    tries = NUM_TRIES**2 if finding.breaks == "sometimes" else 1
    with pool.worker() as worker:
        return all(isinstance(judged_behind(worker, finding.before, task), Agreed) for _ in range(tries))

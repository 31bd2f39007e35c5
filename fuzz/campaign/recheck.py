"""Judges findings of earlier runs again, and marks those that no longer fail."""

from pathlib import Path

from fuzz.campaign.findings import mark_fixed, stored
from fuzz.campaign.pool import Pool
from fuzz.campaign.results import Results
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import HarnessError
from fuzz.judge.verdict import Agreed
from fuzz.report.record import FixedRecord

MAX_RECHECKED = 50
"""Bound on the old findings that one run judges again: the folder may hold those of months."""


def look_back(results: Results, folder: Path, device: str, pool: Pool) -> None:
    """Judge the findings of earlier runs again, and mark those that no longer fail as fixed."""
    record = results.record
    since = record.environment["commit"]
    old = list(stored(folder, {target.name for target in record.targets}).items())[:MAX_RECHECKED]
    tasks = [Task(finding.case, (finding.target,), device) for _, finding in old]
    try:
        for number, judged in pool.judged(tasks):
            (path, finding), ((_, verdict, _),) = old[number], judged.verdicts
            if isinstance(verdict, Agreed):
                mark_fixed(path, since)
                record.fixed += (FixedRecord(finding.target, finding.law, str(path), since),)
    except HarnessError as error:
        record.aborted = f"the harness failed on an earlier finding: {error}"
    except KeyboardInterrupt:
        record.aborted = "ended while earlier findings were judged again"

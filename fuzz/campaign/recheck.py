"""The look back: findings of earlier runs, judged again and marked where they no longer fail."""

from pathlib import Path

from fuzz.campaign.findings import mark_fixed, stored
from fuzz.campaign.pool import Results
from fuzz.isolation.worker import Task, Worker
from fuzz.judge.verdict import Agreed
from fuzz.report.record import FixedRecord

MAX_RECHECKED = 50
"""Old findings that one run judges again: the folder may hold those of months."""


def look_back(results: Results, folder: Path, device: str, hangs_after: float) -> None:
    """Judge the findings of earlier runs again, and mark those that no longer fail as fixed."""
    since = results.environment["commit"]
    old = stored(folder, set(results.outcomes))[:MAX_RECHECKED]
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

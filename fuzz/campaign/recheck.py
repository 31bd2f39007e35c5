"""Judges findings of earlier runs again, and sets those aside that no longer fail.

A finding counts as fixed only if it agrees after the cases that its process had judged when it broke.
"""

from collections.abc import Iterator
from pathlib import Path

from fuzz.campaign.findings import Finding, set_aside, stored
from fuzz.campaign.pool import Pool
from fuzz.campaign.results import Results
from fuzz.campaign.tried_again import NUM_TRIES
from fuzz.isolation.messages import Task
from fuzz.isolation.repeated import judged_behind
from fuzz.isolation.worker import HarnessError
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.report.record import EarlierRecord, FixedRecord

MAX_RECHECKED = 50
"""Bound on the old findings that one run judges again: the folder may hold those of months."""

MAX_REPEATED = 100
"""Bound on the cases that one run repeats in front of old findings."""


def look_back(results: Results, folder: Path, device: str, pool: Pool, count: int = MAX_RECHECKED) -> None:
    """Judge the newest findings of earlier runs on this device again, and set aside those that no longer fail.

    count: of them at most.
    """
    record = results.record
    since = record.environment["commit"]
    old = stored(folder, {target.name for target in record.targets}).items()
    here = [(path, finding) for path, finding in old if finding.is_of_cpu == (device == "cpu")]
    chosen = dict(here[:count])
    try:
        for path, verdict in _judged_again(chosen, device, pool):
            target, law = chosen[path].target, chosen[path].law
            if isinstance(verdict, Agreed):
                record.fixed += (FixedRecord(target, law, str(set_aside(path, since)), since),)
            elif isinstance(verdict, Broke):
                record.still_broken += (EarlierRecord(target, law, str(path)),)
    except HarnessError as error:
        record.aborted = f"the harness failed on an earlier finding: {error}"
    except KeyboardInterrupt:
        record.aborted = "ended while earlier findings were judged again"


def _judged_again(old: dict[Path, Finding], device: str, pool: Pool) -> Iterator[tuple[Path, Verdict]]:
    """Paths of findings, and what they do now, in the circumstances in which they broke."""
    tasks = {path: Task(finding.case, (finding.target,), device) for path, finding in old.items()}
    plain = [path for path, finding in old.items() if not finding.before and finding.breaks in ("alone", "untried")]
    for number, judged in pool.judged(enumerate(tasks[path] for path in plain)):
        yield plain[number], judged.verdicts[0][1]
    num_repeated = 0
    for path, finding in old.items():
        # One that came and never came back would agree today as it did then.
        is_left = path in plain or finding.breaks == "never"
        num_repeated += 0 if is_left else len(finding.before)
        if not is_left and num_repeated <= MAX_REPEATED:
            yield path, _behind_its_order(finding, tasks[path], pool)


def _behind_its_order(finding: Finding, task: Task, pool: Pool) -> Verdict:
    """The verdict on a finding after its order; on one that did not break every time, the worst of several."""
    tries = NUM_TRIES**2 if finding.breaks == "sometimes" else 1
    with pool.worker() as worker:
        for _ in range(tries):
            verdict = judged_behind(worker, finding.before, task)
            if not isinstance(verdict, Agreed):
                break
    return verdict

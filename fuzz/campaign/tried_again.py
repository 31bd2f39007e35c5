"""Tries every finding again in a fresh child, before a report says how it is reproduced.

A target may keep something between calls, and break only after other cases. Then the case alone agrees, and the
finding is the order of cases that its process judged, made as short as time allows.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from fuzz.campaign.findings import Finding
from fuzz.campaign.results import Results
from fuzz.campaign.told import say
from fuzz.isolation.messages import Order, Task
from fuzz.isolation.order import only_on
from fuzz.isolation.repeated import judged_behind
from fuzz.isolation.worker import HarnessError, Worker
from fuzz.judge.verdict import Broke

SECONDS_TO_TRY = 120.0
"""Seconds in which all findings of a run are tried. What is left is reported as not tried."""

NUM_TRIES = 3
"""Times that a case is tried alone before its order is held to be the reason: some failures come and go."""


def try_again(results: Results, device: str, hangs_after: float) -> None:
    """Find out how each finding is reproduced, and write it into its file. An interrupt leaves the rest untried."""
    findings = [finding for finding in results.findings.kept() if finding.violation.how != "hang"]
    if not findings:
        return
    deadline, short = time.perf_counter() + SECONDS_TO_TRY, dict[str, Order]()
    try:
        with Worker(hangs_after) as worker:
            for finding in findings:
                trial = _Trial(worker, finding, device, deadline)
                found = trial.outcome(short.get(finding.target, ()))
                if found.breaks == "behind":
                    short[finding.target] = found.before
                results.replace(found)
    except (HarnessError, KeyboardInterrupt) as end:
        say(f"not every finding was tried again: {str(end) or 'interrupted'}")


class _OutOfTime(Exception):
    """Ends a trial that came to no result."""


class _Trial:
    """Tries one finding in fresh children, until its time is up."""

    def __init__(self, worker: Worker, finding: Finding, device: str, deadline: float) -> None:
        self._worker, self._finding, self._deadline = worker, finding, deadline
        self._task = Task(finding.case, (finding.target,), device)

    def outcome(self, likely: Order) -> Finding:
        """The finding, with how it breaks. likely: an order after which another finding of its target breaks."""
        whole = self._finding.before
        try:
            for number in range(NUM_TRIES):
                if self._breaks_in_time(()):
                    return replace(self._finding, breaks="sometimes" if number else "alone", before=())
            for order in filter(None, (likely, only_on(whole, self._finding.target), whole)):
                if self._breaks_in_time(order):
                    shortest = shortened(order, self._breaks_behind, self._is_over)
                    return replace(self._finding, breaks="behind", before=shortest)
        except _OutOfTime:
            return self._finding
        return replace(self._finding, breaks="never")

    def _is_over(self) -> bool:
        return time.perf_counter() > self._deadline

    def _breaks_in_time(self, order: Order) -> bool:
        if self._is_over():
            raise _OutOfTime
        return self._breaks_behind(order)

    def _breaks_behind(self, order: Order) -> bool:
        return isinstance(judged_behind(self._worker, order, self._task), Broke)


def shortened(order: Order, breaks_behind: Callable[[Order], bool], is_over: Callable[[], bool]) -> Order:
    """A part of an order after which a finding still breaks: its last cases, and of them as few as time allows."""
    length = 1
    while length < len(order) and not is_over():
        if breaks_behind(order[-length:]):
            order = order[-length:]
            break
        length *= 2
    size = len(order) // 2
    while size and not is_over():
        start = 0
        while start < len(order) and not is_over():
            smaller = order[:start] + order[start + size :]
            if smaller and breaks_behind(smaller):
                order = smaller
            else:
                start += size
        size //= 2
    return order

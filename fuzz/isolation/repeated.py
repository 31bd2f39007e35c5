"""Judges a case in a fresh child, behind the cases that another child had judged before it."""

from fuzz.isolation.messages import Order, Task
from fuzz.isolation.order import tasks_in
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Broke, Undefined, Verdict

NOT_REPEATED = Undefined("not judged: a process ended before its order of cases was repeated")
"""The verdict behind an order that a fresh child did not live to repeat."""


def judged_behind(worker: Worker, order: Order, task: Task) -> Verdict:
    """The verdict on a task's only target, in a fresh child that has judged this order and nothing else.

    Raises:
        HarnessError: if the harness failed on one of the cases.
    """
    worker.renew()
    num_children = worker.restarts
    *before, last = tasks_in(order, task)
    for one in before:
        worker.judge(one)
    verdict = worker.judge(last).verdicts[-1][1]
    is_repeated = worker.restarts <= num_children + 1
    return verdict if is_repeated or isinstance(verdict, Broke) else NOT_REPEATED

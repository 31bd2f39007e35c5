"""The order of cases that one process judged: a finding may depend on it, where a target keeps something between calls.

A process is known by its order alone: every child comes from the same clean fork server.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from fuzz.cases.case import Case
from fuzz.isolation.messages import Earlier, Order, Task


def order_of(judged: Iterable[tuple[Case, str]]) -> Order:
    """The order of (case, target) pairs, in which pairs of one case that follow each other are one step."""
    groups = [list(group) for _, group in groupby(judged, lambda pair: id(pair[0]))]
    return tuple(Earlier(group[0][0], tuple(name for _, name in group)) for group in groups)


def only_on(order: Order, target: str) -> Order:
    """The part of an order that one target took part in, without the others."""
    return tuple(Earlier(step.case, (target,)) for step in order if target in step.targets)


def renamed(order: Order, old: str, new: str) -> Order:
    """The same order with another target in the place of one."""
    return tuple(replace(step, targets=tuple(new if name == old else name for name in step.targets)) for step in order)


def tasks_in(order: Order, last: Task) -> list[Task]:
    """The tasks that repeat an order and end with the last one, whose case its own last step may share."""
    *steps, final = (*order, Earlier(last.case, last.targets))
    if steps and steps[-1].case == final.case:
        final = replace(final, targets=(*steps.pop().targets, *final.targets))
    return [Task(step.case, step.targets, last.device) for step in (*steps, final)]

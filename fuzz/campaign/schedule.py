"""The order in which a fixed list of tasks is begun, so that no child waits for another, and all end together."""

from collections.abc import Sequence

from fuzz.cases.case import Case
from fuzz.isolation.messages import Task
from fuzz.isolation.turns import num_scores, takes_turns

NUM_HEAVIEST = 100
"""Tasks that are begun early on a GPU, the heaviest of all: one of them begun late would be waited for at the end."""
HEAVY_EVERY = 4
"""One of so many tasks is a heavy one while these last: all at once would not fit the memory of a GPU."""

Numbered = tuple[int, Task]
"""A task, and its number in the list: results come in that order, whichever task was begun first."""


def in_turn(tasks: Sequence[Task], is_on_gpu: bool) -> list[Numbered]:
    """The tasks as they are begun: on a GPU the heaviest early, and far pages one by one, with others between.

    Far pages and very many scores are judged by one child at a time, and a second one would wait. A CPU judges kept
    cases first, as they broke something before.
    """
    numbered = list(enumerate(tasks))
    if is_on_gpu:
        by_weight = sorted(numbered, key=lambda one: -weight(one[1]))
        heaviest = by_weight[:NUM_HEAVIEST]
        numbers = {number for number, _ in heaviest}
        numbered = [one for one in numbered if one[0] not in numbers]
        for count, one in enumerate(heaviest):
            numbered.insert(count * HEAVY_EVERY, one)
    far = [one for one in numbered if takes_turns(one[1].case)]
    turns = [one for one in numbered if not takes_turns(one[1].case)]
    for count, one in enumerate(far):
        turns.insert(count * len(numbered) // len(far), one)
    return turns


def weight(task: Task) -> int:
    """A measure of a task's work: scores of rows and blocks, over all runs and targets."""
    return _runs(task.case) * num_scores(task.case) * len(task.targets)


def _runs(case: Case) -> int:
    return len(case.num_splits) + case.repeats + len(case.replay)

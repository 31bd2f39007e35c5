"""The order in which a fixed list of tasks is begun, so that no child waits for another, and all end together."""

from collections.abc import Hashable, Sequence

from fuzz.cases.case import Case
from fuzz.isolation.messages import Task
from fuzz.isolation.turns import num_scores, takes_turns

NUM_HEAVIEST = 100
"""Tasks that are begun early on a GPU, the heaviest of all: one of them begun late would be waited for at the end."""
HEAVY_EVERY = 4
"""One task in HEAVY_EVERY is a heavy one while these last: all at once would not fit the memory of a GPU."""

Numbered = tuple[int, Task]
"""A task, and its number in the list: results come in that order, whichever task was begun first."""


def in_turn(tasks: Sequence[Task], is_on_gpu: bool) -> list[Numbered]:
    """The tasks as they are begun: on a GPU the dear ones early, and far pages one by one, with others between.

    Dear is what kernels are compiled for, which costs more than a case's work: no two children compile the same at
    once, and what comes at the end is compiled. Dear are also the heaviest.
    Far pages and very many scores are judged by one child at a time, and a second one would wait. A CPU judges kept
    cases first, as they broke something before.
    """
    numbered = list(enumerate(tasks))
    if is_on_gpu:
        by_weight = sorted(numbered, key=lambda one: -weight(one[1]))
        heaviest = by_weight[:NUM_HEAVIEST]
        numbers = {number for number, _ in heaviest}
        numbered = _new_forms_first([one for one in numbered if one[0] not in numbers])
        for count, one in enumerate(heaviest):
            numbered.insert(count * HEAVY_EVERY, one)
    far = [one for one in numbered if takes_turns(one[1].case)]
    turns = [one for one in numbered if not takes_turns(one[1].case)]
    for count, one in enumerate(far):
        turns.insert(count * len(numbered) // len(far), one)
    return turns


def _new_forms_first(numbered: Sequence[Numbered]) -> list[Numbered]:
    """The tasks, the first of each form before all others: a form is what kernels are compiled for."""
    seen, firsts, others = set[Hashable](), list[Numbered](), list[Numbered]()
    for one in numbered:
        case = one[1].case
        form = case.config, case.dtype, case.max_row_blocks.bit_length()
        (others if form in seen else firsts).append(one)
        seen.add(form)
    return firsts + others


def weight(task: Task) -> int:
    """A measure of a task's work: scores of rows and blocks, over all runs and targets."""
    return _runs(task.case) * num_scores(task.case) * len(task.targets)


def _runs(case: Case) -> int:
    return len(case.num_splits) + case.repeats + len(case.replay)

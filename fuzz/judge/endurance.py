"""Asks a target the same thing some thousand times, as an engine's layers and steps do: rings and counters come round.

These calls are held to the bits of the first run alone, and end after some seconds. Where a call takes so long that too
few would fit, as on an interpreter, almost none is made. Before them nothing is asked for a moment: the answer stays.
One case asks for more than 20,000, of a small batch: they are made with one call's tensors, and little is done between
them.
"""

import time
from collections.abc import Iterator
from functools import partial

import torch

from fuzz.judge.judged_run import RunJudge
from fuzz.judge.surroundings import Surroundings
from fuzz.targets import Target
from fuzz.targets.target import Bound
from msa_ref.contract import Violation

MAX_JUDGED = 2
"""Repeats of a first run that are judged by all laws. Those beyond are asked here."""
MIN_CALLS = 1_100
"""Calls that must fit into the seconds: one more than a ring of 1,024 slots holds, and some."""
SECONDS = 1.2
"""Seconds of the process that all calls may take together; of the GPU's clock where there is one."""
PATIENCE = 10
"""Bound on what passes on the clock, in these seconds: beside others a process waits for its turn."""
MANY = 10_000
"""More repeats are made in a hurry."""
SECONDS_OF_MANY = 8.0
"""Seconds for those: if it seems that they will take longer, almost none is made."""
NUM_TRIED = 20
"""Calls by which their time is told."""
SECONDS_OF_REST = 0.2
"""Pause after a call: a thread that writes late has written."""


def endure(judge: RunJudge, target: Target, run: Bound, num_splits: int, first: torch.Tensor) -> Iterator[Violation]:
    """The violations of many calls, and of the rest after them; at most one.

    Args:
        run: from `target.open`; it has run at state 0, where it gave `first`, a right answer.
    """
    num_calls = judge.scene.case.repeats - MAX_JUDGED
    if num_calls <= 0 or not (target.is_repeatable or judge.is_settled):
        return
    if judge.scene.present_out is not None:  # it holds the answer of the run before
        time.sleep(SECONDS_OF_REST)
        later = judge.read_out(target)
        if not alike(first, later, target):
            yield from judge.unlike("WritesOnly", "a moment after it had returned", first, later, num_splits)
            return
    clock = time.perf_counter if judge.scene.device.type == "cuda" else time.process_time
    start, deadline = clock(), time.perf_counter() + PATIENCE * SECONDS
    for number in range(1, num_calls + 1):
        answer = judge.asked(run, target)
        judge.calls = max(judge.calls, number)
        if not alike(first, answer, target):
            yield from judge.unlike("RepeatDeterminism", f"in call {number} of the same", first, answer, num_splits)
            return
        spent = clock() - start
        is_slow = spent / number * MIN_CALLS > SECONDS and (number > 2 or spent > SECONDS / PATIENCE)
        if is_slow or spent > SECONDS or time.perf_counter() > deadline:
            return


def hurry(
    judge: RunJudge, target: Target, surroundings: Surroundings, num_splits: int, first: torch.Tensor
) -> Iterator[Violation]:
    """The violation of a case's many calls, of those that are left of them; none for a target that is slow, or bound.

    Args:
        target: as it is outside of its surroundings, which are around all calls here. first: as `endure` has it.
    """
    scene, made = judge.scene, max(judge.calls, MAX_JUDGED)
    is_sure = target.is_repeatable or judge.is_settled
    if scene.case.repeats <= max(MANY, made) or target.is_bound or target.start is not None or not is_sure:
        return
    scene.new_out()
    run = partial(target.run, target.call(scene, num_splits))
    clock = time.perf_counter if scene.device.type == "cuda" else time.process_time
    start, deadline = clock(), time.perf_counter() + PATIENCE * SECONDS_OF_MANY
    with surroundings.of(target.name, is_first=False), torch.no_grad():
        for number in range(made + 1, scene.case.repeats + 1):
            answer = judge.asked_again(run, target)
            judge.calls = number
            if not alike(first, answer, target):
                yield from judge.unlike("RepeatDeterminism", f"in call {number} of the same", first, answer, num_splits)
                return
            spent, done = clock() - start, number - made
            if done == NUM_TRIED and spent / done * (scene.case.repeats - made) > SECONDS_OF_MANY:
                return
            if spent > SECONDS_OF_MANY or time.perf_counter() > deadline:
                return


def alike(first: torch.Tensor, answer: object, target: Target) -> bool:
    """True if two answers are the same, or where the order is left open, hold the same ids."""
    if not isinstance(answer, torch.Tensor) or first.shape != answer.shape or first.dtype != answer.dtype:
        return False
    if target.is_repeatable:
        return torch.equal(first, answer)
    return torch.equal(first.sort(-1).values, answer.sort(-1).values)

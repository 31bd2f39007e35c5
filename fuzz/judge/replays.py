"""Plays a case's replay script against a target, state after state, and then once more eagerly.

A target may be plain or bound. A bound one is a CUDA graph or, without a GPU, a function that took its call
once and keeps it. Every answer of a bound target must also have the bits of an eager run, which
distinguishes a broken capture from a broken kernel. The eager runs come after the whole script, because one in
between may hide a fault or cause one; a script that wants one there asks for it. They are left out at states where the
replay's answer was right and no other could have been: an eager run would have to repeat it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.judged_run import RunJudge
from fuzz.targets import Target
from fuzz.targets.target import Bound
from msa_ref.contract import Violation


class First(NamedTuple):
    """A target's first answer: whether it broke no law, and whether no other answer would have been right."""

    answer: torch.Tensor | None
    is_sound: bool
    is_settled: bool


def play(judge: RunJudge, target: Target, run: Bound, num_splits: int, first: First) -> Iterator[Violation]:
    """The violations of a whole script, state after state, each as it is found: a later exception loses none.

    Args:
        run: from `target.open`; it has run at state 0, where it gave `first`.
    """
    scene, unsettled = judge.scene, {} if first.is_settled else {0: first.answer}
    for state in range(1, len(scene.case.states)):
        between = scene.case.states[state].between
        if between == "eager":  # a call on the same buffers, judged as any other
            yield from judge.run(target.eager(scene, num_splits, judge.show), target, num_splits)[1]
        else:
            disturb(scene, target, run, num_splits, between)
        scene.apply(state)
        answer, found = judge.run(run, target, num_splits)
        if not judge.is_settled:
            unsettled[state] = answer
        if found and first.is_sound:
            found.insert(0, replace(found[0], law="Replay", evidence=f"broke {found[0].law} only then"))
        yield from found
    if target.is_bound and target.is_repeatable:
        yield from _unlike_eager(judge, target, num_splits, unsettled)


@torch.no_grad()
def disturb(scene: Scene, target: Target, run: Bound, num_splits: int, between: str) -> None:
    """Make the call that comes before a step's change, while the buffers hold the state before."""
    if between == "unread":
        scene.new_out()
        run()
    elif between == "eager":
        scene.new_out()
        target.eager(scene, num_splits)()
    elif between == "elsewhere" and not scene.case.pages.is_far:
        other = Scene(replace(scene.case, seed=scene.case.seed + 1), scene.device, scene.apart)
        other.new_out()
        target.eager(other, num_splits)()


def _unlike_eager(
    judge: RunJudge, target: Target, num_splits: int, answers: dict[int, torch.Tensor | None]
) -> Iterator[Violation]:
    """Replays that differ from a right eager run at the same state; each state is run once more for that."""
    for state, replayed in answers.items():
        judge.scene.apply(state)
        answer, found = judge.run(target.eager(judge.scene, num_splits, judge.show), target, num_splits)
        if not found:
            yield from judge.differing("GraphIsEager", "an eager run", answer, replayed, num_splits)

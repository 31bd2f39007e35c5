"""Plays a case's replay script against a target, state after state, and then once more eagerly.

What is played is either a plain target or a bound one: a CUDA graph, or, where there is no GPU, a
function that took its call once and keeps it. A bound target's every answer must also be the bits of
an eager run: that tells a broken capture from a broken kernel. The eager runs come after the whole
script, because one in between may heal or hurt; a script that wants one there asks for it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.verdict import differs
from msa_ref.contract import Violation


class Player(Protocol):
    """What a script needs to know about a target."""

    @property
    def is_bound(self) -> bool:
        """Whether a run keeps the call that it began with."""

    def eager(self, scene: Scene, num_splits: int) -> Callable[[], torch.Tensor]:
        """Runs that take everything anew."""


AnyPlayer = TypeVar("AnyPlayer", bound=Player, contravariant=True)


class Judge(Protocol[AnyPlayer]):
    """What a script needs of the oracle: judged runs on a scene."""

    scene: Scene

    def run(
        self, run: Callable[[], torch.Tensor], target: AnyPlayer, num_splits: int
    ) -> tuple[torch.Tensor | None, list[Violation]]:
        """One run: its answer, and the laws it broke."""


def play(
    examiner: Judge[AnyPlayer],
    target: AnyPlayer,
    run: Callable[[], torch.Tensor],
    num_splits: int,
    first: torch.Tensor | None,
    is_sound: bool,
) -> tuple[list[Violation], int]:
    """Go through the script. Returns what broke and how many runs were judged.

    Args:
        run: as `target.open` gave it, run at state 0 already.
        first: its answer there. is_sound: whether that broke nothing.
    """
    scene, violations, runs = examiner.scene, list[Violation](), 0
    answers = [first]
    for state in range(1, len(scene.case.states)):
        told, judged = _between(examiner, target, run, num_splits, scene.case.states[state].between)
        violations += [replace(violation, num_splits=num_splits, state=state - 1) for violation in told]
        scene.apply(state)
        answer, found = examiner.run(run, target, num_splits)
        answers.append(answer)
        runs += 1 + judged
        if found and is_sound:
            found.insert(0, replace(found[0], law="Replay", evidence=f"broke {found[0].law} only then"))
        violations += [replace(violation, num_splits=num_splits, state=state) for violation in found]
    if target.is_bound:
        told, judged = _eagerly(examiner, target, num_splits, answers)
        violations, runs = violations + told, runs + judged
    return violations, runs


def disturb(scene: Scene, target: Player, run: Callable[[], torch.Tensor], num_splits: int, what: str) -> None:
    """What comes before a step's change, while the buffers hold the state before."""
    if what == "unread":
        scene.new_out()
        run()
    elif what == "eager":
        scene.new_out()
        target.eager(scene, num_splits)()
    elif what == "elsewhere" and not scene.case.pages.is_far:
        other = Scene(replace(scene.case, seed=scene.case.seed + 1), scene.device)
        other.new_out()
        target.eager(other, num_splits)()


def _between(
    examiner: Judge[AnyPlayer], target: AnyPlayer, run: Callable[[], torch.Tensor], num_splits: int, what: str
) -> tuple[list[Violation], int]:
    """As `disturb`, with a call on the same buffers judged as any other."""
    if what == "eager":
        return examiner.run(target.eager(examiner.scene, num_splits), target, num_splits)[1], 1
    disturb(examiner.scene, target, run, num_splits, what)
    return [], 0


def _eagerly(
    examiner: Judge[AnyPlayer], target: AnyPlayer, num_splits: int, answers: list[torch.Tensor | None]
) -> tuple[list[Violation], int]:
    """Every state once more, by eager runs: where those are right, a replay must have given the same bits."""
    scene, violations = examiner.scene, list[Violation]()
    for state, replayed in enumerate(answers):
        scene.apply(state)
        answer, found = examiner.run(target.eager(scene, num_splits), target, num_splits)
        if answer is None or replayed is None or found:
            continue
        told = differs(scene, "GraphIsEager", "an eager run", answer, replayed)
        violations += [replace(violation, num_splits=num_splits, state=state) for violation in told]
    return violations, len(answers)

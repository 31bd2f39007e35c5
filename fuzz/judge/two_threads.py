"""Has two threads call a target, each with its own tensors, and on a GPU on its own stream: in turn, or at once.

At once only a target is asked that promises it (`msa_ref.profile.Profile.threads`): many engines call their kernels
from one thread at a time, and may keep a workspace. Triton's interpreter cannot be entered twice, nor can the twin, so
what launches kernels there is not asked.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from random import Random
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fuzz.cases.large import is_large
from fuzz.inputs.scene import Scene
from fuzz.judge.cuda_errors import is_cuda_error
from fuzz.judge.endurance import alike
from fuzz.judge.interpreted import noted_launches
from fuzz.judge.judged_run import RunJudge
from fuzz.judge.lacking import lacking_here
from fuzz.judge.memory_lack import lacks_memory
from fuzz.judge.surroundings import Surroundings
from fuzz.targets import NotApplicable, Target
from fuzz.targets.places import place_of_error
from fuzz.targets.target import Bound
from fuzz.targets.twins import is_twin
from msa_ref.contract import Violation

MAX_ROUNDS = 48
"""Bound on the rounds, in each of which a call comes between two steps of another one."""
CALLS = 3
"""Calls of each thread in the first round, in which both begin together, and go on as they like."""
SECONDS = 0.4
"""Seconds after which no other round begins."""
PATIENCE = 0.05
"""Bound in seconds on a pause: a call that holds a lock is waited for by the other one."""
SWITCH_SECONDS = 1e-5
"""Interval at which Python lets another thread go on: its own, 5 ms, is longer than many calls."""


class _Pauses(TorchFunctionMode):
    """Pauses before a torch function is called. num_calls: of such functions so far."""

    def __init__(self, at: int, pause: Callable[[], object]) -> None:
        """at: number of the call, from 1."""
        super().__init__()
        self.num_calls, self._at, self._pause = 0, at, pause

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not torch.compiler.is_compiling():
            self.num_calls += 1
            if self.num_calls == self._at:
                self._pause()
        return func(*args, **(kwargs or {}))


@dataclass
class _Caller:
    """One of the two threads: its tensors, its calls, and what came of them.

    number: 0 or 1. first: its right answer, alone. num_steps: torch functions that a call calls.
    """

    number: int
    judge: RunJudge
    target: Target
    run: Bound
    first: torch.Tensor
    num_steps: int = 0
    answers: list[object] = field(default_factory=list)
    error: BaseException | None = None

    def count_steps(self) -> None:
        """Count the torch functions of a call, which may compile once more: with pauses, and without."""
        self.judge.asked(self.run, self.target)
        steps = _Pauses(0, _do_nothing)
        self.judge.asked(self._paused(steps), self.target)
        self.num_steps = steps.num_calls

    def call(
        self, default_device: torch.device, begin: Callable[[], object], pauses: _Pauses | None, num_calls: int
    ) -> None:
        """Call the target some times. begin: waits until it may."""
        device = self.judge.scene.device
        try:
            with ExitStack() as stack:
                if default_device.type != "cpu":  # torch keeps one for each thread
                    stack.enter_context(default_device)
                if device.type == "cuda":
                    stream = _streams(device)[self.number]
                    stack.enter_context(torch.cuda.stream(stream))
                    stack.callback(stream.synchronize)
                begin()
                for _ in range(num_calls):
                    self.answers.append(self.judge.asked(self._paused(pauses), self.target))
        except BaseException as error:  # also an exit, which would end the thread without a word
            self.error = error

    def _paused(self, pauses: _Pauses | None) -> Bound:
        if pauses is None:
            return self.run

        def run() -> torch.Tensor:
            with pauses:
                return self.run()

        return run


def _do_nothing() -> None:
    """The pause of a call that is only counted."""


def call_at_once(
    judge: RunJudge, target: Target, surroundings: Surroundings, num_splits: int, first: torch.Tensor
) -> Iterator[Violation]:
    """The violation of two threads' calls, if there is one.

    Args:
        target: as it is outside of its surroundings, which both threads share.
        first: its answer at state 0, where the scene is, and a right one.
    """
    scene = judge.scene
    assert scene.state == 0
    is_kept = target.is_bound or target.start is not None or is_twin(target.name)
    is_small = not (scene.case.pages.is_far or scene.case.pages.skipped_pages or is_large(scene.case))
    is_sure, threads = target.is_repeatable or judge.is_settled, target.profile.threads
    is_asked = threads == "any" or (threads == "one" and scene.case.repeats > 0)
    if not is_asked or is_kept or not is_small or not is_sure or target.name in surroundings.interpreted:
        return
    beside = _beside(scene, target)
    if beside is None:
        return
    with noted_launches() as launches:
        with surroundings.of(target.name, is_first=False):
            other = _alone(beside, target, num_splits)
        if launches:
            surroundings.interpreted.add(target.name)
        if other is None or launches:
            return
        callers = [_Caller(0, judge, target, target.eager(scene, num_splits), first), other]
        with surroundings.of(target.name, is_first=True):  # it may compile
            for caller in callers if threads == "any" else ():
                caller.count_steps()
        with surroundings.of(target.name, is_first=False):
            found = _fault(callers, scene.case.seed) if threads == "any" else _fault_in_turn(callers)
        if found and not launches:
            yield Violation("TwoThreads", found, num_splits=num_splits, state=scene.state)


def _beside(scene: Scene, target: Target) -> Scene | None:
    """A scene of other values in other tensors; None where there is none, or nothing is promised for it."""
    with scene.apart(), suppress(Exception):  # whatever it is, it is not the target's
        made = Scene(replace(scene.case, seed=scene.case.seed + 1), scene.device, scene.apart)
        score = made.score() if target.takes_score else None
        return made if target.profile.undefined(made.batch, score) is None else None
    return None


def _alone(scene: Scene, target: Target, num_splits: int) -> _Caller | None:
    """The caller of the second thread, whose answer alone is right; None if it is not."""
    alone, run = RunJudge(scene, {}), target.eager(scene, num_splits)
    try:
        answer, broken = alone.run(run, target, num_splits)
    except Exception:  # by itself, which other cases judge
        return None
    if answer is None or broken or not (target.is_repeatable or alone.is_settled):
        return None
    return _Caller(1, alone, target, run, answer)


def _fault(callers: list[_Caller], seed: int) -> str:
    """The evidence that a call answered otherwise, or failed, beside another; empty if none did."""
    deadline, interval, random = time.perf_counter() + SECONDS, sys.getswitchinterval(), Random(seed)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        for number in range(MAX_ROUNDS):
            _play_round(callers, callers[number % 2] if number else None, random)
            found = next(filter(None, map(_told, callers)), "")
            if found or any(caller.error for caller in callers) or time.perf_counter() > deadline:
                return found
    finally:
        sys.setswitchinterval(interval)
    return ""


def _fault_in_turn(callers: list[_Caller]) -> str:
    """The evidence that a call answered otherwise after another thread's; empty if none did.

    A thread may be refused: the handlers of signals, say, are for the main one.
    """
    default_device = torch.get_default_device()
    for caller in (callers[0], callers[1], callers[0]):
        caller.answers.clear()
        call = partial(caller.call, default_device, _do_nothing, None, 1)
        if caller.number:
            second = threading.Thread(target=call, daemon=True)
            second.start()
            second.join()
        else:
            call()
        is_refused = isinstance(caller.error, Exception) and not is_cuda_error(caller.error)
        if is_refused or (found := _told(caller, "after")):
            return "" if is_refused else found
    return ""


def _play_round(callers: list[_Caller], paused: _Caller | None, random: Random) -> None:
    """Let both threads call, and wait for them.

    paused: the one that pauses at a step of its call until the other has called; None lets both go on.
    """
    device, default_device = callers[0].judge.scene.device, torch.get_default_device()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    may_begin, is_done = threading.Event(), threading.Event()

    def pause() -> None:
        may_begin.set()
        is_done.wait(PATIENCE)

    def call(caller: _Caller) -> None:
        caller.answers.clear()
        if paused is None:
            caller.call(default_device, _do_nothing, None, CALLS)
        elif caller is paused:
            caller.call(default_device, _do_nothing, _Pauses(random.randint(1, max(1, caller.num_steps)), pause), 1)
            may_begin.set()  # it called fewer functions than before, or none
        else:
            caller.call(default_device, may_begin.wait, None, 1)
            is_done.set()

    second = threading.Thread(target=call, args=(callers[1],), daemon=True)
    second.start()
    call(callers[0])
    second.join()


def _told(caller: _Caller, when: str = "beside") -> str:
    """The fault of one thread's calls, in words; empty if there is none.

    when: where they come from another thread's call: `beside` or `after`.

    Raises:
        BaseException: a CUDA error, which accuses a target by itself.
    """
    error = caller.error
    if error is not None:
        if isinstance(error, Exception) and is_cuda_error(error):
            raise error
        is_excused = isinstance(error, NotApplicable) or lacks_memory(error) or lacking_here(error) is not None
        what = f"{type(error).__name__}: {error}{place_of_error(caller.target.run, error)}"
        return "" if is_excused else f"raised {when} another thread's call: {what}"
    for answer in caller.answers:
        if not alike(caller.first, answer, caller.target):
            return f"answered {when} another thread's call {_difference(caller.first, answer)}"
    return ""


def _difference(first: torch.Tensor, answer: object) -> str:
    if not isinstance(answer, torch.Tensor) or answer.shape != first.shape:
        return "something else"
    rows = (first != answer).any(-1).nonzero()
    head, token = rows[0].tolist()
    got, right = answer[head, token].tolist(), first[head, token].tolist()
    return f"{len(rows)} rows otherwise than alone: head {head}, token {token}: {got}, not {right}"


@cache
def _streams(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    return torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

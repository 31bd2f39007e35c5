"""Judges in a child process under a watchdog: a crash, a hang or a lack of memory is a verdict like any other.

A child serves many cases. It is replaced when it died, was killed, or is of no more use (a CUDA error poisons a
process for good). It answers target by target, so that an end is put down to the target that caused it, and the
case's other targets go on in the next child. Children come from a fork server that has imported everything and
touched no GPU: a fresh one costs a fraction of a second.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import takewhile

from fuzz.cases.case import Case
from fuzz.isolation.children import Children
from fuzz.isolation.hangs import GIVEN_UP, Hangs
from fuzz.isolation.hearing import Stopped
from fuzz.isolation.messages import (
    DOES_NOT_FIT,
    Apart,
    FirstCall,
    FromChild,
    Introduced,
    Introduction,
    Judged,
    Moments,
    Order,
    Question,
    Reasons,
    Refused,
    SceneFailed,
    SceneMade,
    Spoilt,
    Task,
    Watched,
)
from fuzz.isolation.order import order_of
from fuzz.isolation.turns import Turns
from fuzz.judge.schedules import Scheduled
from fuzz.judge.traced import Traced
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict, is_out_of_memory, is_poisoned
from fuzz.targets.twins import is_twin
from msa_ref.contract import Violation

HANGS_AFTER = 120.0
"""Seconds that one target may take for one case: several times the slowest on the interpreter."""

FIRST_CALLS_TAKE = 5.0
"""A first call may take so many times as long: it may compile, tune, and wait for others that compile the same."""

MAX_JUDGED = 3_000
"""(case, target) pairs that one child judges: what comes behind them could not be repeated in a sensible time."""


class HarnessError(ValueError):
    """The harness itself failed on a case: no verdict about any target."""


class NoScene(HarnessError):
    """A case that cannot be made, as a shrinker may ask for one."""


class ChildEnded(HarnessError):
    """The child ended before any target of a case had run. violation: how it ended."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(f"no target had run: {violation.how}: {violation.evidence}")
        self.violation = violation


class Worker(AbstractContextManager["Worker"]):
    """A child process that judges, replaced as often as need be. Use it as a context manager, in one thread at a time.

    idle_ends: how children ended that had no task.
    """

    def __init__(
        self,
        hangs_after: float = HANGS_AFTER,
        turns: Turns | None = None,
        gpu: str = "",
        stop: threading.Event | None = None,
        first_call_hangs_after: float | None = None,
        hangs: Hangs | None = None,
        claims: str = "",
    ) -> None:
        """Nothing is started before it is needed.

        Args:
            hangs_after: seconds that one target may take for one case, its first calls apart.
            turns: of all workers whose children share a GPU; its own if None.
            gpu: the only GPU that the child uses, by its name in CUDA_VISIBLE_DEVICES; empty for any.
            stop: when another thread sets it, a waiting call on this worker raises `Stopped`.
            first_call_hangs_after: seconds for a call with new lengths or splits, in which a target may compile, and
                for the import of its module; `FIRST_CALLS_TAKE` times `hangs_after` if None. A target that has hung
                in one of them has `hangs_after` seconds for the next.
            hangs: of all targets of the command, if it has several workers.
            claims: a folder for those workers, whose children do once among them what one is enough for.
        """
        self._children = Children(gpu, stop or threading.Event(), claims)
        self.gpu, self.idle_ends = gpu, self._children.idle_ends
        self._hangs_after, self._turns, self._hangs = hangs_after, turns or Turns(), hangs or Hangs()
        many = FIRST_CALLS_TAKE * hangs_after
        self._first_call_hangs_after = many if first_call_hangs_after is None else first_call_hangs_after
        self._order = list[tuple[Case, str]]()  # what the present child has judged, if it has not ended
        self._child_of_order = 0

    @property
    def restarts(self) -> int:
        """The number of children that were started."""
        return self._children.num_started

    def __exit__(self, *_: object) -> None:
        self.close()

    def renew(self) -> None:
        """Let what comes next be judged by a fresh child, which has judged nothing."""
        self._children.end()

    def close(self) -> None:
        """End the child."""
        self._children.close()

    def judge(self, task: Task) -> Judged:
        """Judge one case on its targets, each exactly once.

        Memory that others hold is not a target's fault: what lacks memory is tried once more, alone in a fresh child.

        A worker that has to stop returns the verdicts that there are.

        Raises:
            HarnessError: if the harness failed on the case before any target ran.
            Stopped: if the worker has to stop before the first verdict.
        """
        verdicts, orders, tried = list[tuple[str, Verdict, float]](), dict[str, Order](), set[str]()
        try:
            with self._beside_others(task.case):
                self._judge(task, verdicts, orders, tried)
            if len(verdicts) < len(task.targets):
                with self._turns.alone():
                    while len(verdicts) < len(task.targets):
                        self._judge(task, verdicts, orders, tried)
        except Stopped:
            if not verdicts:
                raise
        return Judged(task, tuple(verdicts), orders)

    def _judge(
        self, task: Task, verdicts: list[tuple[str, Verdict, float]], orders: dict[str, Order], tried: set[str]
    ) -> None:
        """Add the verdicts on a task's targets to a list, in their order, and the order before each that broke.

        It ends at a target that lacks memory and is not among those that were tried before: there it is entered.
        """
        if len(self._order) > MAX_JUDGED:
            self.renew()
        while len(verdicts) < len(task.targets):
            left = task.targets[len(verdicts) :]
            if self._hangs.is_given_up(left[0]):
                verdicts.append((left[0], GIVEN_UP, 0.0))
                continue
            rest = replace(task, targets=tuple(takewhile(partial(self._goes_with, left[0]), left)))
            for name, verdict, seconds in self._verdicts(rest):
                if is_out_of_memory(verdict) and name not in tried:
                    tried |= set(rest.targets) if verdict == DOES_NOT_FIT else {name}
                    self._children.end()
                    return
                if self._child_of_order != self.restarts:
                    self._child_of_order, self._order = self.restarts, []
                if isinstance(verdict, Broke):
                    orders[name] = order_of(self._order)
                self._order.append((task.case, name))
                verdicts.append((name, verdict, seconds))

    def _goes_with(self, first: str, name: str) -> bool:
        """True if a target is judged together with the first of a task."""
        return is_twin(name) == is_twin(first) and not self._hangs.is_given_up(name)

    def violations(self, case: Case, target: str, device: str) -> tuple[Violation, ...]:
        """The laws that one target breaks on a case; none where no such case can be made, as a shrinker may ask."""
        try:
            ((_, verdict, _),) = self.judge(Task(case, (target,), device)).verdicts
        except NoScene:
            return ()
        return verdict.violations if isinstance(verdict, Broke) else ()

    def diagnose(self, question: Question) -> tuple[Violation, ...]:
        """The laws between runs that a target breaks on a case that it broke; none if asking ends the child."""
        with self._beside_others(question.case):
            self._children.send(question)
            answer = self._children.receive(10 * self._hangs_after)  # dozens of related batches are run
        return answer.violations if isinstance(answer, Reasons) else ()

    def introduced(self, target: str) -> Introduced:
        """The properties of a target, whose module is imported in the child alone.

        Raises:
            ValueError: one sentence, if there is no such target, or if its import ends the child.
        """
        self._children.send(Introduction(target))
        answer = self._children.receive(self._first_call_hangs_after)
        if not isinstance(answer, Introduced):
            raise _refusal(target, answer)
        return answer

    def on_twin(self, message: Moments | Watched) -> Scheduled | Traced | Violation:
        """Run a target on the twin, as a message says: what came of it, or how it ended the child.

        Raises:
            ValueError: as `introduced` does.
        """
        self._children.send(message)
        made = self._children.receive(self._first_call_hangs_after)
        if not isinstance(made, SceneMade):
            raise _refusal(message.target, made)
        answer = self._verdict(message.target)
        assert isinstance(answer, Scheduled | Traced | Violation)
        return answer

    def _beside_others(self, case: Case) -> AbstractContextManager[object]:
        return self._turns.beside_others(case, self.renew)

    def _verdicts(self, task: Task) -> Iterator[tuple[str, Verdict, float]]:
        """Verdicts until all targets are judged or the child ends, which is the verdict on the running target.

        There are fewer if what the child ran earlier has spoilt it: the rest is for a fresh one.
        """
        self._children.send(task)
        is_fresh = self._child_of_order != self.restarts
        made = self._children.receive(self._hangs_after)
        if isinstance(made, Spoilt):
            self._forget_spoilt(made, is_fresh)
            return
        if isinstance(made, Violation):
            raise ChildEnded(made)
        if isinstance(made, SceneFailed):
            if not made.is_out_of_memory:
                raise NoScene(made.reason)
            yield from ((name, DOES_NOT_FIT, 0.0) for name in task.targets)
            return
        for name in task.targets:
            start = time.perf_counter()
            verdict = self._verdict(name)
            if isinstance(verdict, Spoilt):
                self._forget_spoilt(verdict, is_fresh)
                return
            is_fresh = False
            if isinstance(verdict, Violation):
                if verdict.how == "hang":
                    self._hangs.count(name)
                verdict = Broke((verdict,), rows=task.case.config.num_index_heads * task.case.total_q)
            assert isinstance(verdict, Agreed | Broke | Undefined)
            if is_poisoned(verdict):
                self._children.end()
            yield name, verdict, time.perf_counter() - start
            if not self._children.is_there:
                return

    def _forget_spoilt(self, spoilt: Spoilt, is_fresh: bool) -> None:
        """End a child that is of no more use. is_fresh: whether no target has run in it: then the GPU is at fault."""
        self._children.forget_spoilt(spoilt.violation)
        if is_fresh:
            raise ChildEnded(spoilt.violation)

    def _verdict(self, name: str) -> FromChild | Violation:
        """The verdict on a target, for which it has some seconds.

        Time in first calls has a limit of its own, and so has the judge's own work between them.
        """
        left = self._hangs_after
        while True:
            start = time.perf_counter()
            message = self._children.receive(left, f"no end after {self._hangs_after:g} s")
            left -= time.perf_counter() - start
            if isinstance(message, Apart):
                limit = self._first_call_hangs_after
                over = self._children.receive(limit, f"no end of the judge's work on its answer after {limit:g} s")
                if isinstance(over, Violation):
                    return over
                continue
            if not isinstance(message, FirstCall):
                return message
            limit = self._hangs_after if self._hangs.has_hung_in_first_call(name) else self._first_call_hangs_after
            over = self._children.receive(limit, f"no end of a first call after {limit:g} s, compilation included")
            if isinstance(over, Violation):
                if over.how == "hang":
                    self._hangs.count_first_call(name)
                return over
            assert over == FirstCall(is_over=True)


def _refusal(target: str, answer: FromChild | Violation) -> ValueError:
    """The reason why there is no such target: in the child's words, or how its import ended the child."""
    if isinstance(answer, Refused):
        return ValueError(answer.reason)
    assert isinstance(answer, Violation)
    return ValueError(f"target must be one that can be imported; got {target!r}: {answer.how}: {answer.evidence}")

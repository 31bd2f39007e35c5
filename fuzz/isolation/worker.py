"""Judging in a child process under a watchdog: what kills, hangs or outgrows a process is a finding.

A child serves many cases and is replaced only when it died, was killed, or says that it is of no
more use (a CUDA error poisons a process for good). The child reports target by target, so that an
end is put down to the target that caused it, and the case's other targets go on in the next child.

Children come from a fork server that has imported everything and touched no GPU: a fresh one costs
a fraction of a second.
"""

import contextlib
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from fuzz.cases.case import Case
from fuzz.inputs.scene import Scene
from fuzz.isolation.fork_server import fork_server
from fuzz.judge.between_runs import diagnose
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke, Undefined, Verdict, is_out_of_memory, is_poisoned
from fuzz.targets import find
from msa_ref.contract import Violation

HANGS_AFTER = 120.0
"""Seconds that one target may take for one case: several times the slowest on the interpreter."""

SECONDS_TO_DIE = 20.0
"""What a killed child is given: the driver waits for a kernel that runs."""

MAX_KEPT_BYTES = 4 * 2**30
"""GPU memory that a child may keep cached between cases; the others want some too."""


class HarnessError(ValueError):
    """The harness itself failed on a case: no verdict about any target."""


@dataclass(frozen=True)
class Task:
    """One case and the names of the targets to judge on it."""

    case: Case
    targets: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class Question:
    """Why did a target break a law on a case? Answered by more violations."""

    case: Case
    target: str
    device: str
    violation: Violation


@dataclass(frozen=True)
class Judged:
    """What came of a task: (target, verdict, seconds) each."""

    task: Task
    verdicts: tuple[tuple[str, Verdict, float], ...]


class Worker:
    """A child process that judges, replaced as often as need be. Use it as a context manager."""

    def __init__(self, hangs_after: float = HANGS_AFTER, far_turn: AbstractContextManager | None = None) -> None:
        """far_turn: held by whoever judges far pages, which take much of a GPU that others share."""
        self.restarts = 0
        self._hangs_after, self._far_turn = hangs_after, far_turn or nullcontext()
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-worker-", ignore_cleanup_errors=True)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._end()
        self._folder.cleanup()

    def judge(self, task: Task) -> Judged:
        """Judge one case on its targets, each exactly once.

        Raises:
            HarnessError: if the harness failed on the case before any target ran.
        """
        with self._far_turn if task.case.pages.is_far else nullcontext():
            verdicts: list[tuple[str, Verdict, float]] = []
            suspects: set[str] = set()
            while len(verdicts) < len(task.targets):
                rest = task.targets[len(verdicts) :]
                for verdict in self._serve(Task(task.case, rest, task.device)):
                    name = verdict[0]
                    if is_out_of_memory(verdict[1]) and name not in suspects and task.device != "cpu":
                        # Memory that others hold is not the target's fault: once more in a fresh child.
                        suspects.add(name)
                        self._end()
                        break
                    verdicts.append(verdict)
        return Judged(task, tuple(verdicts))

    def violations(self, case: Case, target: str, device: str) -> tuple[Violation, ...]:
        """The laws that one target breaks on a case."""
        ((_, verdict, _),) = self.judge(Task(case, (target,), device)).verdicts
        return verdict.violations if isinstance(verdict, Broke) else ()

    def diagnose(self, question: Question) -> tuple[Violation, ...]:
        """The laws between runs that a target breaks on a case that it broke; none if asking ends the child."""
        try:
            pipe = self._start()
            pipe.send(question)
            # Dozens of related batches are run.
            if pipe.poll(10 * self._hangs_after):
                answer: tuple[Violation, ...] = pipe.recv()
                return answer
        except (EOFError, ConnectionResetError, BrokenPipeError):
            pass
        self._end()
        return ()

    def _serve(self, task: Task) -> Iterator[tuple[str, Verdict, float]]:
        """Verdicts until the task is done or the child has ended; an end is the last one's verdict."""
        pipe = self._start()
        try:
            pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            # Something ended the child between two tasks: no target of this one did.
            self._end()
            pipe = self._start()
            pipe.send(task)
        for number, name in enumerate((None, *task.targets)):
            start = time.perf_counter()
            # The first target of a case pays for what all of them share.
            seconds = self._hangs_after * (2 if number == 1 else 1)
            try:
                if not pipe.poll(seconds):
                    ending = Violation("Runs", f"no end after {seconds:g} s", how="hang")
                else:
                    message = pipe.recv()
                    if isinstance(message, str):
                        self._end()
                        raise HarnessError(message)
                    verdict, is_of_no_use = message
                    if name is not None:
                        yield name, verdict, time.perf_counter() - start
                    if is_of_no_use:
                        self._end()
                        return
                    continue
            except (EOFError, ConnectionResetError, BrokenPipeError):
                ending = Violation("Runs", self._epitaph(), how="crash")
            self._end()
            if name is None:
                raise HarnessError(f"no target had run: {ending.how}: {ending.evidence}")
            rows = task.case.config.num_index_heads * task.case.total_q
            yield name, Broke((ending,), rows), time.perf_counter() - start
            return

    def _start(self) -> Connection:
        if self._child is not None and self._child.is_alive() and self._pipe is not None:
            return self._pipe
        self._end()
        context = fork_server()
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_live, args=(theirs, self._folder.name), daemon=True)
        self._child.start()
        theirs.close()
        self.restarts += 1
        return self._pipe

    def _epitaph(self) -> str:
        assert self._child is not None
        self._child.join(SECONDS_TO_DIE)
        code = self._child.exitcode
        if code is not None and code < 0:
            return f"its process ended by {signal.Signals(-code).name}"
        return f"its process ended with status {code}"

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join(SECONDS_TO_DIE)
        if self._pipe is not None:
            self._pipe.close()
        self._child = self._pipe = None


def settle_child(folder: str) -> None:
    """What a process that judges for another does first. folder: where its temporary files go, and go with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard it goes to all; the parent decides
    warnings.simplefilter("ignore")  # numpy's, about NaN and infinities, which are meant
    torch.set_num_threads(1)
    tempfile.tempdir = folder


def _live(pipe: Connection, folder: str) -> None:
    """The child: serves tasks until the pipe closes."""
    settle_child(folder)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task: Any = pipe.recv()
            if isinstance(task, Question):
                pipe.send(tuple(diagnose(task.case, find(task.target), task.device, task.violation)))
                continue
            try:
                examiner = Examiner(Scene(task.case, task.device))
            except torch.OutOfMemoryError:
                # Not a pass and nobody's fault: the case is too large for what is free here.
                for _ in (None, *task.targets):
                    pipe.send((Undefined("the case does not fit the memory that is free"), False))
                continue
            except Exception:
                pipe.send(traceback.format_exc(limit=-1).strip().splitlines()[-1])
                continue
            pipe.send((None, False))
            for name in task.targets:
                verdict = examiner.examine(find(name))
                pipe.send((verdict, is_poisoned(verdict)))
            del examiner
            if task.device != "cpu" and torch.cuda.memory_reserved() > MAX_KEPT_BYTES:
                torch.cuda.empty_cache()

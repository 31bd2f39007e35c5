"""The child process of a worker: makes cases' tensors, runs targets on them and judges the answers."""

import ctypes
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import torch

from fuzz.inputs.scene import Scene
from fuzz.isolation.faults import tell_faults
from fuzz.isolation.fork_server import set_path_variables
from fuzz.isolation.messages import (
    Apart,
    FirstCall,
    FromChild,
    Introduced,
    Introduction,
    Moments,
    Question,
    Reasons,
    Refused,
    SceneFailed,
    SceneMade,
    Spoilt,
    Task,
    Watched,
)
from fuzz.judge.between_runs import diagnose
from fuzz.judge.cuda_errors import is_cuda_error, surfaced_later, wait_for
from fuzz.judge.examiner import Examiner
from fuzz.judge.memory_lack import lacks_memory
from fuzz.judge.schedules import ScheduleJudge
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.traced import Tracer
from fuzz.judge.verdict import Broke, Verdict
from fuzz.targets import Call, find
from fuzz.targets.once import share_claims
from msa_ref.contract import Violation

PR_SET_PDEATHSIG = 1
"""Linux's name for the signal that a process gets when its parent ends."""

MAX_KEPT_BYTES = 2**31
"""Bytes of GPU memory that a child may keep cached between cases: a dozen children share a GPU."""


def live(
    pipe: Connection,
    folder: str,
    gpu: str,
    path_variables: dict[str, str | None],
    claims: str,
    is_on_twin: bool = False,
) -> None:
    """Serve tasks and questions until the pipe closes.

    folder: for temporary files; the worker removes it. gpu: the only one to use, by its name in CUDA_VISIBLE_DEVICES;
        empty for any. path_variables: how the worker's own process searches for modules, for the processes of targets.
    claims: the folder by which processes do once among them what one is enough for; empty for none.
    is_on_twin: whether kernels run on the twin here.
    """
    set_path_variables(path_variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal, and the parent decides
    _allow_processes()
    os.dup2(2, 1)  # what targets print is for the reader, and no part of a command's output
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    warnings.simplefilter("ignore")  # numpy warns of NaN and infinities, which cases hold on purpose
    torch.set_num_threads(1)
    tempfile.tempdir = folder
    share_claims(claims)
    tell_faults(folder, is_on_twin)
    line = _Line(pipe)
    surroundings = Surroundings(
        lambda is_over: line.send(FirstCall(is_over)), lambda is_over: line.send(Apart(is_over))
    )
    with suppress(EOFError, OSError):  # the pipe is closed, by the parent or by a target
        while True:
            for answer in _answers(pipe.recv(), surroundings):
                line.send(answer)


class _Line:
    """The way to the parent, for this process alone."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._own = pipe, os.getpid()

    def send(self, message: FromChild) -> None:
        """Send a message; a process that may not, or cannot, ends."""
        if os.getpid() != self._own:
            os._exit(0)  # a fork that a target made and did not end: the target itself answers, once
        try:
            self._pipe.send(message)
        except OSError:  # the pipe is closed; a target must not catch this
            os._exit(0)


def _allow_processes() -> None:
    """Let targets start processes, which a daemon may not; all of them belong to one group, and end with it.

    No terminal reaches that group. So a child of the fork server ends with it, and it ends with the command: unless
    its children keep it alive, which multiprocessing has them do.
    """
    os.setsid()
    multiprocessing.current_process().daemon = False
    server: Any = multiprocessing.forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
        with suppress(AttributeError):  # Linux alone has it
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answers(
    message: Task | Question | Introduction | Moments | Watched, surroundings: Surroundings
) -> Iterator[FromChild]:
    if isinstance(message, Introduction):
        with surroundings.of(message.target, is_first=False):
            introduced = _introduced(message.target)
        yield introduced
        return
    if isinstance(message, Moments):
        yield from _scheduled(message, surroundings)
        return
    if isinstance(message, Watched):
        yield from _watched(message, surroundings)
        return
    if isinstance(message, Question):
        target = surroundings.around(find(message.target), is_told=False)
        found = diagnose(message.case, target, message.device, message.violation)
        yield Reasons(tuple(found))
        return
    device = torch.device(message.device)
    spoilt = _spoilt(device)
    if spoilt is not None:
        yield spoilt
        return
    try:
        examiner = Examiner(Scene(message.case, device, surroundings.apart), surroundings)
    except Exception as error:
        # The first line says what is wrong; CUDA's errors go on for pages about how to debug them.
        words = next(iter(str(error).splitlines()), "")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {words} ({Path(frame.filename).name}, line {frame.lineno})"
        yield SceneFailed(reason, lacks_memory(error))
        return
    yield SceneMade()
    for name in message.targets:
        spoilt = _spoilt(device)
        if spoilt is not None:
            yield spoilt
            return
        yield _verdict(examiner, name, surroundings)
    del examiner
    if device.type != "cpu" and _spoilt(device) is None and torch.cuda.memory_reserved() > MAX_KEPT_BYTES:
        torch.cuda.empty_cache()


def _spoilt(device: torch.device) -> Spoilt | None:
    """Word of a CUDA error of what this process has run, if it surfaces now; the next target has no part in it."""
    try:
        wait_for(device)
    except Exception as error:
        return Spoilt(surfaced_later(error))
    return None


def _verdict(examiner: Examiner, name: str, surroundings: Surroundings) -> Verdict:
    """The verdict on one target; an exit that would have ended the process is a violation with its name."""
    try:
        with surroundings.of(name, is_first=True):  # its module may compile
            target = find(name)
        return examiner.examine(target)
    except Exception as error:
        if not is_cuda_error(error):
            raise
        violation = surfaced_later(error)
    except BaseException as end:  # SystemExit, or KeyboardInterrupt: the keyboard's own is ignored here
        violation = Violation("Runs", f"{type(end).__name__}: {end}".strip(": "), how="crash")
    case = examiner.scene.case
    return Broke((violation,), rows=case.config.num_index_heads * case.total_q)


def _introduced(name: str) -> Introduced | Refused:
    try:
        target = find(name)
    except ValueError as refusal:
        return Refused(str(refusal))
    except BaseException as error:
        return Refused(f"target must be one that can be imported; got {name!r}: {type(error).__name__}: {error}")
    bind = None if target.bind is None else _runs_in_children
    return Introduced(
        replace(target, run=_runs_in_children, bind=bind, check=None, is_checked=target.check is not None)
    )


_schedule_judge = cache(ScheduleJudge)
"""The judge of a target's schedules, made once in this process."""


def _scheduled(moments: Moments, surroundings: Surroundings) -> Iterator[FromChild]:
    try:
        judge = _schedule_judge(moments.target, surroundings)
    except ValueError as refusal:
        yield Refused(str(refusal))
        return
    yield SceneMade()
    yield judge.run(moments.seed)


def _watched(message: Watched, surroundings: Surroundings) -> Iterator[FromChild]:
    try:
        with surroundings.of(message.target, is_first=False):
            tracer = Tracer(message.target)
        yield SceneMade()
        yield tracer.traced(message.case, message.program)
    except ValueError as refusal:
        yield Refused(str(refusal))


def _runs_in_children(call: Call) -> NoReturn:
    raise AssertionError("a foreign target runs in children alone")

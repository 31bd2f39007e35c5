"""The child processes of a worker, one at a time: started when needed, heard, and ended with their own children."""

import os
import signal
import tempfile
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from fuzz.isolation.child import live
from fuzz.isolation.faults import place_of_crash, place_of_hang
from fuzz.isolation.fork_server import fork_server, path_variables, undisturbed_path, warm_up
from fuzz.isolation.hearing import SECONDS_BETWEEN_LOOKS, Stopped, is_heard
from fuzz.isolation.messages import FromChild, Introduction, Moments, Question, Task, Watched
from fuzz.isolation.twin_child import fresh, live_on_twin
from fuzz.targets.twins import is_twin
from msa_ref.contract import Violation

SECONDS_TO_DIE = 20.0
"""Seconds that a killed child has to exit; the driver may wait for a running kernel."""

FORK_SERVER_IS_GONE = 255
"""Exit code of a child whose fork server ended before it."""


class Children:
    """The line to the present child, which is replaced once it has ended.

    num_started: of them so far. idle_ends: how children ended that had no task.
    """

    def __init__(self, gpu: str, stop: threading.Event, claims: str = "") -> None:
        """gpu, stop, claims: as for `fuzz.isolation.worker.Worker`."""
        self.num_started, self.idle_ends = 0, list[Violation]()
        self._gpu, self._stop, self._claims, self._is_on_twin = gpu, stop, claims, False
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-worker-", ignore_cleanup_errors=True)

    @property
    def is_there(self) -> bool:
        """True if a child was started and not ended."""
        return self._child is not None

    def close(self) -> None:
        """End the child, and remove what it left."""
        self.end()
        self._folder.cleanup()

    def send(self, message: Task | Question | Introduction | Moments | Watched) -> None:
        """Hand the child a message; a fresh child, if the last has ended since its task or is of another kind."""
        if self._stop.is_set():
            raise Stopped
        is_on_twin = is_twin(message.targets[0] if isinstance(message, Task) else message.target)
        if is_on_twin != self._is_on_twin:
            self.end()
            self._is_on_twin = is_on_twin
        if self._child is not None and not self._child.is_alive():
            self._forget_idle()
        try:
            self._start().send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._forget_idle()
            self._start().send(message)

    def receive(self, seconds: float, hang: str = "no end") -> FromChild | Violation:
        """The child's next message, or how it ended instead. hang: the evidence that it says nothing in time."""
        assert self._pipe is not None
        assert self._child is not None
        try:
            if is_heard(self._child, self._pipe, seconds, self._stop):
                message: FromChild = self._pipe.recv()
                return message
            ending = Violation("Runs", hang + self._place_of_hang(), how="hang")
        except (EOFError, ConnectionResetError, BrokenPipeError):
            ending = self._crash()
        self.end()
        return ending

    def _place_of_hang(self) -> str:
        assert self._child is not None
        return place_of_hang(self._folder.name, self._child.pid, self._is_on_twin)

    def _start(self) -> Connection:
        if self._pipe is None:
            if self._is_on_twin:
                context: BaseContext = fresh()
                serve = live_on_twin
            else:
                warm_up()
                context, serve = fork_server(), live
            self._pipe, theirs = context.Pipe()
            with undisturbed_path():
                arguments = (theirs, self._folder.name, self._gpu, path_variables(), self._claims)
                self._child = context.Process(target=serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
                self._child.start()
            theirs.close()
            self.num_started += 1
        return self._pipe

    def _forget_idle(self) -> None:
        """Note and forget a child that ended between two tasks: no target of the next task did it."""
        self.idle_ends.append(self._crash())
        self._child = None  # its group may have ended long ago, and its number be another's
        self.end()

    def forget_spoilt(self, end: Violation) -> None:
        """Note and end a child that what it ran earlier has made useless: no target of the present task did it."""
        self.idle_ends.append(end)
        self.end()

    def _crash(self) -> Violation:
        assert self._child is not None
        self._child.join(SECONDS_TO_DIE)
        code = self._child.exitcode
        # `timeout` ends all processes of a command, also the fork server: then no target ended this one.
        if code in (-signal.SIGTERM, FORK_SERVER_IS_GONE) and self._stop.wait(SECONDS_BETWEEN_LOOKS):
            raise Stopped
        way = f"with status {code}" if code is None or code >= 0 else f"by {signal.Signals(-code).name}"
        place = place_of_crash(self._folder.name, self._child.pid, code)
        return Violation("Runs", f"its process ended {way}{place}", how="crash")

    def end(self) -> None:
        """End the child, and with it the processes that its targets have started."""
        if self._child is not None:
            assert self._child.pid is not None
            with suppress(ProcessLookupError, PermissionError):  # it had no time to lead a group, or left nobody
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.kill()
            self._child.join(SECONDS_TO_DIE)
        if self._pipe is not None:
            self._pipe.close()
        self._child = self._pipe = None

"""A wait for a child's next word, for its end, or for the time to stop."""

import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

SECONDS_BETWEEN_LOOKS = 0.5
"""Seconds between two checks of a waiting worker whether it has to stop."""


class Stopped(Exception):
    """The worker had to stop while it waited for its child."""


def is_heard(child: BaseProcess, pipe: Connection, seconds: float, stop: threading.Event) -> bool:
    """True if a child says something in time.

    Raises:
        EOFError: if it has ended. Its end is watched beside its pipe, which processes of a target may hold open.
        Stopped: if `stop` is set meanwhile.
    """
    deadline = time.perf_counter() + seconds
    while True:
        rest = max(0.0, min(SECONDS_BETWEEN_LOOKS, deadline - time.perf_counter()))
        ready = wait([pipe, child.sentinel], rest)
        if pipe in ready or (ready and pipe.poll()):
            return True
        if ready:
            raise EOFError
        if stop.is_set():
            raise Stopped
        if time.perf_counter() >= deadline:
            return False

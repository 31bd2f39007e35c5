"""Interrupts that end a run politely: what was judged so far is still reported."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SECONDS_OF_ONE_WISH = 2.0
"""Seconds within which more signals say the same again: `timeout` sends its own to the process, then to its group."""


@dataclass
class Ending:
    """The state of a run that may be asked to end, and when it was asked first (`time.monotonic`)."""

    is_asked: bool = False
    since: float = 0.0


@contextmanager
def ended_politely() -> Iterator[Ending]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that the caller can report what was judged.

    The same signal again, at once, does not disturb the report; later it raises KeyboardInterrupt once more.
    A caller that runs foreign code in a loop should also look at `is_asked`: an interrupt that is raised
    inside a callback of the garbage collector (Hypothesis has one) is printed there and lost.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # only the main thread receives signals
        return

    def end(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if ending.is_asked and now - ending.since < SECONDS_OF_ONE_WISH:
            return
        ending.since = ending.since if ending.is_asked else now
        ending.is_asked = True
        signal.default_int_handler(number, frame)

    # Signals that the parent process asked us to ignore stay ignored.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

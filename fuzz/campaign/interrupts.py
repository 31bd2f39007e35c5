"""Interrupts that end a run politely: what was judged so far is still reported."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Ending:
    """A flag that says whether the run was asked to end before it was done."""

    is_asked: bool = False


@contextmanager
def ended_politely() -> Iterator[Ending]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that the caller can report what was judged.

    A caller that runs foreign code in a loop should also look at `is_asked`: an interrupt that is raised
    inside a callback of the garbage collector (Hypothesis has one) is printed there and lost.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # only the main thread receives signals
        return

    def end(number: int, frame: FrameType | None) -> None:
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

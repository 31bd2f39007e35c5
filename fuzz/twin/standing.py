"""The place where a program on the twin stands, and who waits for whom in it, read from the frames of its process."""

from collections.abc import Iterator
from types import FrameType

from fuzz.twin.machine.scheduler import Scheduler, Thread

GENERATED, PLACES = "<twin of ", "__places__"
"""The first words of the file name of a kernel as Python, and the name in it of the kernel's places, line by line."""


def standing(frame: FrameType | None) -> str:
    """One sentence about the program that runs in a frame or above it; empty if there is none."""
    frames = list(_callers(frame))
    at = next((_place(one) for one in frames if one.f_code.co_filename.startswith(GENERATED)), "")
    here = next((one.f_locals for one in frames if one.f_code is Scheduler.run.__code__), None)
    if here is None:
        return ""
    threads: list[Thread] = here["self"].threads
    waiting = {
        one.name: one.waits.tell(one.name)
        for one in threads
        if one is not here.get("chosen") and one.waits is not None and not one.waits.is_over()
    }
    running = " and ".join(one.name for one in threads if one.name not in waiting) or "nothing"
    return "; ".join([f"{running} goes on{at}", *waiting.values()])


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    """The kernel of a frame of generated code, and the place in the kernel's own file, in words."""
    places: list[str] = frame.f_globals[PLACES]
    return f" in {frame.f_code.co_filename.removeprefix(GENERATED)[:-1]} at {places[frame.f_lineno - 1]}"

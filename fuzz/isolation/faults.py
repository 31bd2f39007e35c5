"""The line of Python at which a child crashed or hangs, as the interpreter itself writes it into a file.

A child whose kernels run on the twin adds who waits for whom in them.
"""

import faulthandler
import os
import re
import signal
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from fuzz.report.command_line import HOME
from fuzz.targets.places import place
from fuzz.twin.standing import GENERATED, standing

FATAL = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""Signals of a crash of which the interpreter tells the line."""

ASKS = signal.SIGRTMIN
"""Signal at which a child writes where it is. LLVM, which compiles for Triton, takes SIGUSR1 and SIGUSR2 for itself."""

SECONDS_TO_TELL = 1.0
"""Seconds that a hanging child has to write where it is."""

_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)
_STACK = re.compile(r"^(?:Current thread|Stack|Thread) .*\(most recent call first\):$", re.MULTILINE)
_CALLERS = tuple(os.path.join(HOME, *parts, "") for parts in (("fuzz", "judge"), ("fuzz", "isolation")))
"""Folders of the harness that call targets: what stands below one of their frames is no target's."""
_OF_TWIN = (GENERATED, os.path.join(HOME, "fuzz", "twin", ""))
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))

_STANDING = re.compile(r"^standing: (.*)$", re.MULTILINE)

_files = list[object]()
"""The open files of this process: the interpreter keeps their numbers alone."""


def tell_faults(folder: str, is_on_twin: bool) -> None:
    """Have this process write where it is, if it crashes and whenever a worker asks.

    is_on_twin: whether it also writes where its program on the twin stands.
    """
    file = _path(folder, os.getpid()).open("w")
    _files.append(file)
    faulthandler.enable(file, all_threads=False)
    if is_on_twin:

        def tell(_: int, frame: FrameType | None) -> None:
            print(f"\nstanding: {standing(frame)}", file=file, flush=True)

        signal.signal(ASKS, tell)
    faulthandler.register(ASKS, file, all_threads=False, chain=is_on_twin)


def place_of_crash(folder: str, pid: int | None, code: int | None) -> str:
    """The line at which a child crashed, in brackets; empty if it is not known."""
    return _place_in(folder, pid) if code is not None and -code in FATAL else ""


def place_of_hang(folder: str, pid: int | None, is_on_twin: bool) -> str:
    """The line at which a child hangs, in brackets, and who waits for whom on the twin; empty if it does not say."""
    if pid is None:
        return ""
    path = _path(folder, pid)
    with suppress(OSError):
        path.write_text("")
        os.kill(pid, ASKS)
        deadline = time.perf_counter() + SECONDS_TO_TELL
        while time.perf_counter() < deadline:
            time.sleep(0.02)
            if _STANDING.search(_text(path)) if is_on_twin else _place_in(folder, pid):
                break
    stands = _STANDING.search(_text(path))
    return _place_in(folder, pid) + (f": {stands[1]}" if stands and stands[1] else "")


def _path(folder: str, pid: int) -> Path:
    return Path(folder) / f"fault-{pid}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _place_in(folder: str, pid: int | None) -> str:
    """The place that the last stack in a child's file is about."""
    text = "" if pid is None else _text(_path(folder, pid))
    frames = [(name, int(line)) for name, line in _FRAME.findall(_STACK.split(text)[-1])]
    outer = next((i for i, (name, _) in enumerate(frames) if name.startswith(_CALLERS)), len(frames))
    of_target = [frame for frame in frames[:outer] if not _is_harness(frame[0])] or frames[:1]
    own = [frame for frame in of_target if not frame[0].startswith(_LIBRARIES)]
    return place(*(own or of_target)[0]) if of_target else ""


def _is_harness(name: str) -> bool:
    """True for the lines by which a target is called, and for the twin's: they run everything, and say nothing."""
    return name == os.path.join(HOME, "fuzz", "targets", "target.py") or name.startswith(_OF_TWIN)

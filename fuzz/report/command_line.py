"""Command lines of this program: as a user called it, to be pasted, and as another process of it is started.

Both find this very package, also in a folder that has a package `fuzz` of its own.
"""

import shlex
import site
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPT = "msa-fuzz"
"""Name of the console script."""
MODULE = ("python", "-m", "fuzz")

HOME = str(Path(__file__).resolve().parents[2])
"""Folder that this package lies in."""
SEARCHED = [] if HOME in (*site.getsitepackages(), site.getusersitepackages()) else [HOME]
"""Folders that a new process must search for this package beside those that Python searches anyway."""

_START = """\
import sys
sys.path[:] = {searched!r} + [path for path in sys.path if path]
from fuzz.__main__ import script
sys.argv[0] = {program!r}
sys.exit(script())
"""


def program() -> list[str]:
    """The words that start this program, as the user wrote them."""
    return [SCRIPT] if Path(sys.argv[0]).name == SCRIPT else list(MODULE)


def again(command: str, *words: str) -> str:
    """A command line to paste."""
    return shlex.join([*program(), command, *words])


def on_device(device: str) -> list[str]:
    """The words that keep a command on a CPU; a GPU is the default where there is one."""
    return ["--device", "cpu"] if device == "cpu" else []


def words_of(line: str) -> list[str]:
    """The words behind the program in a command line that `again` made."""
    words = shlex.split(line)
    return words[1 if words[0] == SCRIPT else len(MODULE) :]


def started(words: Sequence[str]) -> list[str]:
    """The arguments that start this program in a process of its own."""
    return [sys.executable, "-c", _START.format(searched=SEARCHED, program=program()[0]), *words]

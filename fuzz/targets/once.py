"""Claims of the processes of one command: of what one of them is enough for, by the first that comes to it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FAILED = ".failed"
_claims: list[Path] = []
"""The folder of the command's claims, if this process shares one."""


def share_claims(folder: str) -> None:
    """Let this process do what no other that shares the folder has claimed. Empty: it does everything itself."""
    _claims[:] = [Path(folder)] if folder else []


@contextmanager
def first_among_processes(name: str) -> Iterator[bool]:
    """True for the process that is to do what has this name: the first, or every one once it has failed in one.

    So a failure repeats, wherever it is looked into. A process that dies in it keeps the claim: its end is a finding.
    """
    claim = _claims[0] / re.sub(r"\W", "_", name) if _claims else None
    if claim is None or claim.with_suffix(FAILED).exists():
        yield True
        return
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        yield False
        return
    try:
        yield True
    except BaseException:
        claim.with_suffix(FAILED).touch()
        raise

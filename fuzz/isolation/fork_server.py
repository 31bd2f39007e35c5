"""The process that child processes are forked from. This module imports nothing heavy itself."""

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext

from fuzz.report.command_line import HOME, SEARCHED

PRELOADED = ["msa_fast", "fuzz.canaries", "fuzz.isolation.child"]
"""Modules that the fork server imports: all that a child needs, so that it starts in a fraction of a second."""

PATH_VARIABLES = ("PYTHONSAFEPATH", "PYTHONPATH")
"""Variables that tell Python where to search; the server has values of its own, its children this process's."""

_path_turn = threading.Lock()


def fork_server() -> ForkServerContext:
    """The context that starts children from a clean process that has imported everything and used nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that its imports run beside this process's own.

    The server keeps this process's environment of this moment: TRITON_INTERPRET must be settled before.
    """
    fork_server()
    multiprocessing.resource_tracker.ensure_running()  # first: starting it would lift the mask
    # The keyboard's interrupt is for this process alone: the server inherits the mask, and does not die of it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _path_turn, _path_to_this_package():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def undisturbed_path() -> Iterator[None]:
    """The time for a child to start, which takes over where Python searches: no other thread changes it meanwhile."""
    with _path_turn:
        yield


@contextmanager
def _path_to_this_package() -> Iterator[None]:
    """Let the server search for this package where it lies: the current folder may have another one of this name."""
    before, path = path_variables(), list(sys.path)
    others = [value for value in (before["PYTHONPATH"],) if value]
    set_path_variables({"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([*SEARCHED, *others]) or None})
    sys.path[:] = [one for one in path if one == HOME or one not in ("", os.getcwd())]  # newer servers take it over
    try:
        yield
    finally:
        set_path_variables(before)
        sys.path[:] = path


def path_variables() -> dict[str, str | None]:
    """The variables by which Python searches here; None if one is not set."""
    return {name: os.environ.get(name) for name in PATH_VARIABLES}


def set_path_variables(values: dict[str, str | None]) -> None:
    """Set or remove them."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

"""The process that child processes are forked from. This module imports nothing heavy itself."""

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import signal
from multiprocessing.context import ForkServerContext

PRELOADED = ["msa_fast", "fuzz.canaries", "fuzz.isolation.child"]
"""Modules that the fork server imports: all that a child needs, so that it starts in a fraction of a second."""


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
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

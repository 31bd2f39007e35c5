"""The process that child processes are forked from. This module imports nothing heavy itself."""

import multiprocessing
import multiprocessing.forkserver
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
    multiprocessing.forkserver.ensure_running()

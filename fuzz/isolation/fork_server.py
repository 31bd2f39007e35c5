"""The process that child processes are forked from. Imports nothing heavy itself."""

import multiprocessing
import multiprocessing.forkserver
from multiprocessing.context import ForkServerContext

PRELOADED = ["msa_fast", "fuzz.scoring.trials", "fuzz.isolation.worker"]


def fork_server() -> ForkServerContext:
    """The context that children are started from: a clean process that has imported everything and used nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that its imports run beside this process's own.

    Its environment is this process's at this moment: TRITON_INTERPRET must be settled.
    """
    fork_server()
    multiprocessing.forkserver.ensure_running()

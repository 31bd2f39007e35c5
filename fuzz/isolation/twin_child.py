"""The child process that judges targets on the twin. This module imports nothing heavy itself.

Its kernels are compiled, not interpreted, so it cannot come from a fork server that has imported an interpreted
Triton: it is a fresh process, told so before anything imports Triton.
"""

import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext


def fresh() -> SpawnContext:
    """The context that starts processes which have imported nothing."""
    return get_context("spawn")


def live_on_twin(pipe: Connection, folder: str, gpu: str, path_variables: dict[str, str | None], claims: str) -> None:
    """Serve tasks and questions about targets on the twin, which shares no claims. See `fuzz.isolation.child.live`."""
    os.environ["TRITON_INTERPRET"] = "0"
    from fuzz.isolation.child import live

    live(pipe, folder, gpu, path_variables, "", is_on_twin=True)

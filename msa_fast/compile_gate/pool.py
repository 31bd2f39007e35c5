"""Compiles many configurations in processes of their own, so that a compiler that dies takes one of them with it."""

import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from msa_fast.compile_gate.cache import Cache
from msa_fast.compile_gate.compile import compile_configuration
from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.configurations import Configuration

MAX_SECONDS = 300
"""Seconds that a compiler has for one kernel; after them it counts as dead."""


def compile_all(
    configurations: list[Configuration],
    processes: int,
    cache: Cache,
    on_result: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compiled]:
    """Compile all configurations, in their order. on_result is called with the number done and the total."""
    known = [cache.get(configuration) for configuration in configurations]
    total = known.count(None)
    with tempfile.TemporaryDirectory(prefix="compile-gate-") as logs:
        # Spawned: a fork would share the state of the libraries that this process has loaded.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPool(max(1, min(processes, total)), initializer=_log_to, initargs=[logs], context=context)
        try:
            waiting = {
                i: pool.schedule(_compile, args=[configurations[i], logs], timeout=MAX_SECONDS)
                for i, result in enumerate(known)
                if result is None
            }
            for done, (i, future) in enumerate(waiting.items(), 1):
                known[i] = result = _result(future, logs)
                cache.put(configurations[i], result)
                on_result(done, total)
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
    return [result for result in known if result is not None]


def _result(future: "Future[Compiled]", logs: str) -> Compiled:
    try:
        return future.result()
    except TimeoutError:
        end = f"no answer within {MAX_SECONDS} s"
    except ProcessExpired as died:
        end = f"exit status {died.exitcode} {error_line(_log(logs, died.pid))}"
    return Compiled(error=f"the compiler died: {end}".strip())


def _compile(configuration: Configuration, logs: str) -> Compiled:
    log = _log(logs, os.getpid())
    os.truncate(log, 0)
    result = compile_configuration(configuration)
    if result.error:
        result.error = f"{result.error} {error_line(log)}".strip()
    return result


def _log_to(logs: str) -> None:
    # Compilers write their reasons to file descriptor 2, below Python.
    os.dup2(os.open(_log(logs, os.getpid()), os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)


def _log(logs: str, pid: int) -> Path:
    return Path(logs) / str(pid)


def error_line(log: Path) -> str:
    """The first line of a compiler's log with an error, or an empty text."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in lines if re.search(r"error ?:|ERROR:|fatal ", line)), "")

"""Launches on Triton's interpreter, which takes its time and can be entered by one thread alone."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fuzz.targets.host_graph import INTERPRETER


@contextmanager
def at_launches(tell: Callable[[], object]) -> Iterator[None]:
    """Inside, `tell` is called before each launch on the interpreter; what it raises is raised by the launch."""
    with suppress(ImportError):  # a target may import it in its first call
        importlib.import_module(INTERPRETER)
    executor = getattr(sys.modules.get(INTERPRETER), "GridExecutor", None)
    if executor is None:
        yield
        return
    run = executor.__call__

    def told(*args: Any, **options: Any) -> Any:
        tell()
        return run(*args, **options)

    executor.__call__ = told
    try:
        yield
    finally:
        executor.__call__ = run


@contextmanager
def noted_launches() -> Iterator[list[None]]:
    """A list that has an entry for each launch on the interpreter that is made inside."""
    launches = list[None]()
    with at_launches(lambda: launches.append(None)):
        yield launches

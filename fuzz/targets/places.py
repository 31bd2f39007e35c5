"""The place in an adapter's own file that a finding is about."""

import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any


def place_of(run: Callable[..., Any]) -> str:
    """The file and line where a target's function begins, in brackets; empty if it is not written in Python."""
    code = _code_of(run)
    return place(code.co_filename, code.co_firstlineno) if code else ""


def place_of_error(run: Callable[..., Any], error: BaseException) -> str:
    """The last line of a target's own file that an error passed, in brackets; if it passed none, as `place_of`."""
    code = _code_of(run)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    return place(own[-1].filename, own[-1].lineno or 0) if own else place_of(run)


def place(filename: str, line: int) -> str:
    """A file and a line, in brackets, as a sentence ends with them."""
    path = Path(filename)
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f" ({here}, line {line})"


def _code_of(run: Any) -> CodeType | None:
    run = inspect.unwrap(run)
    while isinstance(run, partial):
        run = inspect.unwrap(run.func)
    code = getattr(run if hasattr(run, "__code__") else type(run).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None

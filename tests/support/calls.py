"""The calls of functions that a run makes: a count is the same on every machine."""

import sys
from collections.abc import Callable


def num_calls(run: Callable[[], object], is_first: bool = False) -> int:
    """Functions that a run calls, those of C included."""
    counted = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    if not is_first:
        run()  # what only a first run does is not counted
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return counted

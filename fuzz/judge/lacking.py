"""Exceptions that say what a machine lacks: they accuse no target."""

import traceback

LACKS = (
    (NotImplementedError, "triton/runtime/interpreter.py", "", "Triton's interpreter cannot run it"),
    (RuntimeError, "triton/runtime/driver.py", "", "it needs a GPU"),
    (AssertionError, "torch/cuda/__init__.py", "_lazy_init", "it needs a CUDA device"),
    (RuntimeError, "torch/cuda/__init__.py", "_lazy_init", "it needs a CUDA device"),
)
"""(Exception, end of the path of the file that raises it, function that does if not any, what is lacking)."""


def lacking_here(error: BaseException) -> str | None:
    """The reason why no target of this kind can run on this machine; None if the exception has another cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AttributeError) and type(cause.obj).__name__ == "InterpreterBuilder":
            return f"Triton's interpreter cannot run it: it has no {cause.name}"
        frames = traceback.extract_tb(cause.__traceback__)
        for kind, place, function, lack in LACKS:
            if type(cause) is kind and frames and _is_raised_in(frames[-1], place, function):
                text = " ".join(str(cause).split())
                return None if "CUDA error" in text else f"{lack}: {text}"
        cause = cause.__cause__
    return None


def _is_raised_in(frame: traceback.FrameSummary, place: str, function: str) -> bool:
    return frame.filename.replace("\\", "/").endswith(place) and function in ("", frame.name)

"""The settings of a process that a target may leave changed: its own while it runs, never the judge's.

An engine's import may change torch's default device or number format for all of the process. The next run of the same
target finds them as it left them, and everything else finds them as they were.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch


class _Setting(NamedTuple):
    """A setting that code of a process shares.

    name: in words, if a run other than the first must leave it; empty for one that it may change.
    is_kept: whether a target's next run finds it as it left it.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    is_kept: bool = True


def _set_default_device(device: torch.device) -> None:
    # A CPU as the default device would be one more mode of torch, not the absence of one.
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_deterministic(wanted: tuple[bool, bool]) -> None:
    is_on, is_warning = wanted
    torch.use_deterministic_algorithms(is_on, warn_only=is_warning)


def _matmul_precision() -> tuple[str, str]:
    """torch's older word for it and none; none and a newer word once a target has used such, which hides the older."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision(), ""
    return "", str(torch.backends.cuda.matmul.fp32_precision)


def _set_matmul_precision(wanted: tuple[str, str]) -> None:
    older, newer = wanted
    if older:
        torch.set_float32_matmul_precision(older)
    else:
        torch.backends.cuda.matmul.fp32_precision = newer


def _stream() -> torch.cuda.Stream | None:
    is_initialized: Callable[[], bool] = torch.cuda.is_initialized
    return torch.cuda.current_stream() if is_initialized() else None


def _set_stream(stream: torch.cuda.Stream | None) -> None:
    if stream is not None:
        torch.cuda.set_stream(stream)  # makes its device the current one, too


def _flushes_subnormals() -> bool:
    smallest = torch.tensor([2.0**-140], dtype=torch.float32, device="cpu")
    return not bool(smallest * 0.5)


def _filter_warnings(filters: list[Any]) -> None:
    warnings.resetwarnings()  # forgets what was decided by the old ones
    warnings.filters[:] = filters  # type: ignore[index]


def _folder() -> str:
    with suppress(OSError):  # the folder may have been removed
        return os.getcwd()
    return ""


def _set_folder(folder: str) -> None:
    with suppress(OSError):
        os.chdir(folder)


_ABSENT = object()
_TOOLS: tuple[tuple[type | ModuleType, str], ...] = (
    *((torch, name) for name in ("equal", "stack", "where", "zeros", "ones_like", "arange", "from_numpy", "is_tensor")),
    *((torch.Tensor, f"__{name}__") for name in ("eq", "ne", "or", "ior", "and", "getitem", "setitem", "bool", "int")),
    *((torch.Tensor, name) for name in ("any", "all", "abs", "sum", "nonzero", "view", "clone", "cpu", "numpy")),
    *((torch.Tensor, name) for name in ("copy_", "fill_", "zero_", "tolist", "contiguous", "as_strided", "data_ptr")),
    *((np, name) for name in ("array_equal", "all", "any")),
)
"""Functions of libraries that the judge compares answers with. Who replaces them replaces them for himself."""


def _tools() -> tuple[Any, ...]:
    return tuple(vars(owner).get(name, _ABSENT) for owner, name in _TOOLS)


def _set_tools(wanted: tuple[Any, ...]) -> None:
    for (owner, name), tool, now in zip(_TOOLS, wanted, _tools(), strict=True):
        if tool is _ABSENT and now is not _ABSENT:
            delattr(owner, name)
        elif tool is not now:
            setattr(owner, name, tool)


_SETTINGS: tuple[_Setting, ...] = (
    _Setting("", _tools, _set_tools),
    _Setting("the default device", torch.get_default_device, _set_default_device),
    _Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting("whether gradients are kept", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting(
        "deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    _Setting("the precision of matrix products", _matmul_precision, _set_matmul_precision),
    _Setting("whether subnormal numbers are flushed", _flushes_subnormals, torch.set_flush_denormal),
    _Setting("", lambda: list(warnings.filters), _filter_warnings),
    _Setting("the working folder", _folder, _set_folder),
    _Setting("numpy's errors", np.geterr, lambda errors: np.seterr(**errors)),
    _Setting("the current stream", _stream, _set_stream, is_kept=False),
)
"""Every setting that is kept apart."""


class OwnSettings:
    """One target's settings, while its code runs. A context manager, entered whenever it does.

    changed: names of the settings that it left otherwise than it found them when it ran last.
    """

    def __init__(self) -> None:
        self._own: tuple[Any, ...] | None = None
        self.changed = list[str]()

    def __enter__(self) -> None:
        self._judges = _now()
        if self._own is not None:
            both = zip(_SETTINGS, self._own, self._judges, strict=True)
            _set([own if setting.is_kept else judges for setting, own, judges in both])
        self._found = _now() if self._own is not None else self._judges

    def __exit__(self, *_: object) -> None:
        self._own = _now()
        both = zip(_SETTINGS, self._found, self._own, strict=True)
        self.changed = [setting.name for setting, found, left in both if setting.name and found != left]
        _set(self._judges)


def _now() -> tuple[Any, ...]:
    return tuple(setting.get() for setting in _SETTINGS)


def _set(wanted: Any) -> None:
    for setting, value in zip(_SETTINGS, wanted, strict=True):
        if setting.get() != value:
            setting.set(value)

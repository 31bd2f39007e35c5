"""The settings of a process that a target may leave changed: its own while it runs, never the judge's.

An engine's import may change torch's default device or number format for all of the process. The next run of the same
target finds them as it left them, and everything else finds them as they were.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch


class _Setting(NamedTuple):
    """A setting that code of a process shares. is_kept: whether a target's next run finds it as it left it."""

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
    smallest = torch.full((1,), 2.0**-140, dtype=torch.float32, device="cpu")
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


_SETTINGS: tuple[_Setting, ...] = (
    _Setting(torch.get_default_device, _set_default_device),
    _Setting(torch.get_default_dtype, torch.set_default_dtype),
    _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting(torch.get_num_threads, torch.set_num_threads),
    _Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    _Setting(_matmul_precision, _set_matmul_precision),
    _Setting(_flushes_subnormals, torch.set_flush_denormal),
    _Setting(lambda: list(warnings.filters), _filter_warnings),
    _Setting(_folder, _set_folder),
    _Setting(np.geterr, lambda errors: np.seterr(**errors)),
    _Setting(_stream, _set_stream, is_kept=False),
)
"""Every setting that is kept apart."""


class OwnSettings:
    """One target's settings, while its code runs. A context manager, entered whenever it does."""

    def __init__(self) -> None:
        self._own: tuple[Any, ...] | None = None

    def __enter__(self) -> None:
        self._judges = _now()
        if self._own is not None:
            both = zip(_SETTINGS, self._own, self._judges, strict=True)
            _set([own if setting.is_kept else judges for setting, own, judges in both])

    def __exit__(self, *_: object) -> None:
        self._own = _now()
        _set(self._judges)


def _now() -> tuple[Any, ...]:
    return tuple(setting.get() for setting in _SETTINGS)


def _set(wanted: Any) -> None:
    for setting, value in zip(_SETTINGS, wanted, strict=True):
        if setting.get() != value:
            setting.set(value)

"""Fills memory from `torch.empty` with garbage while a target runs, and puts margins around what it allocates."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch

from fuzz.inputs.margins import Margins
from fuzz.inputs.output import OUT_MARKER

ALLOCATORS: tuple[Callable[..., torch.Tensor], ...] = (
    torch.empty,
    torch.empty_like,
    torch.empty_strided,
    torch.empty_permuted,
    torch.Tensor.new_empty,
    torch.Tensor.new_empty_strided,
)

FILLED: tuple[Callable[..., torch.Tensor], ...] = (
    *(torch.zeros, torch.zeros_like, torch.Tensor.new_zeros),
    *(torch.full, torch.full_like, torch.Tensor.new_full),
    *(torch.ones, torch.ones_like, torch.Tensor.new_ones),
)
"""Functions whose tensors get margins alone."""
MAKING = frozenset({*ALLOCATORS, *FILLED})
RESIZING: frozenset[Callable[..., Any]] = frozenset({torch.Tensor.resize_, torch.Tensor.resize_as_, torch.Tensor.set_})
"""Functions that may change the memory of their first argument, as any may that of its `out`."""

ALL_BUT_THE_SIGN = 0x7F
"""Byte that fills formats that torch cannot fill with a number."""


class GarbageWorkspaces(TorchFunctionMode):
    """Fills uninitialised tensors that torch allocates with the poison of a case's page tails. A context manager.

    Fresh memory is often zero, or holds the right numbers of an earlier run, and would hide a read of
    unwritten memory. Integers get the marker of outputs, so that an answer that the target
    allocates shows its unwritten elements, too. The target notices nothing: what cannot be filled stays as it
    is, traced and fake tensors are left alone, and modes of the target's own see no call but its own. num_bytes: of the
    tensors made so far, filled or not.
    """

    def __init__(self, tail: str) -> None:
        super().__init__()
        self._tail = tail
        self._margins = Margins()
        self.num_bytes = 0

    def written_past(self) -> list[int]:
        """Sizes in bytes of tensors of the target's own whose ends somebody wrote past."""
        return list(self._margins.written())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in RESIZING or "out" in kwargs:
            with suppress(Exception), _python_dispatch._disable_current_modes():
                self._margins.release(args[:1] if func in RESIZING else kwargs["out"])
        made = func(*args, **kwargs)
        if func in MAKING and type(made) is torch.Tensor and not torch.compiler.is_compiling():
            with suppress(Exception):  # whatever it is, it is not the target's fault
                self.num_bytes += made.numel() * made.itemsize
                if _python_dispatch._get_current_dispatch_mode() is None:
                    if func in ALLOCATORS:
                        self._spoil(made)
                    if "out" not in kwargs and not kwargs.get("pin_memory"):
                        self._margins.put_around(made)
                elif func in ALLOCATORS:
                    with _python_dispatch._disable_current_modes():
                        self._spoil(made)
        return made

    @torch.no_grad()
    def _spoil(self, made: torch.Tensor) -> None:
        if made.layout != torch.strided or made.is_quantized or not made.numel():
            return
        garbage = self._garbage(made.dtype)
        if garbage is not None:
            made.fill_(garbage)
        elif made.itemsize == 1:  # packed numbers of less than 8 bits
            made.view(torch.uint8).fill_(ALL_BUT_THE_SIGN)

    def _garbage(self, dtype: torch.dtype) -> float | None:
        """The poison as a number; None for a format that torch cannot fill with one."""
        if dtype == torch.bool:
            return True
        try:
            if not (dtype.is_floating_point or dtype.is_complex):
                info = torch.iinfo(dtype)
                return OUT_MARKER if info.min <= OUT_MARKER else info.max
            bait = torch.finfo(dtype).max / 2
        except (TypeError, NotImplementedError):
            return None
        has_infinities = dtype.itemsize > 1 or dtype == torch.float8_e5m2
        return {"nan": math.nan, "inf": math.inf if has_infinities else math.nan, "bait": bait}[self._tail]

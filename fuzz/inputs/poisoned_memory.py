"""Fills memory from `torch.empty` with garbage while a target runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fuzz.inputs.output import OUT_MARKER

ALLOCATORS: tuple[Callable[..., torch.Tensor], ...] = (
    torch.empty,
    torch.empty_like,
    torch.empty_strided,
    torch.empty_permuted,
    torch.Tensor.new_empty,
    torch.Tensor.new_empty_strided,
)

ALL_BUT_THE_SIGN = 0x7F
"""Byte that fills formats that torch cannot fill with a number."""


class GarbageWorkspaces(TorchFunctionMode):
    """Fills uninitialised tensors that torch allocates with the poison of a case's page tails. A context manager.

    Fresh memory is often zero, or holds the right numbers of an earlier run, and would hide a read of
    unwritten memory. Integers get the marker of outputs, so that an answer that the target
    allocates shows its unwritten elements, too.
    """

    def __init__(self, tail: str) -> None:
        super().__init__()
        self._tail = tail

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in ALLOCATORS and made.layout == torch.strided and not made.is_quantized and made.numel():
            self._spoil(made)
        return made

    @torch.no_grad()
    def _spoil(self, made: torch.Tensor) -> None:
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

"""Fills memory from `torch.empty` with garbage while a target runs."""

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


class GarbageWorkspaces(TorchFunctionMode):
    """While entered, fills whatever torch allocates uninitialised with the poison of a case's page tails.

    Fresh memory is often zero, or holds the right numbers of an earlier run, and would hide a read of
    memory that nobody has written. Integers get the marker of outputs, so that an answer that the target
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
        if func in ALLOCATORS and made.numel():
            made.fill_(self._garbage(made.dtype))
        return made

    def _garbage(self, dtype: torch.dtype) -> float:
        if dtype == torch.bool:
            return True
        if not dtype.is_floating_point:
            info = torch.iinfo(dtype)
            return OUT_MARKER if info.min <= OUT_MARKER else info.max
        return {"nan": float("nan"), "inf": float("inf"), "bait": torch.finfo(dtype).max / 2}[self._tail]

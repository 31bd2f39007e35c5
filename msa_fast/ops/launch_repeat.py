"""A launch repeated by Triton's own dispatch with other tensors; and which argument lies in which tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from msa_fast.ops.launching import Launched, launched


class Span(NamedTuple):
    """The bytes from a tensor's first element to behind its last."""

    start: int
    stop: int

    @staticmethod
    def of(tensor: torch.Tensor) -> "Span":
        """The span of a tensor; empty without elements."""
        start = tensor.data_ptr()
        if tensor.is_contiguous():
            return Span(start, start + tensor.nbytes)
        if tensor.numel() == 0:
            return Span(start, start)
        reach = 1
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            reach += (size - 1) * stride
        return Span(start, start + reach * tensor.itemsize)


def find(tensor: torch.Tensor, spans: Sequence[Span]) -> tuple[int, int] | None:
    """Which span an argument begins in, and how many bytes behind its start; None for an argument of its own."""
    address = tensor.data_ptr()
    for which, span in enumerate(spans):
        if span.start <= address < span.stop:
            return which, address - span.start
    return None


def is_apart(changing: Sequence[Span], kept: Sequence[Span]) -> bool:
    """True if an address tells whose it is: the tensors that change overlap neither each other nor those that stay."""
    last_stop, last_changing_stop = 0, 0
    for (start, stop), changes in sorted([*((span, True) for span in changing), *((span, False) for span in kept)]):
        if start == stop:
            continue
        if start < (last_stop if changes else last_changing_stop):
            return False
        last_stop = max(last_stop, stop)
        if changes:
            last_changing_stop = stop
    return True


class TritonLaunch:
    """A launch, bound: called with the tensors that change, in the order of their spans when it was made."""

    def __init__(self, launch: Launched, spans: Sequence[Span]) -> None:
        self._kernel, self._grid, self._options = launch.kernel, launch.grid, launch.options
        self._args: list[Any] = []
        self._changes: list[tuple[int, int, int, Any]] = []
        for place, value in enumerate(launch.args):
            tensor = _tensor_of(value)
            found = None if tensor is None else find(tensor, spans)
            if found is not None:
                self._changes.append((place, *found, _Kind.of(value)))
            self._args.append(value if found is None else None)  # what changes is not kept alive

    def __call__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Launch on the current stream."""
        args = list(self._args)
        for place, which, offset, kind in self._changes:
            args[place] = kind.within(tensors[which], offset)
        launched(tensors[0].device, self._kernel, self._grid, *args, **self._options)


def _tensor_of(value: Any) -> torch.Tensor | None:
    """The tensor of an argument: itself, or that of a tensor descriptor."""
    base = getattr(value, "base", None)
    found = value if isinstance(value, torch.Tensor) else base
    return found if isinstance(found, torch.Tensor) else None


@dataclass(frozen=True)
class _Kind:
    """An argument without its memory: dtype, shape and strides of its tensor, and what else a descriptor says."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    descriptor: tuple[type, dict[str, Any]] | None

    @staticmethod
    def of(value: Any) -> "_Kind":
        """The kind of a tensor or of a tensor descriptor."""
        if isinstance(value, torch.Tensor):
            return _Kind(value.dtype, tuple(value.shape), value.stride(), None)
        more = {name: part for name, part in vars(value).items() if name != "base"}
        return _Kind(value.base.dtype, tuple(value.base.shape), value.base.stride(), (type(value), more))

    def within(self, tensor: torch.Tensor, offset: int) -> Any:
        """Such an argument in a tensor, `offset` bytes behind its start."""
        first = tensor.storage_offset() * tensor.element_size() + offset
        memory = tensor if tensor.dtype == self.dtype else torch.empty(0, dtype=self.dtype, device=tensor.device)
        if memory is not tensor:  # bytes, read in words
            memory = memory.set_(tensor.untyped_storage())
        own = memory.as_strided(self.shape, self.stride, first // self.dtype.itemsize)
        return own if self.descriptor is None else self.descriptor[0](base=own, **self.descriptor[1])

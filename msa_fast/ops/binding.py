"""One call, bound: the launches that it made, for other tensors of the same kind.

On NVIDIA GPUs the CUDA driver repeats a launch (`driver_launch`), and makes it in the first place where the kernel is
known from an earlier step (`known_kernels`); on other GPUs, and on the interpreter, Triton does, at its own price
(`launch_repeat`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from msa_fast.ops.dot import IS_INTERPRETED
from msa_fast.ops.driver_launch import CompiledLaunch, DriverLaunch
from msa_fast.ops.known_kernels import find_known, keep_known, kind_of
from msa_fast.ops.launch_repeat import Span, TritonLaunch, find
from msa_fast.ops.launching import Launched, current_stream, launched_by_triton, launching_by

MEMORY_STEP = 512
"""Bytes that each score tensor in the memory of a call starts at a multiple of, as torch's own tensors do."""


class Prepared:
    """One call, checked, before its launches.

    launch: makes them. scores: memory that they use between them. kept: tensors of their own that stay.
    """

    def __init__(
        self,
        launch: Callable[[], Sequence[Launched]],
        scores: tuple[torch.Tensor, ...],
        kept: tuple[torch.Tensor, ...],
    ) -> None:
        self.launch, self.scores, self.kept = launch, scores, kept


class Binding(ABC):
    """The launches of one call, made when it is bound, and again for other tensors of the same kind.

    tokens: rows of `out` that are this call's.
    """

    def __init__(self, tokens: slice) -> None:
        self.tokens = tokens
        self._view: tuple[int, torch.Tensor | None] = (-1, None)

    def run(self, tensors: tuple[torch.Tensor, ...], addresses: tuple[int, ...]) -> torch.Tensor:
        """Launch for other queries, key pages and `out`. Returns the rows of `out`."""
        self._repeat(tensors, addresses)
        address, view = self._view
        if view is None or address != addresses[2]:
            view = tensors[2][:, self.tokens]
            self._view = addresses[2], view
        return view

    @abstractmethod
    def _repeat(self, tensors: tuple[torch.Tensor, ...], addresses: tuple[int, ...]) -> None:
        """Launch for other queries, key pages and `out`, at these addresses."""


class TritonBinding(Binding):
    """A binding whose launches Triton repeats."""

    def __init__(self, call: Prepared, device: torch.device, spans: Sequence[Span], tokens: slice) -> None:
        super().__init__(tokens)
        self.new_scores = [_maker_of(score) for score in call.scores]
        self.repeated = [TritonLaunch(launch, spans) for launch in call.launch()]

    def _repeat(self, tensors: tuple[torch.Tensor, ...], addresses: tuple[int, ...]) -> None:
        everything = (*tensors, *[new_score() for new_score in self.new_scores])
        for repeat in self.repeated:
            repeat(everything)


def _maker_of(score: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A function that makes other memory like that of scores. It keeps nothing of the call that they are of."""
    num, dtype, device = score.untyped_storage().nbytes() // score.itemsize, score.dtype, score.device
    layout = score.shape, score.stride(), score.storage_offset()
    return lambda: torch.empty(num, dtype=dtype, device=device).as_strided(*layout)


class DriverBinding(Binding):
    """A binding whose launches the CUDA driver repeats; it also makes those of kernels that are known."""

    def __init__(self, call: Prepared, device: torch.device, spans: Sequence[Span], tokens: slice) -> None:
        self._keep(device, tokens, [], [tensor.untyped_storage().nbytes() for tensor in call.scores])
        if device.index == torch.cuda.current_device():
            self._make(call, spans)
        else:
            with torch.cuda.device(device):
                self._make(call, spans)

    @staticmethod
    def of_launches(
        device: torch.device, tokens: slice, driven: list[DriverLaunch], score_bytes: list[int]
    ) -> "DriverBinding":
        """A binding of launches that are there; it has not run yet."""
        made = object.__new__(DriverBinding)
        made._keep(device, tokens, driven, score_bytes)
        return made

    def _keep(self, device: torch.device, tokens: slice, driven: list[DriverLaunch], score_bytes: list[int]) -> None:
        Binding.__init__(self, tokens)
        self.device, self.driven = device, driven
        sizes = [-(-size // MEMORY_STEP) * MEMORY_STEP for size in score_bytes]
        self.offsets, self.num_bytes = [sum(sizes[:place]) for place in range(len(sizes))], sum(sizes)

    def _make(self, call: Prepared, spans: Sequence[Span]) -> None:
        """Make the launches of a call, and keep them."""
        addresses, stream = [span.start for span in spans], current_stream(self.device)

        def make(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], options: Mapping[str, Any]) -> Launched:
            kind = kind_of(kernel, args, options, self.device.index)
            known = find_known(kind)
            is_new = known is None
            if known is None:
                launch = launched_by_triton(self.device, kernel, grid, args, options)
                known = keep_known(kind, CompiledLaunch(launch))
            driven = DriverLaunch(known, grid, args, lambda tensor: find(tensor, spans))
            self.driven.append(driven)
            if not is_new:
                driven(stream, addresses)
            return Launched(kernel, grid, args, options, known.compiled)

        launching_by(make, call.launch)

    def _repeat(self, tensors: tuple[torch.Tensor, ...], addresses: tuple[int, ...]) -> None:
        if self.device.index == torch.cuda.current_device():
            self._drive(addresses)
        else:
            with torch.cuda.device(self.device):
                self._drive(addresses)

    def _drive(self, addresses: tuple[int, ...]) -> None:
        memory = torch.empty(self.num_bytes, dtype=torch.uint8, device=self.device)
        start = memory.data_ptr()
        stream = current_stream(self.device)
        everything = (*addresses, *[start + offset for offset in self.offsets])
        for launch in self.driven:
            launch(stream, everything)


def is_by_driver(device: torch.device) -> bool:
    """True where the CUDA driver repeats launches; elsewhere Triton does."""
    return device.type == "cuda" and torch.version.hip is None and not IS_INTERPRETED


def bind(call: Prepared, device: torch.device, spans: Sequence[Span], tokens: slice) -> Binding:
    """Launch a call, and bind it. spans: of queries, key pages, `out` and scores."""
    return (DriverBinding if is_by_driver(device) else TritonBinding)(call, device, spans, tokens)

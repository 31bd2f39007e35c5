"""A captured step without a GPU: the kernels and operators that a run launched, done again on the same memory.

Like a CUDA graph it keeps what Python decided or remembered during the capture: grids, pointers, strides, numbers, and
the work of the host, which is not done again. Kernels are those of Triton's interpreter.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

INTERPRETER = "triton.runtime.interpreter"
ALLOCATIONS = frozenset(("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"))
"""Operators that give memory and launch nothing: a replay does not ask for other memory."""


class HostGraph:
    """The launches of a run, in order. num_kernels: those of Triton kernels among them."""

    def __init__(self) -> None:
        self.launches: list[Callable[[], object]] = []
        self.num_kernels = 0

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Keep the launches that are made inside, which run as always."""
        interpreter = sys.modules.get(INTERPRETER)
        executor: Any = None if interpreter is None else interpreter.GridExecutor
        if executor is None:  # nothing can launch a kernel
            with _Operators(self):
                yield
            return
        run = executor.__call__

        def kept(launch: Any, *args: Any, **options: Any) -> Any:
            if callable(launch.grid):
                launch.grid = _decided_once(launch.grid)
            self.launches.append(lambda: run(launch, *args, **options))
            self.num_kernels += 1
            with _disable_current_modes():  # the interpreter's own work with tensors is no launch
                return run(launch, *args, **options)

        executor.__call__ = kept
        try:
            with _Operators(self):
                yield
        finally:
            executor.__call__ = run

    @torch.inference_mode()  # the capture may have been made in that mode; a CUDA graph would not mind
    def replay(self) -> None:
        """Make the launches again."""
        for launch in self.launches:
            launch()


def _decided_once(grid: Callable[[Any], Any]) -> Callable[[Any], Any]:
    decided = list[Any]()

    def once(meta: Any) -> Any:
        if not decided:
            decided.append(grid(meta))
        return decided[0]

    return once


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps torch's operators in a graph as they run; one that launches kernels is kept as a whole."""

    def __init__(self, graph: HostGraph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._graph = graph

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        graph, given, first = self._graph, dict(kwargs or {}), len(self._graph.launches)
        made = func(*args, **given)
        del graph.launches[first:]
        own = _memory_of((args, given))
        is_new = [tensor.untyped_storage()._cdata not in own for tensor in _tensors(made)]
        is_launch = func._schema.is_mutable or any(is_new)
        if is_launch and func.overloadpacket.__name__ not in ALLOCATIONS:
            graph.launches.append(lambda: _again(func, args, given, made, is_new))
        return made


def _again(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Any, is_new: Sequence[bool]) -> None:
    """Run an operator again, and put what it makes where it was put before.

    Tensors of other sizes than before, as `nonzero` may make, are left out: a GPU would not capture them.
    """
    made_now = _tensors(func(*args, **kwargs))
    for before, now, has_own_memory in zip(_tensors(made), made_now, is_new, strict=False):
        if has_own_memory and before.shape == now.shape:
            before.copy_(now)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in _pytree.tree_leaves(values) if isinstance(value, torch.Tensor)]


def _memory_of(values: Any) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in _tensors(values)}


class HostDecodeGraph:
    """`DecodeGraph` without a GPU: what a step at the greatest length launches, launched again at every replay."""

    def __init__(
        self, check_replay: Any, impl: Any, builder: Any, index_query: torch.Tensor, index_k_pages: torch.Tensor,
        num_reqs: int, query_len: int,
    ) -> None:  # fmt: skip
        """check_replay: of the module of `DecodeGraph`."""
        self.check_replay, self.launches = check_replay, HostGraph()
        self.metadata = builder.build_for_cudagraph_capture(builder.longest_decode_batch(num_reqs, query_len))
        with self.launches.capture():
            self.topk_idx, _ = impl.forward(index_query, index_k_pages, self.metadata)

    def replay(self, metadata: Any) -> torch.Tensor:
        """The selections of the step that was built last."""
        self.check_replay(self.metadata, metadata)
        self.launches.replay()
        topk_idx: torch.Tensor = self.topk_idx[:, : metadata.num_decode_tokens]
        return topk_idx

"""The suite's own engine classes, as targets of kind `step` drive them: eagerly, or with captured steps of decodes."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.engine import Engine, EngineSetup, EngineStep
from fuzz.targets.host_graph import HostGraph


class EagerEngine:
    """Builder and impl of the MSA backend: a builder for each micro-batch, an impl for each layer."""

    def __init__(self, package: str, setup: EngineSetup) -> None:
        """package: `msa_fast`, or a copy of it with a planted defect."""
        backend: Any = importlib.import_module(f"{package}.indexer_msa").MiniMaxM3IndexerMSABackend
        self.builders = [
            backend.get_builder_cls()(
                setup.config,
                setup.device,
                max_num_reqs=setup.max_num_reqs,
                max_model_len=setup.max_model_len,
                num_speculative_tokens=setup.num_speculative_tokens,
                micro_batch=micro_batch,
            )
            for micro_batch in range(setup.num_micro_batches)
        ]
        self.impls = [backend.get_impl_cls()(setup.config, buffer) for buffer in setup.topk_indices_buffers]

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        """The builder's metadata."""
        return self.builders[micro_batch].build(0, step)

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> tuple[torch.Tensor | None, ...]:
        """The impl's selections, decodes first."""
        selections: tuple[torch.Tensor | None, ...] = self.impls[layer].forward(index_query, index_k_pages, metadata)
        return selections


class GraphEngine(EagerEngine):
    """The same with a captured step of decodes for each layer, as long as there is one micro-batch."""

    def __init__(self, package: str, setup: EngineSetup) -> None:
        """Capture every layer, at the greatest lengths."""
        super().__init__(package, setup)
        graph: Any = importlib.import_module(f"{package}.graph")
        (self.builder, *others), self.query_len = self.builders, 1 + setup.num_speculative_tokens
        num_reqs = min(setup.max_num_reqs, setup.max_num_tokens // self.query_len)
        layers = zip(self.impls, setup.index_query, setup.index_k_pages, strict=True)
        has_graphs = not others and num_reqs > 0 and min(map(len, setup.index_k_pages)) > 0
        capture = graph.DecodeGraph if setup.device.type == "cuda" else partial(HostDecodeGraph, graph.check_replay)
        self.graphs = (
            [capture(impl, self.builder, queries, pages, num_reqs, self.query_len) for impl, queries, pages in layers]
            if has_graphs
            else []
        )

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> tuple[torch.Tensor | None, ...]:
        """The selections of a replay where the step is one of decodes alone, with all of their drafts.

        A step of decodes with fewer drafts is offered for a replay, too, which must be refused.
        """
        decode = metadata.decode
        if self.graphs and metadata.num_prefills == 0 and decode is not None:
            if decode.decode_query_len == self.query_len:
                return (self.graphs[layer].replay(metadata),)
            self._require_refusal(layer, metadata)
        return super().forward(layer, index_query, index_k_pages, metadata)

    def _require_refusal(self, layer: int, metadata: Any) -> None:
        try:
            self.graphs[layer].replay(metadata)
        except ValueError as refusal:
            # For its drafts, or for more requests than a graph of longer ones has.
            if str(refusal).startswith(("decode_query_len must ", "num_decodes must ")):
                return
            raise
        got, captured = metadata.decode.decode_query_len, self.query_len
        raise BrokenLaw("Refuses", f"a step of {got} tokens a request was replayed, captured for {captured}")


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


ENGINES: dict[str, Callable[[str], Callable[[EngineSetup], Engine]]] = {
    "step": lambda package: partial(EagerEngine, package),
    "step-graph": lambda package: partial(GraphEngine, package),
}
"""Name of a built-in target -> the engine of a package."""

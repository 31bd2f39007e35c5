"""The suite's own engine classes, as targets of kind `step` drive them: eagerly, or with captured steps of decodes.

They promise more than a foreign engine has to, and are held to it: they take an engine's objects of several versions,
whose tensors lie elsewhere at each step, and refuse metadata that is too old, and queries that are too few.
"""

import importlib
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.engine import Engine, EngineSetup, EngineStep
from fuzz.targets.host_graph import HostGraph
from fuzz.targets.layers import moved


class EagerEngine:
    """Builder and impl of the MSA backend: a builder for each micro-batch, an impl for each layer.

    Every other layer but the first has a prefill scorer of its own.
    """

    def __init__(self, package: str, setup: EngineSetup) -> None:
        """package: `msa_fast`, or a copy of it with a planted defect."""
        backend: Any = importlib.import_module(f"{package}.indexer_msa").MiniMaxM3IndexerMSABackend
        score: Any = importlib.import_module(f"{package}.ops.score").minimax_m3_index_score
        own_scorers = partial(_into_its_own_memory, score), partial(_as_it_is_given, score)
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
        self.impls = [
            backend.get_impl_cls()(setup.config, buffer, own_scorers[layer // 2 % 2] if layer % 2 else "triton")
            for layer, buffer in enumerate(setup.topk_indices_buffers)
        ]
        self.newest: list[Any] = [None] * setup.num_micro_batches
        self.old: list[Any] = []
        self.num_steps = 0

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        """The builder's metadata."""
        form = FORMS[self.num_steps % len(FORMS)]
        if micro_batch == len(self.builders) - 1:
            self.num_steps += 1
        metadata = self.builders[micro_batch].build(0, form(step))
        self.old += [self.newest[micro_batch]] if self.newest[micro_batch] is not None else []
        self.newest[micro_batch] = metadata
        return metadata

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> tuple[torch.Tensor | None, ...]:
        """The impl's selections, decodes first. Before it old metadata is offered, and behind it a query too few."""
        answer = self.impls[layer].forward
        self._offer_old(partial(answer, index_query, index_k_pages))
        selections: tuple[torch.Tensor | None, ...] = answer(index_query, index_k_pages, metadata)
        num_tokens = metadata.num_decode_tokens + metadata.num_prefill_tokens
        # Of both sides the first one would run again, which takes its time.
        if layer == len(self.impls) - 1 and (metadata.num_decodes > 0) != (metadata.num_prefills > 0):
            what = f"{num_tokens - 1} queries of a step of {num_tokens} tokens were taken"
            few = partial(answer, index_query[: num_tokens - 1], index_k_pages, metadata)
            _require_refusal("index_query must ", what, few)
        return selections

    def _offer_old(self, take: Callable[[Any], object]) -> None:
        """Offer metadata of earlier steps, which must be refused: the builder's buffers hold another step now."""
        while self.old:
            what = "metadata was taken after its builder's next build"
            _require_refusal("attn_metadata must ", what, partial(take, self.old.pop()))


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
            replay, got = self.graphs[layer].replay, decode.decode_query_len
            if got == self.query_len:
                self._offer_old(replay)
                return (replay(metadata),)
            what = f"a step of {got} tokens a request was replayed, captured for {self.query_len}"
            # For its drafts, or for more requests than a graph of longer ones has.
            _require_refusal(("decode_query_len must ", "num_decodes must "), what, partial(replay, metadata))
        return super().forward(layer, index_query, index_k_pages, metadata)


def _require_refusal(rules: str | tuple[str, ...], what: str, call: Callable[[], object]) -> None:
    """Hold a bad call to the law `Refuses`. rules: first words of a refusal. what: the fault where there is none.

    Raises:
        BrokenLaw: if it is taken.
        ValueError: a refusal by another rule.
    """
    try:
        call()
    except ValueError as refusal:
        if str(refusal).startswith(rules):
            return
        raise
    raise BrokenLaw("Refuses", what)


def _as_it_is(step: EngineStep) -> Any:
    return step


def _with_a_bound_alone(step: EngineStep) -> Any:
    """The step of an engine that leaves the lengths' own name empty, in other memory."""
    return SimpleNamespace(**_elsewhere(step), seq_lens_cpu=None, seq_lens_cpu_upper_bound=step.seq_lens_cpu)


def _without_the_lengths(step: EngineStep) -> Any:
    """The step of an engine that has an upper bound alone, as vLLM 0.33, in other memory."""
    return SimpleNamespace(**_elsewhere(step), seq_lens_cpu_upper_bound=step.seq_lens_cpu)


FORMS: tuple[Callable[[EngineStep], Any], ...] = (_as_it_is, _with_a_bound_alone, _without_the_lengths)
"""A step as engines of several versions describe it, step by step in turn."""


def _elsewhere(step: EngineStep) -> dict[str, Any]:
    """The fields of a step but for its lengths on the host; what the builder reads on the device lies elsewhere."""
    given = {name: value for name, value in vars(step).items() if name != "seq_lens_cpu"}
    return given | {name: moved(given[name]) for name in ("query_start_loc", "seq_lens", "block_table_tensor")}


def _as_it_is_given(score: Any, batch: Any, plan: Any, out: torch.Tensor) -> Any:
    """A prefill scorer of the caller's own, which fills the memory that it is given."""
    return score(batch, plan, out)


def _into_its_own_memory(score: Any, batch: Any, plan: Any, out: torch.Tensor) -> Any:
    """A prefill scorer of the caller's own, which returns other memory."""
    out.fill_(float("nan"))
    return score(batch, plan, torch.empty_like(out))


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

"""The suite's own engine classes, as targets of kind `step` drive them: eagerly, or with captured steps of decodes.

They promise more than a foreign engine has to, and are held to it: they take an engine's objects of several versions,
whose tensors lie elsewhere at each step, with requests in any order, and keep what `own_promises` holds them to.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from fuzz.targets.engine import Engine, EngineSetup, EngineStep
from fuzz.targets.host_graph import HostDecodeGraph
from fuzz.targets.layer_memory import in_another_storage
from fuzz.targets.layers import like
from fuzz.targets.once import first_among_processes
from fuzz.targets.own_bindings import hold_to_new_launches
from fuzz.targets.own_choices import hold_to_choices
from fuzz.targets.own_classes import (
    hold_to_cache_formats,
    offer_exact_buffer,
    offer_idle_step,
    offer_missing_scorer,
    offer_short_buffer,
)
from fuzz.targets.own_cover import hold_to_whole_device_plans, hold_to_whole_plans
from fuzz.targets.own_forms import FORMS, default_device, with_an_empty_request
from fuzz.targets.own_kinds import hold_to_kinds, hold_to_own_descriptors, hold_to_own_thread, hold_to_own_words
from fuzz.targets.own_memory import hold_to_memory
from fuzz.targets.own_outs import KeptOuts
from fuzz.targets.own_plans import Planning, offer_steps_ahead, offer_traded_lengths
from fuzz.targets.own_promises import (
    bad_steps,
    hold_to_step,
    offer_bad_buffers,
    offer_bad_captures,
    require_refusal,
)
from fuzz.targets.own_refusals import hold_to_refusals
from fuzz.targets.own_scores import hold_to_own_scores
from fuzz.targets.own_steps import hold_to_own_launches
from fuzz.targets.own_told import hold_to_told
from fuzz.targets.own_vendor import hold_to_vendor_calls

FP8_DIMS = (32, 64, 128)
"""Dims of a head that e4m3's own products are made for."""
NO_FP8_UNIT = "product can be 'fp8' only on "
"""The first words of the one refusal of such products that is right here: by a device without a unit for them."""


class EagerEngine:
    """Builder and impl of the MSA backend: a builder for each micro-batch, an impl for each layer.

    Every other layer but the first has a prefill scorer of its own.
    """

    def __init__(self, package: str, setup: EngineSetup) -> None:
        """package: `msa_fast`, or a copy of it with a planted defect."""
        backend: Any = importlib.import_module(f"{package}.indexer_msa").MiniMaxM3IndexerMSABackend
        score: Any = importlib.import_module(f"{package}.ops.score").minimax_m3_index_score
        own_scorers = partial(_into_its_own_memory, score), partial(_as_it_is_given, score)
        formats, keys = backend.kv_formats, setup.index_k_pages[0].dtype
        key_format = next((name for name in formats if backend.get_kv_cache_dtype(name) is keys), "auto")
        *self.builders, self.one_too_many, self.stranger = [
            backend.get_builder_cls()(
                setup.config,
                setup.device,
                max_num_reqs=setup.max_num_reqs + 1,  # an empty one may come between
                max_model_len=setup.max_model_len,
                num_speculative_tokens=setup.num_speculative_tokens,
                micro_batch=micro_batch,
                indexer_kv_dtype=key_format,
            )
            for micro_batch in (*range(setup.num_micro_batches + 1), 0)
        ]
        self.backend, self.setup = backend, setup
        hold_to_cache_formats(backend)
        offer_missing_scorer(backend, setup)
        offer_bad_buffers(partial(backend.get_impl_cls(), setup.config), setup.topk_indices_buffers[0])
        if setup.max_num_tokens % 5 == 1:  # which takes longer than some steps
            self._plan_ahead(package, backend, setup)
        with first_among_processes(package) as is_first:
            if is_first:
                self._hold_to_promises(package, setup.device)
        self._add_layers_of_other_formats(backend, setup)
        self.kept_outs = KeptOuts()
        self.impls = [
            backend.get_impl_cls()(setup.config, buffer, own_scorers[layer // 2 % 2] if layer % 2 else "triton")
            for layer, buffer in enumerate(setup.topk_indices_buffers)
        ]
        self.newest: list[Any] = [None] * setup.num_micro_batches
        self.beyond: Any = None
        self.old: list[Any] = []
        self.num_actual_tokens = [0] * setup.num_micro_batches
        self.num_steps, self.drafts = 0, setup.num_speculative_tokens
        self.has_empty_requests = setup.max_num_tokens % 3 == 2  # at each step or at none: the same shapes again

    def _hold_to_promises(self, package: str, device: torch.device) -> None:
        """Hold a package to what no step shows: most of it once in a process."""
        hold_to_kinds(importlib.import_module(f"{package}.ops.known_kernels").kind_of)
        hold_to_own_thread(importlib.import_module(f"{package}.ops.launching"))
        hold_to_own_descriptors(importlib.import_module(f"{package}.ops.nvidia.tma"))
        hold_to_own_words(importlib.import_module(f"{package}.ops.nvfp4").in_words)
        hold_to_own_launches(package)
        hold_to_new_launches(package)
        hold_to_memory(package)
        hold_to_own_scores(package, device)
        hold_to_refusals(package, device)
        hold_to_vendor_calls(package)
        hold_to_choices(package)
        hold_to_told(package)
        hold_to_whole_plans(package)
        hold_to_whole_device_plans(package)

    def _plan_ahead(self, package: str, backend: Any, setup: EngineSetup) -> None:
        """Have another builder plan steps that nobody runs."""
        attention: Any = importlib.import_module(f"{package}.attention_metadata")
        plan_alone = importlib.import_module(package).PrefillPlan.build
        new_builder, from_lens = backend.get_builder_cls(), attention.CommonAttentionMetadata.from_lens
        planning = Planning(new_builder, from_lens, plan_alone, setup.config, setup.device)
        offer_steps_ahead(planning)
        offer_traded_lengths(planning)

    def _add_layers_of_other_formats(self, backend: Any, setup: EngineSetup) -> None:
        """Impls with buffers of their own: with e4m3's own products, where layers can have them and where not.

        And where queries and keys are e4m3, one of bf16 queries.
        """
        new_impl = partial(backend.get_impl_cls(), setup.config, like(setup.topk_indices_buffers[0]))
        is_e4m3 = (setup.index_query[0].dtype, setup.index_k_pages[0].dtype) == (torch.float8_e4m3fn,) * 2
        has_product = is_e4m3 and setup.config.index_head_dim in FP8_DIMS
        self.wrong_product = None if is_e4m3 else new_impl(product="fp8")
        self.other_product = new_impl(product="fp8") if has_product else None
        self.other_queries = new_impl() if is_e4m3 else None

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        """The builder's metadata."""
        form, builder = FORMS[self.num_steps % len(FORMS)], self.builders[micro_batch]
        if micro_batch == len(self.builders) - 1:
            self.num_steps += 1
        if self.has_empty_requests:
            step = with_an_empty_request(step, self.drafts)
        with default_device(self.num_steps):  # a fast build as for the steps of a draft model
            metadata = builder.build(0, form(step), fast_build=self.num_steps % 3 == 2)
        for rule, refused in bad_steps(step, builder.max_num_reqs, builder.max_model_len, builder.config.block_size):
            what = f"a step whose {rule.split()[0]} is wrong was built"
            require_refusal(rule, what, partial(builder.build, 0, form(refused)))
        if len(self.builders) == 1:
            self.beyond = self.one_too_many.build(0, form(step))
        self.old += [self.newest[micro_batch]] if self.newest[micro_batch] is not None else []
        self.newest[micro_batch], self.num_actual_tokens[micro_batch] = metadata, step.num_actual_tokens
        return metadata

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> tuple[torch.Tensor | None, ...]:
        """The impl's selections, decodes first. Before it old metadata is offered, and behind it a query too few."""
        answer = self.impls[layer].forward
        if self.num_steps % 2 == 0:  # at the other steps as they are
            index_k_pages = in_another_storage(index_k_pages)
        self._offer_old(partial(answer, index_query, index_k_pages))
        if layer == 0:
            self._before_the_layers(index_query, index_k_pages, metadata)
        with default_device(self.num_steps):
            selections: tuple[torch.Tensor | None, ...] = answer(index_query, index_k_pages, metadata)
        if layer == len(self.impls) - 1:  # where nothing is left to wait for
            hold_to_step(metadata, self.num_actual_tokens[metadata.micro_batch])
            if len(self.builders) == 1:
                self.kept_outs.offer(index_query, index_k_pages, metadata)
                for offer in offer_short_buffer, offer_exact_buffer:
                    offer(self.backend, self.setup, index_query, index_k_pages, metadata)
        num_tokens = metadata.num_decode_tokens + metadata.num_prefill_tokens
        # Of both sides the first one would run again, which takes its time.
        if layer == len(self.impls) - 1 and (metadata.num_decodes > 0) != (metadata.num_prefills > 0):
            what = f"{num_tokens - 1} queries of a step of {num_tokens} tokens were taken"
            few = partial(answer, index_query[: num_tokens - 1], index_k_pages, metadata)
            require_refusal("index_query must ", what, few)
        return selections

    def _before_the_layers(self, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any) -> None:
        """Offer what must be refused: queries of a dim too few, a micro-batch that buffers have no slot for.

        And let layers of other formats come first.
        """
        if metadata.num_decodes + metadata.num_prefills == 0:
            return
        if self.beyond is not None:
            what, own = "a micro-batch without a slot was taken", self.impls[0].forward
            require_refusal("micro_batch must ", what, partial(own, index_query, index_k_pages, self.beyond))
        narrow = partial(self.impls[0].forward, index_query[..., :-1], index_k_pages, metadata)
        require_refusal(("index_q must ", "index_query must "), "queries of a dim too few were taken", narrow)
        if self.wrong_product is not None:
            what = "a layer of other formats was taken with e4m3's own products"
            wrong = partial(self.wrong_product.forward, index_query, index_k_pages, metadata)
            require_refusal("product can be 'fp8' only for ", what, wrong)
        if self.num_steps > 1:
            return
        if self.other_queries is not None:
            self.other_queries.forward(index_query.to(torch.bfloat16), index_k_pages, metadata)
        if self.other_product is not None:
            try:
                self.other_product.forward(index_query, index_k_pages, metadata)
            except ValueError as refusal:
                if not str(refusal).startswith(NO_FP8_UNIT):
                    raise
                self.other_product = None

    def _offer_old(self, take: Callable[[Any], object]) -> None:
        """Offer metadata of earlier steps, which must be refused: the builder's buffers hold another step now."""
        while self.old:
            what = "metadata was taken after its builder's next build"
            require_refusal("attn_metadata must ", what, partial(take, self.old.pop()))


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
        if has_graphs:
            attention: Any = importlib.import_module(f"{package}.attention_metadata")
            offer_bad_captures(self.builder, attention.CommonAttentionMetadata.from_lens, num_reqs, self.query_len)
        capture = graph.DecodeGraph if setup.device.type == "cuda" else partial(HostDecodeGraph, graph.check_replay)
        self.graphs = (
            [capture(impl, self.builder, queries, pages, num_reqs, self.query_len) for impl, queries, pages in layers]
            if has_graphs
            else []
        )
        if has_graphs:
            offer_idle_step(self.graphs[0], self.builder, attention.CommonAttentionMetadata.from_lens, num_reqs)

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        """The builder's metadata; where there are graphs, another builder has the step, too."""
        metadata = super().build(step, micro_batch)
        if self.graphs:
            self.strange = self.stranger.build(0, step)
        return metadata

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> tuple[torch.Tensor | None, ...]:
        """The selections of a replay where the step is one of decodes alone, with all of their drafts.

        Steps of decodes with fewer drafts, and with prefills, are offered for a replay, too, which must be refused.
        """
        decode = metadata.decode
        if self.graphs and metadata.num_prefills > 0:
            what = f"a step of {metadata.num_decodes} decodes and {metadata.num_prefills} prefills was replayed"
            require_refusal("num_prefills must ", what, partial(self.graphs[layer].replay, metadata))
        if self.graphs and metadata.num_prefills == 0 and decode is not None:
            replay, got = self.graphs[layer].replay, decode.decode_query_len
            if got == self.query_len:
                self._offer_old(replay)
                require_refusal(
                    "metadata must ", "a step of another builder was replayed", partial(replay, self.strange)
                )
                return (replay(metadata),)
            what = f"a step of {got} tokens a request was replayed, captured for {self.query_len}"
            # For its drafts, or for more requests than a graph of longer ones has.
            require_refusal(("decode_query_len must ", "num_decodes must "), what, partial(replay, metadata))
        return super().forward(layer, index_query, index_k_pages, metadata)


def _as_it_is_given(score: Any, batch: Any, plan: Any, out: torch.Tensor) -> Any:
    """A prefill scorer of the caller's own, which fills the memory that it is given."""
    return score(batch, plan, out)


def _into_its_own_memory(score: Any, batch: Any, plan: Any, out: torch.Tensor) -> Any:
    """A prefill scorer of the caller's own, which returns other memory."""
    out.fill_(float("nan"))
    return score(batch, plan, torch.empty_like(out))


ENGINES: dict[str, Callable[[str], Callable[[EngineSetup], Engine]]] = {
    "step": lambda package: partial(EagerEngine, package),
    "step-graph": lambda package: partial(GraphEngine, package),
}
"""Name of a built-in target -> the engine of a package."""

"""The words between the harness and an engine's classes: what an engine is given, and what it has to do."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from msa_ref import IndexerConfig


@dataclass(frozen=True, eq=False)
class EngineSetup:
    """The facts that an engine has before its first step.

    config: the indexer. device: of all tensors.
    max_num_reqs: bound on the requests of a step, padding ones included.
    max_num_tokens: bound on the rows of a step's query tensor, which begins where that of its layer does.
    max_model_len: bound on the tokens of a request.
    num_speculative_tokens: draft tokens of a decode request, which brings up to one token more than that.
    num_micro_batches: parts of a step, each built on its own.
    index_query, index_k_pages: those of every layer, which keep their addresses; a graph may be captured on them.
    topk_indices_buffers: for every layer, or the same one for all, [H, max_num_tokens, K] int32 for the selections, or
        [num_micro_batches, H, max_num_tokens, K] where there are several. H and max_num_tokens change places for a
        token-major profile.
    """

    config: IndexerConfig
    device: torch.device
    max_num_reqs: int
    max_num_tokens: int
    max_model_len: int
    num_speculative_tokens: int
    num_micro_batches: int
    index_query: tuple[torch.Tensor, ...]
    index_k_pages: tuple[torch.Tensor, ...]
    topk_indices_buffers: tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class EngineStep:
    """One step, or one micro-batch of it, in the words of vLLM's `CommonAttentionMetadata`.

    query_start_loc: [num_reqs + 1] int32 on the device. query_start_loc_cpu: the same on the host.
    seq_lens: [num_reqs] int32 on the device. seq_lens_cpu: on the host, upper bounds on them.
    num_reqs: requests, padding ones included. num_actual_tokens: query tokens, padding ones included.
    max_query_len, max_seq_len: the host's bounds on the requests.
    block_table_tensor: [num_reqs, max_blocks] int32 on the device.
    slot_mapping: [num_actual_tokens] int64 on the device, -1 everywhere: the keys are written already.
    """

    query_start_loc: torch.Tensor
    query_start_loc_cpu: torch.Tensor
    seq_lens: torch.Tensor
    seq_lens_cpu: torch.Tensor
    num_reqs: int
    num_actual_tokens: int
    max_query_len: int
    max_seq_len: int
    block_table_tensor: torch.Tensor
    slot_mapping: torch.Tensor


class Engine(Protocol):
    """The part of an engine that is judged; it lives through all steps of a case."""

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        """The metadata of one step, or of one micro-batch of it: built once, for all layers."""

    def forward(
        self, layer: int, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
    ) -> torch.Tensor | tuple[torch.Tensor | None, ...]:
        """The selections of one layer, [H, tokens, K] int32 in the profile's axes.

        They are the step's rows of `topk_indices_buffers`, or lie elsewhere; perhaps in parts, decodes first. A part
        without tokens is None or empty.
        """

"""The base classes of the indexer in an engine: metadata, builder and impl, without kernels.

The classes carry the names and responsibilities of `vllm.models.minimax_m3.common.indexer`, but
import no engine: an engine hands over its batch as `CommonAttentionMetadata`. `indexer_msa` has
the classes that an engine uses.

A batch is decode-first: requests with the uniform `decode_query_len`, then all others. Trailing
requests without a query token are padding and belong to neither side. Decode metadata lives in
buffers that never move, so a captured graph reads the batch of the last `build`; every request
slot behind the live ones has length 0 there, and a captured graph fills its rows with PAD.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from msa_fast.attention_metadata import (
    BatchSplit,
    CommonAttentionMetadata,
    HostLens,
    host_lens,
    split_decodes_and_prefills,
)
from msa_fast.indexer_backend import MiniMaxM3IndexerBackend as MiniMaxM3IndexerBackend  # an engine looks for it here
from msa_fast.indexer_metadata import Builds, MiniMaxM3IndexerDecodeMetadata, MiniMaxM3IndexerMetadata, part_of
from msa_fast.ops.checks import (
    MAX_DECODE_QUERY_LEN,
    check_config,
    check_int,
    require_no_overlap,
)
from msa_ref.config import IndexerConfig, require


class MiniMaxM3IndexerMetadataBuilder(ABC):
    """Turns an engine's steps into metadata. One builder per micro-batch: it owns graph-stable buffers.

    Buffers are filled on the current stream, so a step must be built on the stream that replays it.

    Args:
        config: the indexer.
        device: where the batch lives.
        max_num_reqs: bound on the requests of a step, padding ones included.
        max_model_len: bound on the tokens of a request.
        num_speculative_tokens: draft tokens of a decode step; raises `reorder_batch_threshold`, the
            longest query that counts as a decode, to 1 + num_speculative_tokens.
        micro_batch: which slot of `topk_indices_buffer` its steps write.
        indexer_kv_dtype: the engine's name of the format of index keys, as `get_kv_cache_dtype` takes it. Changes
            speed, never a bit of the answer.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """

    cudagraph_support: ClassVar[str] = "UNIFORM_BATCH"
    """vLLM's word for what a full graph may hold: decodes of one query length."""

    def __init__(
        self,
        config: IndexerConfig,
        device: torch.device | str,
        *,
        max_num_reqs: int,
        max_model_len: int,
        num_speculative_tokens: int = 0,
        micro_batch: int = 0,
        indexer_kv_dtype: str = "auto",
    ) -> None:
        check_config(config)
        check_int(num_speculative_tokens, "num_speculative_tokens", 0, MAX_DECODE_QUERY_LEN - 1)
        check_int(max_num_reqs, "max_num_reqs", 1)
        check_int(max_model_len, "max_model_len", 1)
        check_int(micro_batch, "micro_batch", 0)
        self.config = config
        require(isinstance(device, str | torch.device), "device", "must be a device", repr(device))
        self.device = torch.device(device)
        self.max_num_reqs = max_num_reqs
        self.max_model_len = max_model_len
        self.max_blocks = config.num_blocks(max_model_len)
        self.reorder_batch_threshold = 1 + num_speculative_tokens
        self.micro_batch = micro_batch
        self.key_dtype = MiniMaxM3IndexerBackend.get_kv_cache_dtype(indexer_kv_dtype)
        self._builds = Builds()
        self._num_filled = 0
        self._decodes: dict[tuple[int, int], MiniMaxM3IndexerDecodeMetadata] = {}
        with torch.inference_mode(False):  # a tensor made in that mode could not be filled outside of it
            # A row of offsets for each decode query length: constant, so no step can leave them stale.
            query_lens = torch.arange(self.reorder_batch_threshold + 1, dtype=torch.int32, device=self.device)
            req_idx = torch.arange(max_num_reqs + 1, dtype=torch.int32, device=self.device)
            self._cu_seqlens_q = query_lens[:, None] * req_idx
            self._seq_lens = torch.zeros(max_num_reqs, dtype=torch.int32, device=self.device)
            self._block_table = torch.zeros(max_num_reqs, self.max_blocks, dtype=torch.int32, device=self.device)
        self._filled_table = self._block_table[:0]

    @abstractmethod
    def build(
        self, common_prefix_len: int, common_attn_metadata: CommonAttentionMetadata, fast_build: bool = False
    ) -> MiniMaxM3IndexerMetadata:
        """The metadata of one step. Never synchronizes; see the MSA builder."""

    def build_for_cudagraph_capture(self, common_attn_metadata: CommonAttentionMetadata) -> MiniMaxM3IndexerMetadata:
        """The metadata that a graph is captured with. Its shapes are the graph's; later steps change its values.

        Raises:
            ValueError: if the batch is anything but uniform decodes.
        """
        metadata = self.build(0, common_attn_metadata)
        is_uniform = metadata.num_decodes == common_attn_metadata.num_reqs and metadata.num_decodes > 0
        require(
            is_uniform,
            "common_attn_metadata",
            "must hold decodes of one query length alone to be captured",
            f"{metadata.num_decodes} of {common_attn_metadata.num_reqs} requests",
        )
        return metadata

    def longest_decode_batch(self, num_reqs: int, decode_query_len: int | None = None) -> CommonAttentionMetadata:
        """A batch to capture with: decodes at the greatest length, every block on page 0.

        decode_query_len: by default `reorder_batch_threshold`.
        """
        query_len = self.reorder_batch_threshold if decode_query_len is None else decode_query_len
        check_int(num_reqs, "num_reqs", 1, self.max_num_reqs)
        check_int(query_len, "decode_query_len", 1, self.reorder_batch_threshold)
        block_table = torch.zeros(num_reqs, self.max_blocks, dtype=torch.int32, device=self.device)
        return CommonAttentionMetadata.from_lens([query_len] * num_reqs, [self.max_model_len] * num_reqs, block_table)

    def _split(self, common: CommonAttentionMetadata) -> tuple[HostLens, BatchSplit]:
        """Check a step against the limits of this builder, and split it.

        From here on the metadata of earlier builds is refused.
        """
        lens = host_lens(common)
        device, table = self._seq_lens.device, common.block_table_tensor
        # One comparison each where all is well, since an engine waits: the loops find the words for a refusal.
        if not common.query_start_loc.device == common.seq_lens.device == table.device == device:
            for name in ("query_start_loc", "seq_lens", "block_table_tensor"):
                got = getattr(common, name).device
                require(got == device, name, f"must be on the builder's device, {device}", got)
        if common.num_reqs > self.max_num_reqs or common.max_seq_len > self.max_model_len:
            for name, count, bound in (
                ("num_reqs", common.num_reqs, self.max_num_reqs),
                ("max_seq_len", common.max_seq_len, self.max_model_len),
            ):
                require(count <= bound, name, f"must be <= {bound}", count)
        width, needed = table.shape[1], self.config.num_blocks(common.max_seq_len)
        if width < needed:
            require(False, "block_table_tensor", f"must have >= {needed} columns for max_seq_len", width)
        self._builds.newest += 1
        return lens, split_decodes_and_prefills(lens.query_lens, self.reorder_batch_threshold)

    def _build_decode(
        self, common: CommonAttentionMetadata, split: BatchSplit
    ) -> MiniMaxM3IndexerDecodeMetadata | None:
        """Fill the graph-stable buffers, also for a step without decodes, and return views of the live part."""
        self._fill(common, split)
        return self._decode_views(split) if split.num_decodes else None

    def _decode_views(self, split: BatchSplit) -> MiniMaxM3IndexerDecodeMetadata:
        """The first rows of the buffers: the same objects for all steps of one shape."""
        shape = num_decodes, query_len = split.num_decodes, split.decode_query_len
        if shape not in self._decodes:
            self._decodes[shape] = MiniMaxM3IndexerDecodeMetadata(
                seq_lens=self._seq_lens[:num_decodes],
                block_table=self._block_table[:num_decodes],
                cu_seqlens_q=self._cu_seqlens_q[query_len, : num_decodes + 1],
                decode_query_len=query_len,
            )
        return self._decodes[shape]

    def _fill(self, common: CommonAttentionMetadata, split: BatchSplit) -> None:
        """Copy the decodes into the buffers; every request behind them becomes a padding row.

        Block-table entries behind max_seq_len keep their old contents: no kernel reads them.
        """
        num_decodes = split.num_decodes
        # An operation on no entries would take the host as long as another.
        if num_decodes < self._num_filled:
            self._seq_lens[num_decodes : self._num_filled].zero_()
        if num_decodes:
            num_blocks, decode = self.config.num_blocks(common.max_seq_len), self._decode_views(split)
            decode.seq_lens.copy_(part_of(common.seq_lens, num_decodes))
            table = part_of(common.block_table_tensor, num_decodes, num_blocks)
            if self._filled_table.shape != table.shape:  # most steps have as many decodes and blocks as the last
                self._filled_table = part_of(decode.block_table, num_decodes, num_blocks)
            self._filled_table.copy_(table)
        self._num_filled = num_decodes


class MiniMaxM3IndexerImpl(ABC):
    """Scores and selects for one layer. Layers have their own keys and queries, and share the rest.

    Args:
        config: the indexer.
        topk_indices_buffer: [H, max_tokens, K] int32, any strides that do not overlap (head-major and
            token-major buffers both), or [num_micro_batches, H, max_tokens, K]: a slot for each
            micro-batch. Shared by all layers; a step overwrites the rows of its own slot.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """

    indexer_backend_cls: ClassVar[type[MiniMaxM3IndexerBackend]]

    def __init__(self, config: IndexerConfig, topk_indices_buffer: torch.Tensor) -> None:
        check_config(config)
        name, buffer = "topk_indices_buffer", topk_indices_buffer
        require(isinstance(buffer, torch.Tensor), name, "must be a tensor", type(buffer).__name__)
        require(buffer.dtype == torch.int32, name, "must be int32", buffer.dtype)
        heads, k = config.num_index_heads, config.topk_blocks
        fits = buffer.ndim in (3, 4) and buffer.shape[-3] == heads and buffer.shape[-1] == k
        shapes = f"[{heads}, max_tokens, {k}] or [num_micro_batches, {heads}, max_tokens, {k}]"
        require(fits, name, f"must be {shapes}", f"shape {list(buffer.shape)}")
        require_no_overlap(buffer, name)
        self.config = config
        self.topk_indices_buffer = buffer if buffer.ndim == 4 else buffer[None]
        self._slots = tuple(self.topk_indices_buffer)
        self._max_tokens = self.topk_indices_buffer.shape[2]

    def topk_slot(self, micro_batch: int, num_tokens: int) -> torch.Tensor:
        """[H, max_tokens, K] int32: the slot of one micro-batch, with room for `num_tokens`.

        Raises:
            ValueError: if there is no such slot or it is too short.
        """
        num_slots, max_tokens = len(self._slots), self._max_tokens
        if micro_batch >= num_slots or num_tokens > max_tokens:
            rule = f"must be < the {num_slots} slots of the buffer"
            require(micro_batch < num_slots, "micro_batch", rule, micro_batch)
            require(num_tokens <= max_tokens, "topk_indices_buffer", f"must have >= {num_tokens} rows", max_tokens)
        slot: torch.Tensor = self._slots[micro_batch]
        return slot

    @abstractmethod
    def forward(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        attn_metadata: MiniMaxM3IndexerMetadata | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(decode_topk, prefill_topk), views of `topk_indices_buffer`; see the MSA impl."""

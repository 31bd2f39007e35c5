"""The metadata of one step of the indexer: its decode side, its prefill side, and the build that made it.

What every step makes anew is not frozen, since an engine waits for it: to write a frozen field takes thrice as long.
"""

from dataclasses import dataclass

import torch

from msa_ref.config import require


@dataclass(frozen=True, eq=False)
class MiniMaxM3IndexerDecodeMetadata:
    """Decode side of one step: views of buffers that never move, safe in a captured graph.

    seq_lens: [num_decodes] int32.  block_table: [num_decodes, max_blocks] int32.
    cu_seqlens_q: [num_decodes + 1] int32, multiples of decode_query_len.
    decode_query_len: query tokens of every decode request.
    """

    seq_lens: torch.Tensor
    block_table: torch.Tensor
    cu_seqlens_q: torch.Tensor
    decode_query_len: int


@dataclass(eq=False)
class MiniMaxM3IndexerPrefillMetadata:
    """Prefill side of one step, P requests; eager, on tensors of this step.

    cu_seqlens_q: [P + 1] int32, rebased: 0 first, though decode tokens come before.
    seq_lens: [P] int32.
    block_table: [P, n] int32, as many columns as max_seq_len needs; a view of the engine's.
    max_query_len, max_seq_len: host bounds over these requests, in tokens.
    """

    cu_seqlens_q: torch.Tensor
    seq_lens: torch.Tensor
    block_table: torch.Tensor
    max_query_len: int
    max_seq_len: int

    @property
    def context_lens(self) -> torch.Tensor:
        """[P] int32, tokens before this step's queries. Computed when asked for: no kernel of ours does."""
        return self.seq_lens - self.cu_seqlens_q.diff()


@dataclass(eq=False)
class MiniMaxM3IndexerMetadata:
    """One step, built once and shared by all layers; a side without tokens is None.

    num_actual_tokens, slot_mapping: as the engine gave them.
    num_decodes, num_decode_tokens, num_prefills, num_prefill_tokens: live requests and their query tokens.
    micro_batch: the slot of `topk_indices_buffer` that the step writes.
    build_number, builds: this build of its builder, and the newest one; None where no builder made it.
    """

    num_actual_tokens: int
    slot_mapping: torch.Tensor
    num_decodes: int
    num_decode_tokens: int
    num_prefills: int
    num_prefill_tokens: int
    micro_batch: int = 0
    decode: MiniMaxM3IndexerDecodeMetadata | None = None
    prefill: MiniMaxM3IndexerPrefillMetadata | None = None
    build_number: int = 0
    builds: "Builds | None" = None

    def require_newest(self) -> None:
        """Refuse the metadata of a step whose builder has built another since: its buffers hold that one.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        if self.builds is not None and self.build_number != self.builds.newest:
            rule = f"must be of its builder's newest build, number {self.builds.newest}"
            require(False, "attn_metadata", rule, f"build {self.build_number}")


@dataclass
class Builds:
    """The number of the newest build of one builder, which all of its metadata share."""

    newest: int = 0


def part_of(tensor: torch.Tensor, num_rows: int, num_columns: int | None = None, first_row: int = 0) -> torch.Tensor:
    """Some rows of an engine's tensor, and their first columns: by one operation, or none where that is all of it."""
    shape = (num_rows,) if num_columns is None else (num_rows, num_columns)
    if tensor.shape == shape:
        return tensor
    strides = tensor.stride()
    return tensor.as_strided(shape, strides, tensor.storage_offset() + first_row * strides[0])

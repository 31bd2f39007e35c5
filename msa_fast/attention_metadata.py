"""One step of an engine, as its scheduler describes it, and the split into decodes and prefills.

The field names are those of vLLM's `CommonAttentionMetadata`, so that an engine's own object can
stand in for ours; no engine is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from msa_ref.config import require


@dataclass(frozen=True, eq=False)
class CommonAttentionMetadata:
    """An engine's description of one step, shared by all layers. Nothing here is copied or changed.

    query_start_loc: [>= num_reqs + 1] int32 on the device, the engine's word for cu_seqlens_q.
    query_start_loc_cpu: the same values on the host.
    seq_lens: [>= num_reqs] int32 on the device, tokens of context plus this step's queries.
    seq_lens_cpu: the same on the host, or upper bounds where only the device has the exact lengths.
    num_reqs: requests, padding ones included.
    num_actual_tokens: query tokens, at least those that query_start_loc counts.
    max_query_len, max_seq_len: host bounds over the batch, in tokens.
    block_table_tensor: [>= num_reqs, >= blocks of max_seq_len] int32 on the device, any strides.
    slot_mapping: [>= num_actual_tokens] int64 on the device: page * S + offset of each new token's key.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got. Values on the device
            are not looked at.
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

    def __post_init__(self) -> None:
        for name, min_len in (
            ("query_start_loc", self.num_reqs + 1),
            ("query_start_loc_cpu", self.num_reqs + 1),
            ("seq_lens", self.num_reqs),
            ("seq_lens_cpu", self.num_reqs),
            ("block_table_tensor", self.num_reqs),
            ("slot_mapping", self.num_actual_tokens),
        ):
            length = len(getattr(self, name))
            require(length >= min_len, name, f"must have >= {min_len} entries for num_reqs = {self.num_reqs}", length)
        for name in ("query_start_loc_cpu", "seq_lens_cpu"):
            device = getattr(self, name).device
            require(device.type == "cpu", name, "must be on the host", device)
        longest = max(self.seq_lens_cpu[: self.num_reqs].tolist(), default=0)
        fits = self.max_seq_len >= longest
        require(fits, "max_seq_len", f"must be >= the {longest} tokens in seq_lens_cpu", self.max_seq_len)
        counted = int(self.query_start_loc_cpu[self.num_reqs])
        require(
            counted <= self.num_actual_tokens,
            "num_actual_tokens",
            f"must be >= the {counted} tokens that query_start_loc_cpu counts",
            self.num_actual_tokens,
        )

    @staticmethod
    def from_lens(
        query_lens: Sequence[int],
        seq_lens: Sequence[int],
        block_table_tensor: torch.Tensor,
        slot_mapping: torch.Tensor | None = None,
    ) -> "CommonAttentionMetadata":
        """Describe a batch by its host lengths, one of each per request, on the block table's device.

        slot_mapping: by default -1 for every token: the keys are written already.
        """
        query_start_loc = [sum(query_lens[:req]) for req in range(len(query_lens) + 1)]
        device = block_table_tensor.device
        if slot_mapping is None:
            slot_mapping = torch.full((query_start_loc[-1],), -1, dtype=torch.int64, device=device)
        query_start_loc_cpu = torch.tensor(query_start_loc, dtype=torch.int32)
        seq_lens_cpu = torch.tensor(seq_lens, dtype=torch.int32)
        return CommonAttentionMetadata(
            query_start_loc=query_start_loc_cpu.to(device),
            query_start_loc_cpu=query_start_loc_cpu,
            seq_lens=seq_lens_cpu.to(device),
            seq_lens_cpu=seq_lens_cpu,
            num_reqs=len(query_lens),
            num_actual_tokens=query_start_loc[-1],
            max_query_len=max(query_lens, default=0),
            max_seq_len=max(seq_lens, default=0),
            block_table_tensor=block_table_tensor,
            slot_mapping=slot_mapping,
        )


@dataclass(frozen=True)
class BatchSplit:
    """The place where decode ends and prefill begins. Requests behind `num_decodes + num_prefills` are padding."""

    decode_query_len: int
    num_decodes: int
    num_decode_tokens: int
    num_prefills: int
    num_prefill_tokens: int


def split_decodes_and_prefills(query_lens: Sequence[int], decode_threshold: int) -> BatchSplit:
    """Split a decode-first batch: the leading requests as long as the first one are its decodes.

    There are none if the first request is longer than `decode_threshold`. All requests behind the decodes
    are prefill, however short, so a batch in another order is served too, only slower.
    """
    num_live = len(query_lens)
    while num_live and query_lens[num_live - 1] == 0:
        num_live -= 1
    decode_query_len = query_lens[0] if num_live and query_lens[0] <= decode_threshold else 0
    num_decodes = 0
    while decode_query_len and num_decodes < num_live and query_lens[num_decodes] == decode_query_len:
        num_decodes += 1
    return BatchSplit(
        decode_query_len=decode_query_len,
        num_decodes=num_decodes,
        num_decode_tokens=num_decodes * decode_query_len,
        num_prefills=num_live - num_decodes,
        num_prefill_tokens=sum(query_lens[num_decodes:num_live]),
    )

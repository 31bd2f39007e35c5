"""One step of an engine, as its scheduler describes it, and the split into decodes and prefills.

The field names are those of vLLM's `CommonAttentionMetadata`, so that an engine's own object can
stand in for ours; no engine is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter, sub
from typing import Any, NamedTuple

import numpy as np
import torch

from msa_fast.ops.checks import check_int, check_ints, check_tensor
from msa_ref.config import require

_DEVICE_FIELDS: dict[str, tuple[tuple[str, ...], tuple[torch.dtype, ...]]] = {
    "query_start_loc": (("num_reqs + 1",), (torch.int32,)),
    "seq_lens": (("num_reqs",), (torch.int32,)),
    "block_table_tensor": (("num_reqs", "max_blocks"), (torch.int32,)),
    "slot_mapping": (("num_actual_tokens",), (torch.int64,)),
}
"""Tensors of a step on the device: their axes and dtypes."""
_COUNTS = ("num_reqs", "num_actual_tokens", "max_query_len", "max_seq_len")
_FIELDS = ("query_start_loc_cpu", *_DEVICE_FIELDS, *_COUNTS)
"""The fields that every engine's object has; how the host knows seq_lens differs."""
_all_fields = attrgetter(*_FIELDS)
_INT32, _INT64 = torch.int32, torch.int64  # torch has one object for each dtype


class HostLens(NamedTuple):
    """The lengths of a step as the host knows them.

    query_start_loc: num_reqs + 1 offsets, 0 first, never falling. query_lens: the num_reqs distances between them.
    seq_lens: num_reqs lengths, or upper bounds where only the device has the exact lengths.
    """

    query_start_loc: list[int]
    query_lens: list[int]
    seq_lens: list[int]


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
        host_lens(self)

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
        check_ints(query_lens, "query_lens")
        check_ints(seq_lens, "seq_lens")
        check_tensor(block_table_tensor, "block_table_tensor", ("num_reqs", "max_blocks"), (torch.int32,))
        query_start_loc = list(accumulate(query_lens, initial=0))
        device = block_table_tensor.device
        if slot_mapping is None:
            slot_mapping = torch.full((query_start_loc[-1],), -1, dtype=torch.int64, device=device)
        # By name: a process may have made another device its default.
        query_start_loc_cpu = torch.tensor(query_start_loc, dtype=torch.int32, device="cpu")
        seq_lens_cpu = torch.tensor(seq_lens, dtype=torch.int32, device="cpu")
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


def host_lens(common: Any) -> HostLens:
    """The host lengths of a step, whose fields are checked on the way: of ours, or of an engine's own object.

    An engine whose object has no `seq_lens_cpu`, or has None there, may have `seq_lens_cpu_upper_bound`.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got. Values on the device
            are not looked at.
    """
    try:
        (
            starts_cpu, start_loc, device_lens, table, slots,
            num_reqs, num_tokens, max_query_len, max_seq_len,
        ) = _all_fields(common)  # fmt: skip
    except AttributeError:
        missing = next((name for name in _FIELDS if not hasattr(common, name)), None)
        require(missing is None, "common_attn_metadata", f"must have {missing}", type(common).__name__)
        raise
    # A few comparisons where all is well, since an engine waits: the loops find the words for a refusal.
    if not (
        type(num_reqs) is type(num_tokens) is type(max_query_len) is type(max_seq_len) is int
        and num_reqs >= 0 <= num_tokens
        and max_query_len >= 0 <= max_seq_len
    ):
        for name, count in zip(_COUNTS, (num_reqs, num_tokens, max_query_len, max_seq_len), strict=True):
            check_int(count, name, 0)
    tensors = start_loc, device_lens, table, slots
    if not (
        type(start_loc) is type(device_lens) is type(table) is type(slots) is torch.Tensor
        and start_loc.dtype is device_lens.dtype is table.dtype is _INT32
        and slots.dtype is _INT64
        and start_loc.ndim == device_lens.ndim == slots.ndim == 1
        and table.ndim == 2
    ):
        for (name, (axes, dtypes)), tensor in zip(_DEVICE_FIELDS.items(), tensors, strict=True):
            check_tensor(tensor, name, axes, dtypes)
    # Of one axis, numel() says as much as a shape, sooner.
    has_entries = start_loc.numel() > num_reqs <= device_lens.numel() and table.shape[0] >= num_reqs
    if not has_entries or slots.numel() < num_tokens:
        min_lens = num_reqs + 1, num_reqs, num_reqs, num_tokens
        for name, tensor, min_len in zip(_DEVICE_FIELDS, tensors, min_lens, strict=True):
            if tensor.shape[0] < min_len:
                _refuse_entries(tensor, name, min_len, num_reqs)
    name, lens_cpu = "seq_lens_cpu", getattr(common, "seq_lens_cpu", None)
    if lens_cpu is None and hasattr(common, "seq_lens_cpu_upper_bound"):
        name, lens_cpu = "seq_lens_cpu_upper_bound", common.seq_lens_cpu_upper_bound
    if lens_cpu is None and not hasattr(common, name):
        rule = "must have seq_lens_cpu or seq_lens_cpu_upper_bound"
        require(False, "common_attn_metadata", rule, type(common).__name__)
    starts = _on_host(starts_cpu, "query_start_loc_cpu", num_reqs + 1, num_reqs)
    seq_lens = _on_host(lens_cpu, name, num_reqs, num_reqs)
    if num_reqs == 1:  # as most steps with a prefill have
        query_lens, shortest_query = [starts[1]], starts[1]  # starts[0] is 0, or refused
        shortest = longest = seq_lens[0]
    else:
        query_lens = list(map(sub, starts[1:], starts))
        shortest_query = min(query_lens, default=0)
        shortest, longest = min(seq_lens, default=0), max(seq_lens, default=0)
    if starts[0] != 0 or shortest_query < 0:
        require(False, "query_start_loc_cpu", "must start at 0 and never fall", starts)
    if starts[-1] > num_tokens:
        rule = f"must be >= the {starts[-1]} tokens that query_start_loc_cpu counts"
        require(False, "num_actual_tokens", rule, num_tokens)
    if shortest < 0:
        require(False, name, "must be >= 0", shortest)
    if longest > max_seq_len:
        require(False, "max_seq_len", f"must be >= the {longest} tokens in {name}", max_seq_len)
    return HostLens(starts, query_lens, seq_lens)


def _on_host(tensor: Any, name: str, num_entries: int, num_reqs: int) -> list[int]:
    """The first entries of a field that is on the host."""
    is_well = type(tensor) is torch.Tensor and tensor.is_cpu and tensor.ndim == 1
    if not (is_well and (tensor.dtype is _INT32 or tensor.dtype is _INT64)):
        is_elsewhere = isinstance(tensor, torch.Tensor) and not tensor.is_cpu
        require(not is_elsewhere, name, "must be on the host", getattr(tensor, "device", None))
        check_tensor(tensor, name, ("num_reqs",), (torch.int32, torch.int64))
    num_there = tensor.numel()
    if num_there < num_entries:
        _refuse_entries(tensor, name, num_entries, num_reqs)
    entries: list[int] = (tensor if num_there == num_entries else tensor[:num_entries]).tolist()
    return entries


def _refuse_entries(tensor: torch.Tensor, name: str, min_len: int, num_reqs: int) -> None:
    require(False, name, f"must have >= {min_len} entries for num_reqs = {num_reqs}", tensor.shape[0])


class BatchSplit(NamedTuple):
    """The place where decode ends and prefill begins. Requests behind `num_decodes + num_prefills` are padding."""

    decode_query_len: int
    num_decodes: int
    num_decode_tokens: int
    num_prefills: int
    num_prefill_tokens: int


def split_decodes_and_prefills(query_lens: Sequence[int] | np.ndarray, decode_threshold: int) -> BatchSplit:
    """Split a decode-first batch: the leading requests as long as the first one are its decodes.

    There are none if the first request is longer than `decode_threshold`. All requests behind the decodes
    are prefill, however short, so a batch in another order is served too, only slower.
    """
    lens = query_lens if type(query_lens) is list else np.asarray(query_lens, dtype=np.int64).tolist()
    num_live = len(lens)
    while num_live and not lens[num_live - 1]:
        num_live -= 1
    decode_query_len = lens[0] if num_live and lens[0] <= decode_threshold else 0
    num_decodes = 0
    while decode_query_len and num_decodes < num_live and lens[num_decodes] == decode_query_len:
        num_decodes += 1
    num_decode_tokens = num_decodes * decode_query_len
    num_prefill_tokens = sum(lens[num_decodes:num_live]) if num_decodes < num_live else 0
    return BatchSplit(decode_query_len, num_decodes, num_decode_tokens, num_live - num_decodes, num_prefill_tokens)

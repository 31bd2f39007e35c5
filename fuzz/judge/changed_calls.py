"""A good call made another one: bad by one of its arguments, or at a limit.

What a launcher would write by such a call lies in memory that is there, so that one which forgot its check is told by
what it does, and ends no process; but where `out` has no row there is none.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from fuzz.inputs.far_buffers import make_far_entries
from fuzz.targets import Call
from msa_ref import PagedBatch
from msa_ref.formats import FORMAT_PAIRS, FormatPair

Changed = Callable[[Call], Call | None]
"""A good call as another one; None where it cannot be made so."""
MAX_BLOCKS = 2**20
"""Blocks of a row that the suite's kernels tell apart."""
MAX_REQS = 1024
"""Requests that the suite's plans on the device hold."""


def with_out(shape: Callable[[int, int, int], tuple[int, ...]], **words: Any) -> Changed:
    """A call whose `out` has another shape, dtype or device, in memory that goes on behind it."""

    def changed(call: Call) -> Call | None:
        config = call.batch.config
        wanted = shape(config.num_index_heads, call.batch.total_q, config.topk_blocks)
        if min(wanted, default=0) < 1:
            return None
        device, dtype = words.get("device", call.batch.device), words.get("dtype", torch.int32)
        room = [size + 2 for size in wanted]
        memory = torch.zeros(room, dtype=dtype, device=device)
        return replace(call, out=memory[tuple(slice(size) for size in wanted)])

    return changed


def without_rows(call: Call) -> Call | None:
    """A call whose `out` has no row."""
    config, device = call.batch.config, call.batch.device
    if call.batch.total_q == 0:
        return None
    shape = (config.num_index_heads, 0, config.topk_blocks)
    return replace(call, out=torch.zeros(shape, dtype=torch.int32, device=device))


def overlapping(call: Call) -> Call | None:
    """A call whose `out` is one head, or one token, again and again."""
    config, num_tokens = call.batch.config, call.batch.total_q
    shape = (config.num_index_heads, num_tokens, config.topk_blocks)
    axis = next((axis for axis, size in enumerate(shape) if size > 1), None)
    if axis is None or 0 in shape:
        return None
    once = [1 if number == axis else size for number, size in enumerate(shape)]
    return replace(call, out=torch.zeros(once, dtype=torch.int32, device=call.batch.device).expand(shape))


def overlapping_by_one(call: Call) -> Call | None:
    """A call whose `out` is laid out so that a head's last element, or a token's, is the first of the next."""
    config, num_tokens = call.batch.config, call.batch.total_q
    heads, slots = config.num_index_heads, config.topk_blocks
    if num_tokens == 0 or heads * num_tokens == 1:
        return None
    strides = (num_tokens * slots - 1, slots, 1) if heads > 1 else (num_tokens * slots, slots - 1, 1)
    memory = torch.zeros(heads * num_tokens * slots, dtype=torch.int32, device=call.batch.device)
    return replace(call, out=memory.as_strided((heads, num_tokens, slots), strides))


def with_score(field: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Changed:
    """A call with other scores in a field, made of good ones."""

    def changed(call: Call) -> Call | None:
        batch = call.batch
        shape = (batch.config.num_index_heads, batch.total_q, batch.max_blocks)
        if 0 in shape:
            return None
        given: dict[str, Any] = {field: change(torch.zeros(shape, device=batch.device))}
        return replace(call, **given)

    return changed


def narrower(score: torch.Tensor) -> torch.Tensor:
    """Scores of a block less."""
    return torch.zeros((*score.shape[:-1], score.shape[-1] + 1), device=score.device)[..., : score.shape[-1] - 1]


def later(score: torch.Tensor) -> torch.Tensor:
    """Scores of a token more."""
    return torch.zeros((score.shape[0], score.shape[1] + 1, score.shape[2]), device=score.device)


def changed_batch(**changes: Callable[[PagedBatch], Any]) -> Changed:
    """A call with a batch of other tensors, or of another config."""

    def changed(call: Call) -> Call | None:
        batch = call.batch
        fields = {name: getattr(batch, name) for name in ("config", *TENSORS)}
        try:
            return replace(call, batch=PagedBatch(**fields | {name: make(batch) for name, make in changes.items()}))
        except ValueError:  # of some formats there is no such batch
            return None

    return changed


def with_config(formats: FormatPair | None = None, **sizes: int) -> Changed:
    """A call with another config, and perhaps other formats, for which its queries and keys are made anew."""

    def changed(call: Call) -> Call | None:
        batch, config = call.batch, replace(call.batch.config, **sizes)
        queries, keys = (formats.queries, formats.keys) if formats else (batch.query_format, batch.key_format)
        pages = (batch.num_pages, config.block_size, keys.row_len(config.index_head_dim))
        made = changed_batch(
            config=lambda _: config,
            index_q=lambda _: torch.zeros(
                batch.total_q, config.num_index_heads, config.index_head_dim, dtype=queries.dtype, device=batch.device
            ),
            index_k_pages=lambda _: torch.zeros(pages, dtype=keys.dtype, device=batch.device),
        )(call)
        return None if made is None else replace(made, out=None, score=None, score_out=None)

    return changed


NVFP4 = FORMAT_PAIRS["float8_e4m3fn/nvfp4"]
TENSORS = ("index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")


def on_meta(name: str) -> Callable[[PagedBatch], torch.Tensor]:
    """The function that puts a tensor of a batch on a device that has no memory."""
    return lambda batch: getattr(batch, name).to("meta")


def of_too_many_blocks(call: Call) -> Call | None:
    """Every request longer than blocks have ids. None without a query token: no row sees a block then."""
    if call.batch.total_q == 0:
        return None
    return replace(call, seq_lens=[(MAX_BLOCKS + 1) * call.batch.config.block_size for _ in call.seq_lens])


def far(name: str, *axes: int, reach: int = 2**31) -> Changed:
    """A call with a tensor of its batch, or its `out`, whose entries along some axes lie too far apart.

    None on a GPU, where they would need memory, and of one entry.
    """

    def changed(call: Call) -> Call | None:
        batch = call.batch
        shape = (batch.config.num_index_heads, batch.total_q, batch.config.topk_blocks)
        old = torch.empty(shape, dtype=torch.int32, device="meta") if name == "out" else getattr(batch, name)
        if batch.device.type != "cpu" or min(old.shape[axis] for axis in axes) < 2 or not old.numel():
            return None
        with suppress(MemoryError):  # no address space
            made = make_far_entries(old.shape, *axes, dtype=old.dtype, reach=reach)
            return replace(call, out=made) if name == "out" else changed_batch(**{name: lambda _: made})(call)
        return None

    return changed

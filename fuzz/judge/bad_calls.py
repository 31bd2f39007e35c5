"""Calls that a launcher refuses: each breaks one rule of its checks, and is a good call otherwise.

What a launcher would write by such a call lies in memory that is there, so that one which forgot its check is told by
what it does, and ends no process; but where `out` has no row there is none.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch

from fuzz.cases.case import Case
from fuzz.inputs.far_buffers import make_far_rows_of_pages
from fuzz.targets import Call, Target
from fuzz.targets.limits import check_decode, check_decode_topk, check_prefill, check_prefill_device
from msa_ref import PagedBatch
from msa_ref.formats import FORMAT_PAIRS, FormatPair

Changed = Callable[[Call], Call | None]
"""A good call as a bad one; None where it cannot be made bad so."""

MAX_BLOCKS = 2**20
"""Blocks of a row that the suite's kernels tell apart."""


@dataclass(frozen=True)
class BadCall:
    """One kind of bad call.

    name: the argument that is bad, with which a refusal by the suite's own launchers begins. what: what is bad of it.
    is_general: whether anybody's kernel must refuse it; else it is beyond a limit of the suite's own.
    is_for: whether a target is given that argument.
    """

    name: str
    what: str
    changed: Changed
    is_general: bool = True
    is_for: Callable[[Target], bool] = lambda _: True


def bad_calls(target: Target) -> list[BadCall]:
    """The kinds of bad calls that a target has to refuse: none, unless it is the suite's own or promises to."""
    if target.kind == "step" or not (target.is_kernel or target.profile.bad_calls == "value-error"):
        return []
    return [kind for kind in BAD_CALLS if (kind.is_general or target.is_kernel) and kind.is_for(target)]


_takes_score, _takes_score_out = attrgetter("takes_score"), attrgetter("takes_score_out")


def _has_splits(target: Target) -> bool:
    return target.has_splits and target.check is not check_prefill_device  # whose adapter gives them another name


def _writes_out_first(target: Target) -> bool:
    """True if a target's first launcher is given `out`; of launchers called apart only the last is, too late here."""
    return not target.takes_score_out and target.check is not check_prefill_device


def is_checked_by(*checks: Callable[[Case], None]) -> Callable[[Target], bool]:
    """The function that is true of a target whose launchers make one of some checks."""
    return lambda target: target.check in checks


def _out(shape: Callable[[int, int, int], tuple[int, ...]], **words: Any) -> Changed:
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


def _without_rows(call: Call) -> Call | None:
    config, device = call.batch.config, call.batch.device
    if call.batch.total_q == 0:
        return None
    shape = (config.num_index_heads, 0, config.topk_blocks)
    return replace(call, out=torch.zeros(shape, dtype=torch.int32, device=device))


def _overlapping(call: Call) -> Call | None:
    config, num_tokens = call.batch.config, call.batch.total_q
    shape = (config.num_index_heads, num_tokens, config.topk_blocks)
    axis = next((axis for axis, size in enumerate(shape) if size > 1), None)
    if axis is None or 0 in shape:
        return None
    once = [1 if number == axis else size for number, size in enumerate(shape)]
    return replace(call, out=torch.zeros(once, dtype=torch.int32, device=call.batch.device).expand(shape))


def _overlapping_by_one(call: Call) -> Call | None:
    """A call whose `out` is laid out so that a head's last element, or a token's, is the first of the next."""
    config, num_tokens = call.batch.config, call.batch.total_q
    heads, slots = config.num_index_heads, config.topk_blocks
    if num_tokens == 0 or heads * num_tokens == 1:
        return None
    strides = (num_tokens * slots - 1, slots, 1) if heads > 1 else (num_tokens * slots, slots - 1, 1)
    memory = torch.zeros(heads * num_tokens * slots, dtype=torch.int32, device=call.batch.device)
    return replace(call, out=memory.as_strided((heads, num_tokens, slots), strides))


def _score(field: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Changed:
    """A call with other scores in a field, made of good ones."""

    def changed(call: Call) -> Call | None:
        batch = call.batch
        shape = (batch.config.num_index_heads, batch.total_q, batch.max_blocks)
        if 0 in shape:
            return None
        given: dict[str, Any] = {field: change(torch.zeros(shape, device=batch.device))}
        return replace(call, **given)

    return changed


def _narrower(score: torch.Tensor) -> torch.Tensor:
    return torch.zeros((*score.shape[:-1], score.shape[-1] + 1), device=score.device)[..., : score.shape[-1] - 1]


def _later(score: torch.Tensor) -> torch.Tensor:
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


def _on_meta(name: str) -> Callable[[PagedBatch], torch.Tensor]:
    """The function that puts a tensor of a batch on a device that has no memory."""
    return lambda batch: getattr(batch, name).to("meta")


def _of_too_many_blocks(call: Call) -> Call | None:
    """Every request longer than blocks have ids. None without a query token: no row sees a block then."""
    if call.batch.total_q == 0:
        return None
    return replace(call, seq_lens=[(MAX_BLOCKS + 1) * call.batch.config.block_size for _ in call.seq_lens])


def _of_far_rows(call: Call) -> Call | None:
    """Pages whose rows lie too far apart. None on a GPU, where they would need memory."""
    pages = call.batch.index_k_pages
    if pages.device.type != "cpu":
        return None
    with suppress(MemoryError):  # no address space
        return changed_batch(index_k_pages=lambda _: make_far_rows_of_pages(pages.shape, pages.dtype))(call)
    return None


DECODE = (check_decode, check_decode_topk)
BAD_CALLS = (
    BadCall("out", "is of int64", _out(lambda h, t, k: (h, t, k), dtype=torch.int64), is_for=_writes_out_first),
    BadCall("out", "is of float32", _out(lambda h, t, k: (h, t, k), dtype=torch.float32), is_for=_writes_out_first),
    BadCall("out", "is on another device", _out(lambda h, t, k: (h, t, k), device="meta"), is_for=_writes_out_first),
    BadCall("out", "has a row too few", _out(lambda h, t, k: (h, t - 1, k)), is_for=_writes_out_first),
    BadCall("out", "has no row", _without_rows, is_for=_writes_out_first),
    BadCall("out", "has a slot too few", _out(lambda h, t, k: (h, t, k - 1)), is_for=_writes_out_first),
    BadCall("out", "has a slot too many", _out(lambda h, t, k: (h, t, k + 1)), is_for=_writes_out_first),
    BadCall("out", "has a head too many", _out(lambda h, t, k: (h + 1, t, k)), is_for=_writes_out_first),
    BadCall("out", "has two axes", _out(lambda h, t, k: (t, k)), is_for=_writes_out_first),
    BadCall("out", "overlaps itself", _overlapping, is_for=_writes_out_first),
    BadCall("out", "overlaps itself by one element", _overlapping_by_one, is_for=_writes_out_first),
    BadCall("score", "is of float64", _score("score", torch.Tensor.double), is_for=_takes_score),
    BadCall("score", "has a column too few", _score("score", _narrower), is_for=_takes_score),
    BadCall("score", "has a row too many", _score("score", _later), is_for=_takes_score),
    BadCall("score", "is on another device", _score("score", lambda one: one.to("meta")), is_for=_takes_score),
    BadCall("score", "is of float16", _score("score_out", torch.Tensor.half), is_for=_takes_score_out),
    BadCall("score", "has a column too few", _score("score_out", _narrower), is_for=_takes_score_out),
    BadCall(
        "num_splits", "is too large", lambda call: replace(call, num_splits=257), False, is_checked_by(check_decode)
    ),
    BadCall("num_splits", "is below 1", lambda call: replace(call, num_splits=-1), is_for=_has_splits),
    BadCall("decode_query_len", "is 0", lambda call: replace(call, decode_query_len=0), is_for=is_checked_by(*DECODE)),
    BadCall(
        "decode_query_len",
        "is too large",
        lambda call: replace(call, decode_query_len=9),
        False,
        is_checked_by(*DECODE),
    ),
    BadCall(
        "decode_query_len",
        "is less than the tokens of a request",
        lambda call: replace(call, decode_query_len=1) if call.batch.total_q > call.batch.num_reqs else None,
        is_for=is_checked_by(*DECODE),
    ),
    BadCall(
        "block_table",
        "has more columns than blocks have ids",
        changed_batch(
            block_table=lambda batch: batch.block_table.new_zeros(1, 1).expand(batch.num_reqs, MAX_BLOCKS + 1)
        ),
        False,
        is_checked_by(*DECODE),
    ),
    BadCall("seq_lens", "has more blocks than have ids", _of_too_many_blocks, False, is_checked_by(check_prefill)),
    BadCall(
        "plan",
        "is built for other requests",
        lambda call: replace(call, query_lens=[*call.query_lens, 0], seq_lens=[*call.seq_lens, 0]),
        False,
        is_checked_by(check_prefill),
    ),
    BadCall("index_head_dim", "is no power of two", with_config(index_head_dim=48), False),
    BadCall("index_head_dim", "is too large", with_config(index_head_dim=256), False),
    BadCall("block_size", "is no power of two", with_config(block_size=48), False),
    BadCall("num_index_heads", "is too large", with_config(num_index_heads=65), False),
    BadCall("topk_blocks", "is too large", with_config(topk_blocks=129), False),
    BadCall(
        "batch",
        "is on another device",
        changed_batch(**{name: _on_meta(name) for name in TENSORS}),
        False,
        is_checked_by(*DECODE, check_prefill),
    ),
    BadCall(
        "index_k_pages", "holds pages of 2**31 elements", _of_far_rows, False, is_checked_by(*DECODE, check_prefill)
    ),
    BadCall("index_head_dim", "is too small for NVFP4 keys", with_config(NVFP4, index_head_dim=16), False),
)
"""Every kind of bad call."""

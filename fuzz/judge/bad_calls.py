"""Calls that a launcher refuses: each breaks one rule of its checks, and is a good call otherwise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter

import torch

from fuzz.cases.case import Case
from fuzz.judge.changed_calls import (
    MAX_BLOCKS,
    MAX_REQS,
    NVFP4,
    TENSORS,
    Changed,
    changed_batch,
    far,
    later,
    narrower,
    of_too_many_blocks,
    on_meta,
    overlapping,
    overlapping_by_one,
    with_config,
    with_out,
    with_score,
    without_rows,
)
from fuzz.targets import Target
from fuzz.targets.limits import check_decode, check_decode_topk, check_prefill, check_prefill_device


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


def is_seen_first(kind: BadCall, target: Target) -> bool:
    """True if the first launcher of the suite's own target is given the bad argument, and has to refuse it.

    Those that have a sibling launch other layers before, or a plan on the device, which are given the same lengths.
    """
    return target.is_kernel and (not target.has_sibling or kind.name in ("seq_lens", "cu_seqlens_q"))


_takes_score, _takes_score_out = attrgetter("takes_score"), attrgetter("takes_score_out")


def _has_splits(target: Target) -> bool:
    return target.has_splits and target.check is not check_prefill_device  # whose adapter gives them another name


def _has_own_splits(target: Target) -> bool:
    """True of the suite's launchers alone: elsewhere 0 may leave the number to the target."""
    return _has_splits(target) and target.check in (check_decode, check_prefill)


def _writes_out_first(target: Target) -> bool:
    """True if a target's first launcher is given `out`; of launchers called apart only the last is, too late here."""
    return not target.takes_score_out and target.check is not check_prefill_device


def is_checked_by(*checks: Callable[[Case], None]) -> Callable[[Target], bool]:
    """The function that is true of a target whose launchers make one of some checks."""
    return lambda target: target.check in checks


DECODE = (check_decode, check_decode_topk)
LAUNCHERS = (*DECODE, check_prefill, check_prefill_device)
"""The checks of the suite's launchers: of decode, of prefill by a plan of the host, and by one of the device."""
BAD_CALLS = (
    BadCall("out", "is of int64", with_out(lambda h, t, k: (h, t, k), dtype=torch.int64), is_for=_writes_out_first),
    BadCall("out", "is of float32", with_out(lambda h, t, k: (h, t, k), dtype=torch.float32), is_for=_writes_out_first),
    BadCall(
        "out", "is on another device", with_out(lambda h, t, k: (h, t, k), device="meta"), is_for=_writes_out_first
    ),
    BadCall("out", "has a row too few", with_out(lambda h, t, k: (h, t - 1, k)), is_for=_writes_out_first),
    BadCall("out", "has no row", without_rows, is_for=_writes_out_first),
    BadCall("out", "has a slot too few", with_out(lambda h, t, k: (h, t, k - 1)), is_for=_writes_out_first),
    BadCall("out", "has a slot too many", with_out(lambda h, t, k: (h, t, k + 1)), is_for=_writes_out_first),
    BadCall("out", "has a head too many", with_out(lambda h, t, k: (h + 1, t, k)), is_for=_writes_out_first),
    BadCall("out", "has two axes", with_out(lambda h, t, k: (t, k)), is_for=_writes_out_first),
    BadCall("out", "overlaps itself", overlapping, is_for=_writes_out_first),
    BadCall("out", "overlaps itself by one element", overlapping_by_one, is_for=_writes_out_first),
    BadCall("score", "is of float64", with_score("score", torch.Tensor.double), is_for=_takes_score),
    BadCall("score", "has a column too few", with_score("score", narrower), is_for=_takes_score),
    BadCall("score", "has a row too many", with_score("score", later), is_for=_takes_score),
    BadCall("score", "is on another device", with_score("score", lambda one: one.to("meta")), is_for=_takes_score),
    BadCall("score", "is of float16", with_score("score_out", torch.Tensor.half), is_for=_takes_score_out),
    BadCall("score", "has a column too few", with_score("score_out", narrower), is_for=_takes_score_out),
    BadCall(
        "num_splits", "is too large", lambda call: replace(call, num_splits=257), False, is_checked_by(check_decode)
    ),
    BadCall(
        "num_more", "is below 1", lambda call: replace(call, num_splits=0), is_for=is_checked_by(check_prefill_device)
    ),
    BadCall("num_splits", "is below 1", lambda call: replace(call, num_splits=-1), is_for=_has_splits),
    BadCall(
        "num_splits",
        "is 0",
        lambda call: replace(call, num_splits=0),
        is_for=_has_own_splits,
    ),
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
    BadCall(
        "max_row_blocks",
        "is more than blocks have ids",
        changed_batch(
            block_table=lambda batch: batch.block_table.new_zeros(1, 1).expand(batch.num_reqs, MAX_BLOCKS + 1)
        ),
        False,
        is_checked_by(check_prefill_device),
    ),
    BadCall(
        "seq_lens",
        "has more entries than a plan has requests",
        changed_batch(
            block_table=lambda batch: batch.block_table.new_zeros(1, 1).expand(MAX_REQS + 1, batch.max_blocks),
            seq_lens=lambda batch: batch.seq_lens.new_zeros(MAX_REQS + 1),
            cu_seqlens_q=lambda batch: batch.cu_seqlens_q.new_zeros(MAX_REQS + 2),
        ),
        False,
        is_checked_by(check_prefill_device),
    ),
    BadCall("seq_lens", "has more blocks than have ids", of_too_many_blocks, False, is_checked_by(check_prefill)),
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
        changed_batch(**{name: on_meta(name) for name in TENSORS}),
        False,
        is_checked_by(*DECODE, check_prefill),
    ),
    BadCall(
        "index_k_pages", "holds pages of 2**31 elements", far("index_k_pages", 1), False, is_checked_by(*LAUNCHERS)
    ),
    BadCall(
        "index_k_pages",
        "holds pages of 2**31 elements by two axes",
        far("index_k_pages", 1, 2),
        False,
        is_checked_by(*LAUNCHERS),
    ),
    BadCall("index_k_pages", "holds keys of 2**31 elements", far("index_k_pages", 2), False, is_checked_by(*LAUNCHERS)),
    BadCall("index_q", "holds rows of 2**31 elements", far("index_q", 2), False, is_checked_by(*LAUNCHERS)),
    BadCall("seq_lens", "lies within more than 2**31 elements", far("seq_lens", 0), False, is_checked_by(*LAUNCHERS)),
    BadCall(
        "cu_seqlens_q", "lies within more than 2**31 elements", far("cu_seqlens_q", 0), False, is_checked_by(*LAUNCHERS)
    ),
    BadCall(
        "out",
        "holds rows of 2**31 elements",
        far("out", 2),
        False,
        lambda target: target.check in LAUNCHERS and _writes_out_first(target),
    ),
    BadCall("index_head_dim", "is too small for NVFP4 keys", with_config(NVFP4, index_head_dim=16), False),
)
"""Every kind of bad call."""

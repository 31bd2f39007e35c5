"""Calls at the limits of the suite's launchers, which take them: one more, and the call is a bad one.

They bring no query token, so that a launcher checks them, and has nothing to launch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fuzz.judge.bad_calls import DECODE, is_checked_by
from fuzz.judge.changed_calls import MAX_BLOCKS, NVFP4, changed_batch, far, with_config
from fuzz.targets import Call, Target
from fuzz.targets.limits import check_decode


@dataclass(frozen=True)
class LimitCall:
    """One kind of call at a limit.

    what: the argument and its value. changed: makes such a call of one without query tokens; None where it cannot.
    is_for: whether a target has that limit.
    """

    what: str
    changed: Callable[[Call], Call | None]
    is_for: Callable[[Target], bool] = lambda _: True


def limit_calls(target: Target) -> list[LimitCall]:
    """The kinds of calls that a target has to take: none, unless it is the suite's own."""
    if target.kind == "step" or not target.is_kernel:
        return []
    return [kind for kind in LIMIT_CALLS if kind.is_for(target)]


def at_limit(kind: LimitCall, call: Call) -> Call | None:
    """A call as one of some kind, without query tokens; None where it cannot be made so."""
    without = changed_batch(
        index_q=lambda batch: batch.index_q[:0],
        index_k_pages=lambda batch: batch.index_k_pages[:1],
        cu_seqlens_q=lambda batch: torch.zeros_like(batch.cu_seqlens_q),
    )(call)
    if without is None:
        return None
    lens = [0] * len(call.query_lens)
    limit = kind.changed(replace(without, query_lens=lens, seq_lens=lens, out=None, score=None, score_out=None))
    if limit is None or call.score is None:
        return limit
    batch = limit.batch
    return replace(limit, score=torch.zeros(batch.config.num_index_heads, 0, batch.max_blocks, device=batch.device))


LIMIT_CALLS = (
    LimitCall("64 index heads", with_config(num_index_heads=64)),
    LimitCall("128 slots", with_config(topk_blocks=128)),
    LimitCall("an index_head_dim of 128", with_config(index_head_dim=128)),
    LimitCall("a block_size of 128", with_config(block_size=128)),
    LimitCall("NVFP4 keys of an index_head_dim of 32", with_config(NVFP4, index_head_dim=32)),
    LimitCall(
        "a block table of as many columns as blocks have ids",
        changed_batch(block_table=lambda batch: batch.block_table.new_zeros(1, 1).expand(batch.num_reqs, MAX_BLOCKS)),
        is_checked_by(*DECODE),
    ),
    LimitCall("offsets of tokens that lie within 2**31 elements", far("cu_seqlens_q", 0, reach=2**31 - 2048)),
    LimitCall("8 query tokens a request", lambda call: replace(call, decode_query_len=8), is_checked_by(*DECODE)),
    LimitCall("256 splits", lambda call: replace(call, num_splits=256), is_checked_by(check_decode)),
)
"""Every kind of call at a limit."""

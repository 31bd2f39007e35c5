"""The promise of the suite's own kernels that no later call writes to the scores which a call returned."""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig, PagedBatch

CONFIG = IndexerConfig(2, 16, 16, 1, 0, 0)
SEQ_LENS = (100, 70)
"""Lengths of two requests, which see more blocks than they select."""
Scored = Callable[[PagedBatch], torch.Tensor]
"""The call of a kernel."""


@cache
def hold_to_own_scores(package: str, device: torch.device) -> None:
    """Hold kernels that return scores to memory of their own for each call: once in a process.

    Between two calls of the same sizes comes one of other keys, as the next layer has, that returns no scores.

    Raises:
        BrokenLaw: if a later call has the scores of an earlier one in its memory, or changed them; or a call that was
            given memory for them has them elsewhere.
    """
    kernels: Any = importlib.import_module(package)
    batch, other = _batch(1, device), _batch(-1, device)
    plan = kernels.PrefillPlan.build(CONFIG, [1, 1], [*SEQ_LENS], device)
    calls: tuple[tuple[str, Scored, Scored], ...] = (
        (
            "decode",
            lambda one: kernels.minimax_m3_index_decode_with_score(one, 1)[1],
            lambda one: kernels.minimax_m3_index_decode(one, 1),
        ),
        (
            "the scorer",
            lambda one: kernels.minimax_m3_index_score(one, plan),
            lambda one: kernels.minimax_m3_index_prefill(one, plan),
        ),
    )
    for what, score, quiet in calls:
        answer = score(batch)
        before = answer[..., : CONFIG.num_blocks(min(SEQ_LENS))].clone()
        quiet(other)
        later = score(other)
        is_changed = not answer[..., : before.shape[-1]].equal(before)
        if is_changed or answer.untyped_storage().data_ptr() == later.untyped_storage().data_ptr():
            raise BrokenLaw("OwnMemory", f"the scores that {what} returned are in the memory of a later call")
    given = torch.zeros(CONFIG.num_index_heads, len(SEQ_LENS), batch.max_blocks, device=device)
    if kernels.minimax_m3_index_score(batch, plan, out=given).data_ptr() != given.data_ptr():
        raise BrokenLaw("WritesAll", "scores lie elsewhere than in the memory that the scorer was given for them")


def _batch(value: int, device: torch.device) -> PagedBatch:
    """Two requests of a token, all of whose scores are the head dim times a value."""
    blocks = max(map(CONFIG.num_blocks, SEQ_LENS))
    rows = (CONFIG.num_index_heads, CONFIG.index_head_dim)
    return PagedBatch(
        CONFIG,
        torch.ones(len(SEQ_LENS), *rows, dtype=torch.bfloat16, device=device),
        torch.full((blocks, CONFIG.block_size, rows[1]), float(value), dtype=torch.bfloat16, device=device),
        torch.arange(blocks, dtype=torch.int32, device=device).expand(len(SEQ_LENS), -1).contiguous(),
        seq_lens=torch.tensor(SEQ_LENS, dtype=torch.int32, device=device),
        cu_seqlens_q=torch.arange(len(SEQ_LENS) + 1, dtype=torch.int32, device=device),
    )

"""Holding an answer against the contract: which rows break which law, and the numbers that show it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import require
from msa_ref.indexer import MAX_TOKEN_SCORES, scored_chunks
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rows import ROW_LAWS, Selection

How = Literal["", "raised", "twin", "memory", "cuda error", "crash", "hang"]
"""The ways in which a run can fail to give an answer; empty if it gave one. `twin`: the twin found a mistake. After the
last three its process must be replaced."""


@dataclass(frozen=True)
class Violation:
    """One law broken, by one row or by a whole run.

    evidence: a sentence with the numbers that show it.
    head, token, req: the row: its head, its token (a row of total_q) and its request; -1 where the law is
        about a whole run, or the request is not known.
    num_splits: the run's split count; 0 for the target's own choice.
    state: how often the contents of the inputs' buffers had been replaced before the run.
    how: how the run failed, if it gave no answer.
    """

    law: str
    evidence: str
    head: int = -1
    token: int = -1
    req: int = -1
    num_splits: int = 0
    state: int = 0
    how: How = ""

    @property
    def has_ended_process(self) -> bool:
        """True if the run cost its process: another try, or a question about it, would cost one more."""
        return self.how in ("cuda error", "crash", "hang")

    def __str__(self) -> str:
        places = [f"head {self.head}, token {self.token}"] if self.token >= 0 else []
        places += [f"request {self.req}"] if self.req >= 0 else []
        places += [f"after replay step {self.state}"] if self.state else []
        places += [f"at num_splits {self.num_splits}"] if self.num_splits else []
        return ": ".join(part for part in (self.law, ", ".join(places), self.how, self.evidence) if part)


def violations(selection: Selection, first_token: int = 0) -> Iterator[Violation]:
    """Every row law broken in every row, with the numbers that show it.

    Args:
        selection: the rows to judge.
        first_token: the row of total_q that the selection starts at.
    """
    for law in ROW_LAWS.values():
        for head, token in law.breaks(selection).nonzero().tolist():
            yield Violation(law.name, law.evidence(selection.row(head, token)), head, first_token + token)


def judge(
    batch: PagedBatch, topk_idx: torch.Tensor, max_token_scores: int = MAX_TOKEN_SCORES, profile: Profile = CONTRACT
) -> Iterator[Violation]:
    """Hold an answer against the row laws on the reference's scores: the exact oracle.

    Exact means exact: use it where the order of summation cannot matter (inputs on a lattice
    whose partial sums fp32 holds); elsewhere use `msa_ref.certified`. Chunked like the reference,
    and as slow.

    Args:
        batch: a valid batch.
        topk_idx: [H, T, K] int32, the answer, or [T, H, K] if the profile says so; any strides.
        profile: the promises it is held to; `Profile.undefined` says whether it makes any for this batch.

    Raises:
        ValueError: if topk_idx is no such tensor.
    """
    exact = ((rows, score, None) for rows, score in scored_chunks(batch, max_token_scores))
    for rows, selection in selections(batch, topk_idx, exact, profile):
        yield from with_reqs(batch, violations(selection, first_token=rows.start))


def selections(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    scored: Iterable[tuple[slice, torch.Tensor, torch.Tensor | None]],
    profile: Profile,
) -> Iterator[tuple[slice, Selection]]:
    """An answer beside the scores of its rows.

    Args:
        scored: (rows, lower, upper), the scores as `Selection` takes them.

    Yields:
        (rows, selection): which rows of total_q, and the selection of those rows.
    """
    config = batch.config
    topk_idx = profile.head_major(topk_idx)
    shape = [config.num_index_heads, batch.total_q, config.topk_blocks]
    require(list(topk_idx.shape) == shape, "topk_idx", f"must be [H, T, K] = {shape}", list(topk_idx.shape))
    require(topk_idx.dtype == torch.int32, "topk_idx", "must be int32", topk_idx.dtype)
    require(topk_idx.device == batch.device, "topk_idx", f"must be on {batch.device}", topk_idx.device)
    num_visible_blocks = batch.num_visible_blocks()
    for rows, lower, upper in scored:
        yield rows, Selection(config, topk_idx[:, rows], num_visible_blocks[rows], lower, upper, profile)


def with_reqs(batch: PagedBatch, found: Iterable[Violation]) -> Iterator[Violation]:
    """The same violations, each with its request."""
    cu_seqlens_q = batch.cu_seqlens_q.tolist()
    for violation in found:
        yield replace(violation, req=bisect_right(cu_seqlens_q, violation.token) - 1)

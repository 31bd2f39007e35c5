"""Holding an answer against the contract: which rows break which law, and the numbers that show it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD, require
from msa_ref.indexer import MAX_TOKEN_SCORES, scored_chunks
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rows import ROW_LAWS, Selection, cut, swapped
from msa_ref.select import forced_mask

__all__ = ["ROW_LAWS", "Selection", "Violation", "cut", "evidence", "judge", "selections", "violations", "with_reqs"]


@dataclass(frozen=True)
class Violation:
    """One law broken in one row: ids of the head, of the token (a row of total_q) and, where it is
    known, of the request; evidence is a sentence."""

    law: str
    head: int
    token: int
    evidence: str
    req: int | None = None

    def __str__(self) -> str:
        request = "" if self.req is None else f", request {self.req}"
        return f"{self.law}: head {self.head}, token {self.token}{request}: {self.evidence}"


def violations(selection: Selection, first_token: int = 0) -> Iterator[Violation]:
    """Every row law broken in every row, with the numbers that show it.

    Args:
        selection: the rows to judge.
        first_token: the row of total_q that the selection starts at.
    """
    for law, breaks in ROW_LAWS.items():
        for head, token in breaks(selection).nonzero().tolist():
            yield Violation(law, head, first_token + token, evidence(selection, law, head, token))


def evidence(selection: Selection, law: str, head: int, token: int) -> str:
    """One sentence with the numbers that show how a row breaks a law."""
    one = _one_row(selection, head, token)
    row, n = one.topk_idx[0, 0].tolist(), int(one.num_visible_blocks)
    match law:
        case "Visible":
            strange = [block for block in row if block != PAD and not 0 <= block < n]
            return f"holds {strange}, but sees blocks 0 .. {n - 1}" if n else f"holds {strange}, but sees no block"
        case "Distinct":
            twice = sorted({block for block in row if block != PAD and row.count(block) > 1})
            return f"selects {twice} more than once"
        case "Count":
            count = sum(block != PAD for block in row)
            return f"selects {count} blocks, {int(one.expected_count)} expected of {n} visible"
        case "PaddedTail":
            return f"has an id behind the PAD at slot {row.index(PAD)}: {row}"
        case "Order" if one.profile.order == "score-desc":
            slot, later = swapped(one)[0, 0].nonzero()[0].tolist()
            return (
                f"block {row[slot]} at slot {slot} stands before block {row[later]}, which ranks above it: "
                f"{_span(one, row[slot])} and {_span(one, row[later])}"
            )
        case "Order":
            slot = next(i for i, (a, b) in enumerate(pairwise(row)) if a > b and PAD not in (a, b))
            return f"block {row[slot]} at slot {slot} stands before block {row[slot + 1]} at slot {slot + 1}"
        case "Forced":
            forced = forced_mask(one.num_visible_blocks, n, one.config)[0].nonzero().flatten().tolist()
            return f"lacks forced blocks {sorted(set(forced) - set(row))} of {n} visible"
        case "Best":
            worst, best = (int(edge.block) for edge in cut(one))
            return f"takes block {worst} with {_span(one, worst)} and leaves block {best} with {_span(one, best)}"
    raise KeyError(law)


def _one_row(selection: Selection, head: int, token: int) -> Selection:
    h, t = slice(head, head + 1), slice(token, token + 1)
    return Selection(
        selection.config,
        selection.topk_idx[h, t],
        selection.num_visible_blocks[t],
        selection.score[h, t],
        None if selection.upper is None else selection.upper[h, t],
        selection.profile,
    )


def _span(one: Selection, block: int) -> str:
    low, high = float(one.lowest[0, 0, block]), float(one.highest[0, 0, block])
    return f"score {low!r}" if low == high else f"score in [{low!r}, {high!r}]"


def judge(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    max_token_scores: int = MAX_TOKEN_SCORES,
    profile: Profile = CONTRACT,
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
    exact = ((rows, score, score) for rows, score in scored_chunks(batch, max_token_scores))
    for rows, selection in selections(batch, topk_idx, exact, max_token_scores, profile):
        yield from with_reqs(batch, violations(selection, first_token=rows.start))


def selections(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    scored: Iterable[tuple[slice, torch.Tensor, torch.Tensor]],
    max_token_scores: int,
    profile: Profile,
) -> Iterator[tuple[slice, Selection]]:
    """An answer beside its scores, rows of many small requests side by side: judging them one by
    one would be the slow part of fuzzing.

    Args:
        scored: (rows, lower, upper) in order of rows; the tensors [H, rows, n] float64.
        max_token_scores: bounds memory as in `scored_chunks`: a selection holds as many block scores
            as one chunk of that many token scores has.

    Yields:
        (rows, selection): which rows of total_q, and the selection of those rows.
    """
    config = batch.config
    topk_idx = profile.head_major(topk_idx)
    shape = (config.num_index_heads, batch.total_q, config.topk_blocks)
    require(tuple(topk_idx.shape) == shape, "topk_idx", f"must be [H, T, K] = {list(shape)}", list(topk_idx.shape))
    require(topk_idx.dtype == torch.int32, "topk_idx", "must be int32", topk_idx.dtype)
    require(topk_idx.device == batch.device, "topk_idx", f"must be on {batch.device}", topk_idx.device)
    num_visible_blocks = batch.num_visible_blocks()
    for rows, lower, upper in _side_by_side(scored, max_token_scores // config.block_size):
        yield rows, Selection(config, topk_idx[:, rows], num_visible_blocks[rows], lower, upper, profile)


def _side_by_side(
    scored: Iterable[tuple[slice, torch.Tensor, torch.Tensor]], max_scores: int
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Join neighbouring chunks while all of them, as wide as the widest, hold at most max_scores."""
    pending: list[tuple[slice, torch.Tensor, torch.Tensor]] = []
    width = 0
    for rows, lower, upper in scored:
        width = max(width, lower.shape[-1])
        if pending and lower.shape[0] * (rows.stop - pending[0][0].start) * width > max_scores:
            yield _join(pending)
            pending, width = [], lower.shape[-1]
        pending.append((rows, lower, upper))
    if pending:
        yield _join(pending)


def _join(chunks: list[tuple[slice, torch.Tensor, torch.Tensor]]) -> tuple[slice, torch.Tensor, torch.Tensor]:
    if len(chunks) == 1:
        return chunks[0]
    rows, lowers, uppers = zip(*chunks, strict=True)
    width = max(lower.shape[-1] for lower in lowers)
    lower, upper = (
        torch.cat([torch.nn.functional.pad(end, (0, width - end.shape[-1]), value=-torch.inf) for end in ends], 1)
        for ends in (lowers, uppers)
    )
    return slice(rows[0].start, rows[-1].stop), lower, upper


def with_reqs(batch: PagedBatch, found: Iterable[Violation]) -> Iterator[Violation]:
    """The same violations, each with its request."""
    cu_seqlens_q = batch.cu_seqlens_q.tolist()
    for violation in found:
        yield replace(violation, req=bisect_right(cu_seqlens_q, violation.token) - 1)

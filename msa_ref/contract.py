"""The laws that one row of a selection obeys, each with a name and judged on its own.

A row is one (index head, query token). A selection that keeps all of these laws is the right
answer, and the only one: Visible, Distinct, Count and PaddedTail make it a set of the right size,
Forced and Best settle which set, Order settles how it is written.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD, IndexerConfig
from msa_ref.indexer import MAX_TOKEN_SCORES, scored_chunks
from msa_ref.select import forced_mask


@dataclass(frozen=True, eq=False)
class Selection:
    """What the row laws judge: some rows of an answer beside what the rows could choose from.

    topk_idx: [H, T, K] int32, as a kernel wrote it; any values at all.
    num_visible_blocks: [T] int64.
    score: [H, T, N] float64, the scores the answer is held against; N covers every visible block.
    """

    config: IndexerConfig
    topk_idx: torch.Tensor
    num_visible_blocks: torch.Tensor
    score: torch.Tensor

    @property
    def is_id(self) -> torch.Tensor:
        """[H, T, K] bool, entries that name a visible block of their row."""
        return (self.topk_idx >= 0) & (self.topk_idx < self.num_visible_blocks[:, None])

    @property
    def expected_count(self) -> torch.Tensor:
        """[T] int64, how many blocks each row selects: min(topk_blocks, n)."""
        return self.num_visible_blocks.clamp(max=self.config.topk_blocks)

    def chosen(self) -> torch.Tensor:
        """[H, T, N] bool, the visible blocks that each row names, however often."""
        num_blocks = self.score.shape[-1]
        ids = torch.where(self.is_id, self.topk_idx.long(), num_blocks)
        marks = torch.zeros(*ids.shape[:-1], num_blocks + 1, dtype=torch.bool, device=ids.device)
        return marks.scatter_(-1, ids, True)[..., :num_blocks]


def breaks_visible(selection: Selection) -> torch.Tensor:
    """Every entry is PAD or the id of a visible block."""
    return ~(selection.is_id | (selection.topk_idx == PAD)).all(-1)


def breaks_distinct(selection: Selection) -> torch.Tensor:
    """No id is selected twice."""
    ids = selection.topk_idx.sort(dim=-1).values
    return ((ids[..., 1:] == ids[..., :-1]) & (ids[..., 1:] != PAD)).any(-1)


def breaks_count(selection: Selection) -> torch.Tensor:
    """Exactly min(topk_blocks, n) entries are not PAD."""
    return (selection.topk_idx != PAD).sum(-1) != selection.expected_count


def breaks_padded_tail(selection: Selection) -> torch.Tensor:
    """No id stands behind a PAD."""
    is_pad = selection.topk_idx == PAD
    return (is_pad[..., :-1] & ~is_pad[..., 1:]).any(-1)


def breaks_order(selection: Selection) -> torch.Tensor:
    """Ids ascend."""
    left, right = selection.topk_idx[..., :-1], selection.topk_idx[..., 1:]
    return ((left > right) & (left != PAD) & (right != PAD)).any(-1)


def breaks_forced(selection: Selection) -> torch.Tensor:
    """The first init_blocks and the last local_blocks visible blocks are selected."""
    is_forced = forced_mask(selection.num_visible_blocks, selection.score.shape[-1], selection.config)
    return (is_forced & ~selection.chosen()).any(-1)


def breaks_best(selection: Selection) -> torch.Tensor:
    """No visible block that was left out ranks above a chosen one that was not forced."""
    worst_chosen, best_left = cut(selection)
    is_above = (best_left.score > worst_chosen.score) | (
        (best_left.score == worst_chosen.score) & (best_left.block < worst_chosen.block)
    )
    return is_above & (worst_chosen.block >= 0) & (best_left.block >= 0)


@dataclass(frozen=True, eq=False)
class Edge:
    """One side of the cut: [H, T] block ids (-1 where there is none) and their scores."""

    block: torch.Tensor
    score: torch.Tensor


def cut(selection: Selection) -> tuple[Edge, Edge]:
    """The lowest ranked chosen block of every row and the highest ranked one left out.

    Forced blocks stand outside the ranking and are neither. Equal scores rank by id ascending.
    """
    score = selection.score.masked_fill(selection.score.isnan(), -torch.inf)
    num_blocks = score.shape[-1]
    if num_blocks == 0:
        none = Edge(torch.full(score.shape[:-1], -1, device=score.device), score.new_zeros(score.shape[:-1]))
        return none, none
    block = torch.arange(num_blocks, device=score.device)
    is_ranked = (block < selection.num_visible_blocks[:, None]) & ~forced_mask(
        selection.num_visible_blocks, num_blocks, selection.config
    )
    chosen = selection.chosen()

    is_candidate = is_ranked & chosen
    lowest = score.masked_fill(~is_candidate, torch.inf).amin(-1)
    worst = torch.where(is_candidate & (score == lowest[..., None]), block, -1).amax(-1)

    is_candidate = is_ranked & ~chosen
    highest = score.masked_fill(~is_candidate, -torch.inf).amax(-1)
    best = torch.where(is_candidate & (score == highest[..., None]), block, num_blocks).amin(-1)
    return Edge(worst, lowest), Edge(best.masked_fill(best == num_blocks, -1), highest)


ROW_LAWS: dict[str, Callable[[Selection], torch.Tensor]] = {
    "Visible": breaks_visible,
    "Distinct": breaks_distinct,
    "Count": breaks_count,
    "PaddedTail": breaks_padded_tail,
    "Forced": breaks_forced,
    "Best": breaks_best,
    "Order": breaks_order,
}
"""Name of each row law -> which rows [H, T] break it. The docstring of each is the law."""


@dataclass(frozen=True)
class Violation:
    """One law broken in one row. head and token (a row of total_q) are ids; evidence is a sentence."""

    law: str
    head: int
    token: int
    evidence: str

    def __str__(self) -> str:
        return f"{self.law}: head {self.head}, token {self.token}: {self.evidence}"


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
    row = selection.topk_idx[head, token].tolist()
    n = int(selection.num_visible_blocks[token])
    match law:
        case "Visible":
            strange = [block for block in row if block != PAD and not 0 <= block < n]
            return f"holds {strange}, but sees blocks 0 .. {n - 1}" if n else f"holds {strange}, but sees no block"
        case "Distinct":
            twice = sorted({block for block in row if block != PAD and row.count(block) > 1})
            return f"selects {twice} more than once"
        case "Count":
            count = sum(block != PAD for block in row)
            return f"selects {count} blocks, {int(selection.expected_count[token])} expected of {n} visible"
        case "PaddedTail":
            return f"has an id behind the PAD at slot {row.index(PAD)}: {row}"
        case "Order":
            slot = next(i for i, (a, b) in enumerate(zip(row, row[1:])) if a > b and PAD not in (a, b))
            return f"block {row[slot]} at slot {slot} stands before block {row[slot + 1]}"
        case "Forced":
            is_forced = forced_mask(selection.num_visible_blocks[token : token + 1], n, selection.config)[0]
            return (
                f"lacks forced blocks {sorted(set(is_forced.nonzero().flatten().tolist()) - set(row))} of {n} visible"
            )
        case "Best":
            one = Selection(
                selection.config,
                selection.topk_idx[head : head + 1, token : token + 1],
                selection.num_visible_blocks[token : token + 1],
                selection.score[head : head + 1, token : token + 1],
            )
            worst, best = cut(one)
            return (
                f"takes block {int(worst.block)} with score {float(worst.score)!r} and leaves block "
                f"{int(best.block)} with score {float(best.score)!r}"
            )
    raise KeyError(law)


def judge(batch: PagedBatch, topk_idx: torch.Tensor, max_token_scores: int = MAX_TOKEN_SCORES) -> Iterator[Violation]:
    """Hold an answer against the row laws on the reference's scores: the exact oracle.

    Exact means exact: use it where the order of summation cannot matter (inputs on a lattice
    whose partial sums fp32 holds). Chunked like the reference, and as slow.

    Args:
        batch: a valid batch.
        topk_idx: [H, T, K] int32, the answer; any strides.
    """
    num_visible_blocks = batch.num_visible_blocks()
    for rows, score in scored_chunks(batch, max_token_scores):
        yield from violations(
            Selection(batch.config, topk_idx[:, rows], num_visible_blocks[rows], score), first_token=rows.start
        )

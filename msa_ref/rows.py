"""The laws that one row of a selection obeys, each with a name and judged on its own.

A row is one (index head, query token). A selection that keeps all of these laws is the right
answer, and the only one: Visible, Distinct, Count and PaddedTail make it a set of the right size,
Forced and Best settle which set, Order settles how it is written.

Each law is explained on one row: blocks 0 .. 4 score 5, 1, 7, 5, 0; three are selected, and the last
one is forced. The answer is [0, 2, 4].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from msa_ref.config import PAD, IndexerConfig
from msa_ref.profile import CONTRACT, Profile
from msa_ref.select import forced_mask


@dataclass(frozen=True, eq=False)
class Selection:
    """What the row laws judge: some rows of an answer beside what the rows could choose from.

    topk_idx: [H, T, K] int32, as a kernel wrote it; any values at all.
    num_visible_blocks: [T] int64.
    score: [H, T, N] float64, the scores the answer is held against; N covers every visible block.
        NaN counts as -inf.
    upper: [H, T, N] float64, where scores are known only up to an interval: `score` is its lower
        end and this is its upper end. None means that the scores are exact.
    profile: the promises that the answer is held to.
    """

    config: IndexerConfig
    topk_idx: torch.Tensor
    num_visible_blocks: torch.Tensor
    score: torch.Tensor
    upper: torch.Tensor | None = None
    profile: Profile = CONTRACT

    @property
    def lowest(self) -> torch.Tensor:
        """[H, T, N], the least that each block may score."""
        return self.score.masked_fill(self.score.isnan(), -torch.inf)

    @property
    def highest(self) -> torch.Tensor:
        """[H, T, N], the most that each block may score."""
        return self.lowest if self.upper is None else self.upper

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
    """Every entry is PAD or the id of a visible block. [0, 2, 9] breaks it."""
    return ~(selection.is_id | (selection.topk_idx == PAD)).all(-1)


def breaks_distinct(selection: Selection) -> torch.Tensor:
    """No id is selected twice. [2, 2, 4] breaks it."""
    ids = selection.topk_idx.sort(dim=-1).values
    return ((ids[..., 1:] == ids[..., :-1]) & (ids[..., 1:] != PAD)).any(-1)


def breaks_count(selection: Selection) -> torch.Tensor:
    """Exactly min(topk_blocks, n) entries are not PAD. [2, 4, -1] breaks it."""
    return (selection.topk_idx != PAD).sum(-1) != selection.expected_count


def breaks_padded_tail(selection: Selection) -> torch.Tensor:
    """No id stands behind a PAD. [0, -1, 4] breaks it."""
    is_pad = selection.topk_idx == PAD
    return (is_pad[..., :-1] & ~is_pad[..., 1:]).any(-1)


def breaks_order(selection: Selection) -> torch.Tensor:
    """Ids ascend. [2, 0, 4] breaks it. Under the order "score-desc" it is the ranked ids' scores that descend."""
    if selection.profile.order == "any":
        return torch.zeros_like(selection.topk_idx[..., 0], dtype=torch.bool)
    if selection.profile.order == "score-desc":
        return swapped(selection).any(-1).any(-1)
    left, right = selection.topk_idx[..., :-1], selection.topk_idx[..., 1:]
    return ((left > right) & (left != PAD) & (right != PAD)).any(-1)


def swapped(selection: Selection) -> torch.Tensor:
    """[H, T, K, K] bool, slots i < j whose ids are ranked and whose second must rank above the first."""
    num_blocks = selection.score.shape[-1]
    if num_blocks == 0:
        return torch.zeros(*selection.topk_idx.shape, 1, dtype=torch.bool, device=selection.topk_idx.device)
    block = torch.where(selection.is_id, selection.topk_idx.long(), 0)
    is_forced = forced_mask(selection.num_visible_blocks, num_blocks, selection.config)
    is_ranked = selection.is_id & ~is_forced.expand(selection.score.shape).gather(-1, block)
    first, second = selection.highest.gather(-1, block)[..., :, None], selection.lowest.gather(-1, block)[..., None, :]
    is_above = second > first
    if selection.profile.tie_rule == "lowest-id":
        is_above |= (second == first) & (block[..., None, :] < block[..., :, None])
    return (is_above & is_ranked[..., :, None] & is_ranked[..., None, :]).triu(1)


def breaks_forced(selection: Selection) -> torch.Tensor:
    """The first init_blocks and the last local_blocks visible blocks are selected. [0, 2, 3] breaks it."""
    is_forced = forced_mask(selection.num_visible_blocks, selection.score.shape[-1], selection.config)
    return (is_forced & ~selection.chosen()).any(-1)


def breaks_best(selection: Selection) -> torch.Tensor:
    """No visible block that was left out ranks above a chosen one that was not forced.

    [2, 3, 4] breaks it: blocks 0 and 3 are equal, and 0 is the lower id.
    """
    worst_chosen, best_left = cut(selection)
    is_above = best_left.score > worst_chosen.score
    if selection.profile.tie_rule == "lowest-id":
        is_above |= (best_left.score == worst_chosen.score) & (best_left.block < worst_chosen.block)
    return is_above & (worst_chosen.block >= 0) & (best_left.block >= 0)


@dataclass(frozen=True, eq=False)
class Edge:
    """One side of the cut: [H, T] block ids (-1 where there is none) and their scores."""

    block: torch.Tensor
    score: torch.Tensor


def cut(selection: Selection) -> tuple[Edge, Edge]:
    """The lowest ranked chosen block of every row and the highest ranked one left out.

    Forced blocks stand outside the ranking and are neither. Equal scores rank by id ascending.
    Where scores are intervals the answer has the benefit of the doubt: a chosen block stands at
    its upper end, one left out at its lower end. If a set is right for any scores inside the
    intervals, it is right for these, because they only lift what it chose above what it left.
    """
    num_blocks = selection.score.shape[-1]
    if num_blocks == 0:
        shape, device = selection.score.shape[:-1], selection.score.device
        none = Edge(torch.full(shape, -1, device=device), torch.zeros(shape, device=device))
        return none, none
    block = torch.arange(num_blocks, device=selection.score.device)
    is_visible = block < selection.num_visible_blocks[:, None]
    is_ranked = is_visible & ~forced_mask(selection.num_visible_blocks, num_blocks, selection.config)
    chosen = selection.chosen()

    is_candidate = is_ranked & chosen
    score = selection.highest.masked_fill(~is_candidate, torch.inf)
    lowest = score.amin(-1)
    worst = torch.where(is_candidate & (score == lowest[..., None]), block, -1).amax(-1)

    is_candidate = is_ranked & ~chosen
    score = selection.lowest.masked_fill(~is_candidate, -torch.inf)
    highest = score.amax(-1)
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


def broken_rows(selection: Selection) -> torch.Tensor:
    """[H, T] bool, rows that break at least one law."""
    return torch.stack([breaks(selection) for breaks in ROW_LAWS.values()]).any(0)

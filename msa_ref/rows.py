"""The laws that one row of a selection obeys, each with a name and judged on its own.

A row is one (index head, query token). A selection that keeps all of these laws is the right
answer, and the only one: Visible, Distinct, Count and PaddedTail make it a set of the right size,
Forced and Best settle which set, Order settles how it is written.

Each law is explained on one row: blocks 0 .. 4 score 5, 1, 7, 5, 0; three are selected, and the last
one is forced. The answer is [0, 2, 4].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch

from msa_ref.config import PAD, IndexerConfig
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rounded_ranks import sure_ends
from msa_ref.select import forced_mask


class Edge(NamedTuple):
    """A block of every row: ids, -1 where there is none, and their scores, [H, T] or with more axes."""

    block: torch.Tensor
    score: torch.Tensor


@dataclass(frozen=True, eq=False)
class Selection:
    """Some rows of an answer beside the blocks that they could choose from: what the row laws judge.

    topk_idx: [H, T, K] int32, as a kernel wrote it; any values at all.
    num_visible_blocks: [T] int64.
    score: [H, T, N] float64, the scores the answer is held against; N covers every visible block.
        NaN counts as -inf.
    upper: [H, T, N] float64, where scores are known only up to an interval: `score` is its lower
        end and this is its upper end. None means that the scores are exact.
    profile: the promises that the answer is held to.

    Derived tensors have one column more, N, that stands for no block: a row never sees it.
    """

    config: IndexerConfig
    topk_idx: torch.Tensor
    num_visible_blocks: torch.Tensor
    score: torch.Tensor
    upper: torch.Tensor | None = None
    profile: Profile = CONTRACT

    @property
    def lowest(self) -> torch.Tensor:
        """[H, T, N + 1], the lower bound on each block's score."""
        return torch.nn.functional.pad(self.score.nan_to_num(-torch.inf, torch.inf, -torch.inf), (0, 1))

    @property
    def highest(self) -> torch.Tensor:
        """[H, T, N + 1], the upper bound on each block's score."""
        return self.lowest if self.upper is None else replace(self, score=self.upper).lowest

    @property
    def block(self) -> torch.Tensor:
        """[N + 1] int64, every block id, and N for none."""
        return torch.arange(self.score.shape[-1] + 1, device=self.score.device)

    @property
    def is_visible(self) -> torch.Tensor:
        """[T, N + 1] bool, blocks that each row sees."""
        return self.block < self.num_visible_blocks[:, None]

    @property
    def is_forced(self) -> torch.Tensor:
        """[T, N + 1] bool, blocks that each row selects whatever they score."""
        return forced_mask(self.num_visible_blocks, len(self.block), self.config)

    @property
    def ids(self) -> torch.Tensor:
        """[H, T, K] int64, the visible block that each entry names; N where it names none."""
        is_id = (self.topk_idx >= 0) & (self.topk_idx < self.num_visible_blocks[:, None])
        return self.topk_idx.long().where(is_id, self.score.shape[-1])

    @property
    def is_chosen(self) -> torch.Tensor:
        """[H, T, N + 1] bool, blocks that each row names, however often."""
        shape = (*self.topk_idx.shape[:-1], len(self.block))
        return torch.zeros(shape, dtype=torch.bool, device=self.score.device).scatter_(-1, self.ids, True)

    @property
    def is_local(self) -> torch.Tensor:
        """[T, N + 1] bool, forced blocks that are so as the last visible ones alone."""
        return self.is_forced & (self.block >= self.config.init_blocks)

    def ranks_above(self, one: Edge, other: Edge) -> torch.Tensor:
        """Where a block must rank above another: by score, and by id where a tie rule says so."""
        low, high = one.score, other.score
        if self.profile.rank_bits is not None:
            low, high = sure_ends(low, high, self.profile.rank_bits)
        is_above = low > high
        if self.profile.tie_rule == "any":
            return is_above
        return is_above | ((one.score >= other.score) & (one.block < other.block))

    def row(self, head: int, token: int) -> "Selection":
        """One row of this selection, as a selection."""
        h, t = slice(head, head + 1), slice(token, token + 1)
        n, upper = self.num_visible_blocks[t], None if self.upper is None else self.upper[h, t]
        return Selection(self.config, self.topk_idx[h, t], n, self.score[h, t], upper, self.profile)


def breaks_visible(selection: Selection) -> torch.Tensor:
    """Every entry is PAD or the id of a visible block. [0, 2, 9] breaks it."""
    return ((selection.ids == selection.score.shape[-1]) & (selection.topk_idx != PAD)).any(-1)


def _invisible(row: Selection) -> str:
    n = int(row.num_visible_blocks)
    strange = [block for block in _written(row) if not 0 <= block < n and block != PAD]
    return f"holds {strange}, but sees {f'blocks 0 .. {n - 1}' if n else 'no block'}"


def breaks_distinct(selection: Selection) -> torch.Tensor:
    """No id is selected twice. [2, 2, 4] breaks it."""
    ids = selection.topk_idx.sort(dim=-1).values
    return ((ids[..., 1:] == ids[..., :-1]) & (ids[..., 1:] != PAD)).any(-1)


def _repeated(row: Selection) -> str:
    ids = [entry for entry in _written(row) if entry != PAD]
    return f"selects {sorted({block for block in ids if ids.count(block) > 1})} more than once"


def breaks_count(selection: Selection) -> torch.Tensor:
    """Exactly min(topk_blocks, n) entries are not PAD. [2, 4, -1] breaks it."""
    return (selection.topk_idx != PAD).sum(-1) != selection.num_visible_blocks.clamp(max=selection.config.topk_blocks)


def _counted(row: Selection) -> str:
    n, num_ids = int(row.num_visible_blocks), sum(entry != PAD for entry in _written(row))
    return f"selects {num_ids} blocks, {min(n, row.config.topk_blocks)} expected of {n} visible"


def breaks_padded_tail(selection: Selection) -> torch.Tensor:
    """No id stands after a PAD. [0, -1, 4] breaks it."""
    is_pad = selection.topk_idx == PAD
    return (is_pad[..., :-1] & ~is_pad[..., 1:]).any(-1)


def _padded(row: Selection) -> str:
    return f"has an id after the PAD at slot {_written(row).index(PAD)}: {_written(row)}"


def breaks_order(selection: Selection) -> torch.Tensor:
    """Ids ascend. [2, 0, 4] breaks it. Other orders are judged by the profile: best score first, local blocks last."""
    order = selection.profile.order
    if order == "any":
        return torch.zeros_like(selection.topk_idx[..., 0], dtype=torch.bool)
    left, right = selection.topk_idx[..., :-1], selection.topk_idx[..., 1:]
    descends = ((left > right) & (left != PAD) & (right != PAD)).any(-1)
    if order == "ascending":
        return descends
    is_wrong = swapped(selection).any(-1).any(-1)
    if order == "score-desc-local-last":
        has_choice = selection.num_visible_blocks > selection.config.topk_blocks
        is_wrong = (is_wrong | _behind_local(selection).any(-1)) & (has_choice | descends)
    return is_wrong


def swapped(selection: Selection) -> torch.Tensor:
    """[H, T, K, K] bool, slots i < j whose ids are ranked and whose second must rank above the first."""
    ids, is_ranked = selection.ids, selection.is_visible & ~selection.is_forced
    first = Edge(ids[..., :, None], selection.highest.gather(-1, ids)[..., :, None])
    second = Edge(ids[..., None, :], selection.lowest.gather(-1, ids)[..., None, :])
    is_judged = is_ranked.expand_as(selection.lowest).gather(-1, ids)
    return (selection.ranks_above(second, first) & is_judged[..., :, None] & is_judged[..., None, :]).triu(1)


def _behind_local(selection: Selection) -> torch.Tensor:
    """[H, T, K] bool, slots with the id of a block that is not local, after a local one."""
    ids, n = selection.ids, selection.num_visible_blocks[:, None]
    is_local = selection.is_local.expand_as(selection.lowest).gather(-1, ids)
    is_other = (ids < n) & (ids < n - selection.config.local_blocks)
    return (is_local.cumsum(-1) > 0) & is_other


def _unordered(row: Selection) -> str:
    ids, order = _written(row), row.profile.order
    pairs = swapped(row)[0, 0].nonzero().tolist() if order.startswith("score-desc") else []
    if pairs:
        slot, later = pairs[0]
        behind = f"block {ids[later]}, which ranks above it: {_span(row, ids[slot])} and {_span(row, ids[later])}"
    elif order == "score-desc-local-last":
        later = int(_behind_local(row)[0, 0].nonzero()[0])
        slot = int(row.is_local.expand_as(row.lowest).gather(-1, row.ids)[0, 0].nonzero()[0])
        behind = f"block {ids[later]} at slot {later}, and is local"
    else:
        slot = next(i for i, (a, b) in enumerate(pairwise(ids)) if a > b and PAD not in (a, b))
        behind = f"block {ids[slot + 1]} at slot {slot + 1}"
    return f"block {ids[slot]} at slot {slot} stands before {behind}"


def breaks_forced(selection: Selection) -> torch.Tensor:
    """The first init_blocks and the last local_blocks visible blocks are selected. [0, 2, 3] breaks it."""
    return (selection.is_forced & ~selection.is_chosen).any(-1)


def _unforced(row: Selection) -> str:
    forced = row.is_forced[0].nonzero().flatten().tolist()
    return f"lacks forced blocks {sorted(set(forced) - set(_written(row)))} of {int(row.num_visible_blocks)} visible"


def breaks_best(selection: Selection) -> torch.Tensor:
    """No visible block that was left out ranks above a chosen one that was not forced.

    [2, 3, 4] breaks it: blocks 0 and 3 are equal, and 0 is the lower id.
    """
    worst_chosen, best_left = cut(selection)
    return selection.ranks_above(best_left, worst_chosen) & (worst_chosen.block >= 0) & (best_left.block >= 0)


def cut(selection: Selection) -> tuple[Edge, Edge]:
    """The lowest ranked chosen block of every row and the highest ranked one left out.

    Forced blocks stand outside the ranking and are neither. Equal scores rank by id ascending.
    If scores are intervals, the answer has the benefit of the doubt: a chosen block stands at
    its upper end, one left out at its lower end. If a set is right for any scores inside the
    intervals, it is right for these, because they only lift what it chose above what it left.
    """
    block, is_chosen = selection.block, selection.is_chosen
    is_ranked = selection.is_visible & ~selection.is_forced

    is_candidate = is_ranked & is_chosen
    score = selection.highest.masked_fill(~is_candidate, torch.inf)
    lowest = score.amin(-1)
    worst = torch.where(is_candidate & (score == lowest[..., None]), block, -1).amax(-1)

    is_candidate = is_ranked & ~is_chosen
    score = selection.lowest.masked_fill(~is_candidate, -torch.inf)
    highest = score.amax(-1)
    none = selection.score.shape[-1]
    best = torch.where(is_candidate & (score == highest[..., None]), block, none).amin(-1)
    return Edge(worst, lowest), Edge(best.masked_fill(best == none, -1), highest)


def _outranked(row: Selection) -> str:
    worst, best = (int(edge.block) for edge in cut(row))
    return f"takes block {worst} with {_span(row, worst)} and leaves block {best} with {_span(row, best)}"


def _written(row: Selection) -> list[int]:
    entries: list[int] = row.topk_idx[0, 0].tolist()
    return entries


def _span(row: Selection, block: int) -> str:
    low, high = float(row.lowest[0, 0, block]), float(row.highest[0, 0, block])
    return f"score {low!r}" if low == high else f"score in [{low!r}, {high!r}]"


@dataclass(frozen=True)
class Law:
    """One law about rows.

    breaks: the rows [H, T] of a selection that break it; its docstring is the law, with a row that breaks it.
    evidence: a sentence with the numbers that show how one row breaks it.
    needs_scores: whether it looks at scores; the other laws are about structure alone.
    chapter: the page and the heading of the walk-through that explain it.
    """

    name: str
    breaks: Callable[[Selection], torch.Tensor]
    evidence: Callable[[Selection], str]
    needs_scores: bool = False
    chapter: str = "05-what-correct-means.md#structure-comes-first"

    @property
    def sentence(self) -> str:
        """The law."""
        return (self.breaks.__doc__ or "").strip()


ROW_LAWS = {
    law.name: law
    for law in (
        Law("Visible", breaks_visible, _invisible),
        Law("Distinct", breaks_distinct, _repeated),
        Law("Count", breaks_count, _counted),
        Law("PaddedTail", breaks_padded_tail, _padded),
        Law("Forced", breaks_forced, _unforced, chapter="02-forced-blocks.md#forced-is-no-score"),
        Law("Best", breaks_best, _outranked, needs_scores=True, chapter="01-one-query.md#the-best-two"),
        Law("Order", breaks_order, _unordered),
    )
}
"""Name -> law. Whatever judges or explains rows reads this table."""


def broken_rows(selection: Selection) -> torch.Tensor:
    """[H, T] bool, rows that break at least one law."""
    return torch.stack([law.breaks(selection) for law in ROW_LAWS.values()]).any(0)

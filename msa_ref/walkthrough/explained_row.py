"""One row of blocks, explained: scores, forced blocks, ranks, ties, and the answer."""

from dataclasses import dataclass

import torch

from msa_ref.config import IndexerConfig
from msa_ref.select import forced_mask, select_blocks


@dataclass(frozen=True)
class Explained:
    """One block of a row. rank: its place among the ranked ones, from 1; 0 if it is forced. why: in words."""

    block: int
    score: float
    rank: int
    is_chosen: bool
    why: str


def explained(scores: list[float], config: IndexerConfig) -> list[Explained]:
    """Every block of a row with its rank and the reason for its fate.

    Args:
        scores: of all visible blocks.
        config: of one head.
    """
    n = len(scores)
    score = torch.tensor(scores, dtype=torch.float64)
    chosen = set(select_blocks(score.view(1, 1, n), torch.tensor([n]), config)[0, 0].tolist())
    is_forced = forced_mask(torch.tensor([n]), n, config)[0].tolist()
    ordered = score.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    best_first = ordered.sort(descending=True, stable=True).indices.tolist()
    ranked = [block for block in best_first if not is_forced[block]]
    slots = min(config.topk_blocks, n) - sum(is_forced)
    cut = ordered[ranked[slots - 1]].item() if 0 < slots <= len(ranked) else None
    has_tie = cut is not None and slots < len(ranked) and ordered[ranked[slots]].item() == cut

    def why(block: int) -> str:
        if is_forced[block]:
            return "forced, whatever it scores"
        if n <= config.topk_blocks:
            return "selected: there is a slot for every block"
        words = "selected" if block in chosen else "left out"
        if has_tie and ordered[block].item() == cut:
            return f"{words}: ties with another at the cut, and the lower id wins"
        return f"{words}: rank {ranked.index(block) + 1}, and {slots} fit"

    ranks = {block: place + 1 for place, block in enumerate(ranked)}
    return [Explained(block, scores[block], ranks.get(block, 0), block in chosen, why(block)) for block in range(n)]


def row_lines(scores: list[float], config: IndexerConfig, has_colour: bool = False) -> list[str]:
    """The explanation as lines for a terminal."""
    rows = explained(scores, config)
    lines = [f"{'block':>6} {'score':>10} {'rank':>7}"]
    for row in rows:
        rank = str(row.rank) if row.rank else "forced"
        line = f"{row.block:>6} {row.score:>10g} {rank:>7}  {'■' if row.is_chosen else ' '} {row.why}"
        lines.append(f"\033[1;36m{line}\033[0m" if has_colour and row.is_chosen else line)
    ids = [row.block for row in rows if row.is_chosen]
    padded = ids + [-1] * (config.topk_blocks - len(ids))
    return [*lines, f"topk_idx = {padded}"]

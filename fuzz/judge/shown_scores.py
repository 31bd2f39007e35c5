"""Scores that a target exposes, and whether its superblock maxima match its block scores."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch

from msa_ref.config import require
from msa_ref.contract import Violation
from msa_ref.staged import SCORE_LAW

SUPERBLOCK_LAW = "Superblocks"
"""Name of the law about superblock maxima, see `fuzz.judge.run_laws`."""

SCORES_AT_ONCE = 2**26
"""Scores compared at once; bounds the memory of the largest cases."""


@dataclass(frozen=True)
class ShownScores:
    """The scores that a target exposed in one run.

    score: [H, T, N], the block scores that it selects by.
    best: [H, T, ceil(N / each)], the best score in each superblock of `each` blocks, or None.
    is_lazy: whether rows that see no more blocks than they select may have any scores, or none.
    scale: the positive factor that the target multiplies scores by.
    forced: whether forced blocks are "scored" as all others are, or "encoded": then they hold any number.
    nan: whether NaN stands for -inf, as the contract counts it, or "none" is promised.

    Raises:
        ValueError: one sentence, if the scale or the word for forced blocks is none.
    """

    score: torch.Tensor
    best: torch.Tensor | None = None
    each: int = 0
    is_lazy: bool = False
    scale: float = 1.0
    forced: Literal["scored", "encoded"] = "scored"
    nan: Literal["minus-inf", "none"] = "minus-inf"

    def __post_init__(self) -> None:
        require(0 < self.scale < math.inf, "scale", "must be a positive number", self.scale)
        for name in ("forced", "nan"):
            value, choices = getattr(self, name), get_args(get_type_hints(ShownScores)[name])
            require(value in choices, name, f"must be one of {', '.join(choices)}", repr(value))


def shown_nan(shown: ShownScores, num_visible_blocks: torch.Tensor) -> Iterator[Violation]:
    """One violation for every row that shows NaN for a visible block, where none is promised.

    num_visible_blocks: [T], 0 for rows that are not judged.
    """
    if shown.nan != "none" or not shown.score.isnan().any():
        return
    block = torch.arange(shown.score.shape[-1], device=shown.score.device)
    is_off = shown.score.isnan() & (block < num_visible_blocks[:, None])
    for head, token in is_off.any(-1).nonzero().tolist():
        sentence = f"block {int(is_off[head, token].nonzero()[0])} scores nan, where -inf is promised"
        yield Violation(SCORE_LAW, sentence, head, token)


def wrong_superblocks(shown: ShownScores, num_visible_blocks: torch.Tensor) -> Iterator[Violation]:
    """One violation for every row with a superblock whose best score is not that of its visible blocks.

    num_visible_blocks: [T], 0 for rows that are not judged.
    NaN counts as -inf; superblocks without a visible block are ignored.
    """
    heads, tokens = shown.score.shape[:2]
    max_visible = int(num_visible_blocks.max()) if len(num_visible_blocks) else 0
    if shown.best is None or max_visible == 0:
        return
    count = -(-max_visible // shown.each)
    block = torch.arange(count * shown.each, device=shown.score.device)
    step = max(1, SCORES_AT_ONCE // (heads * len(block)))
    for start in range(0, tokens, step):
        rows = slice(start, start + step)
        n = num_visible_blocks[rows, None]
        score = torch.full((heads, len(n), len(block)), -torch.inf, dtype=shown.score.dtype, device=block.device)
        score[..., :max_visible] = shown.score[:, rows, :max_visible]
        score = torch.where(block < n, score, -torch.inf).nan_to_num(-torch.inf, torch.inf, -torch.inf)
        expected = score.view(heads, len(n), count, shown.each).amax(-1)
        got = shown.best[:, rows, :count].nan_to_num(-torch.inf, torch.inf, -torch.inf)
        is_off = (got != expected) & (block[:: shown.each] < n)
        for head, token in is_off.any(-1).nonzero().tolist():
            worst = int(is_off[head, token].nonzero()[0])
            given, right = float(got[head, token, worst]), float(expected[head, token, worst])
            sentence = f"superblock {worst} is said to have {given!r} at best, its visible blocks have {right!r}"
            yield Violation(SUPERBLOCK_LAW, sentence, head, start + token)

"""The staged oracle: where a target exposes its scores, was it the scores or the selection?

First stage: every visible score of the target lies inside its interval (`msa_ref.certified`).
Second stage: the selection keeps the row laws exactly, under the total order on the target's own
scores; rounding is no excuse here, because the selection saw exactly these numbers. A row that
passes both is admissible, and a row that is not fails at least one, which says where to look.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch

from msa_ref.batch import PagedBatch
from msa_ref.certified import interval_chunks
from msa_ref.config import require
from msa_ref.contract import Violation, selections, violations, with_reqs
from msa_ref.indexer import MAX_TOKEN_SCORES
from msa_ref.precision import ScoreBound
from msa_ref.profile import CONTRACT, Profile
from msa_ref.score import nan_to_minus_inf

SCORE_LAW = "Score"
"""Name of the first stage's law: every visible block's score lies inside its interval."""


@dataclass(frozen=True)
class Stages:
    """What each stage found. score: law `Score` only; selection: row laws on the target's own scores.

    Each holds at most `max_violations`: a row beyond them is not blamed.
    """

    score: list[Violation]
    selection: list[Violation]

    def blame(self, head: int, token: int) -> Literal["scores", "selection", "both", "neither"]:
        """Which stage a row fails; "neither" makes the row admissible, whatever set it holds."""
        row = (head, token)
        is_score, is_selection = (
            any((violation.head, violation.token) == row for violation in found)
            for found in (self.score, self.selection)
        )
        if is_score and is_selection:
            return "both"
        return "scores" if is_score else "selection" if is_selection else "neither"


def stages(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    score: torch.Tensor,
    bound: ScoreBound | None = None,
    max_token_scores: int = MAX_TOKEN_SCORES // 4,
    profile: Profile = CONTRACT,
    max_violations: int = 1000,
) -> Stages:
    """Judge a target's scores and its selection apart.

    Args:
        batch: a valid batch.
        topk_idx: [H, T, K] int32, the answer, or [T, H, K] if the profile says so.
        score: [H, T, N] floating point, the block scores that the target selected by; any strides.
            Blocks that a row does not see are ignored, NaN counts as -inf.
        bound: what the target's arithmetic may lose; by default what any unit for this dtype may.
        profile: the promises it is held to.
        max_violations: how many of each stage to put into words.

    Raises:
        ValueError: if topk_idx or score is no such tensor.
    """
    shape = (batch.config.num_index_heads, batch.total_q)
    is_shaped = score.ndim == 3 and tuple(score.shape[:2]) == shape
    require(is_shaped, "score", f"must be [H, T, N] with H, T = {', '.join(map(str, shape))}", list(score.shape))
    require(score.is_floating_point(), "score", "must be floating point", score.dtype)
    num_visible_blocks = batch.num_visible_blocks()
    most = int(num_visible_blocks.max()) if batch.total_q else 0
    require(score.shape[-1] >= most, "score", f"must cover the {most} visible blocks", f"N = {score.shape[-1]}")

    off = islice(_off_scores(batch, score, num_visible_blocks, bound, max_token_scores), max_violations)

    step = max(1, max_token_scores // max(1, shape[0] * most * batch.config.block_size))
    chunks = (slice(first, min(first + step, batch.total_q)) for first in range(0, batch.total_q, step))
    exact = ((rows, own := _own(score[:, rows, :most]), own) for rows in chunks)
    wrong = (
        violation
        for rows, selection in selections(batch, topk_idx, exact, max_token_scores, profile)
        for violation in violations(selection, first_token=rows.start)
    )
    return Stages(list(with_reqs(batch, off)), list(with_reqs(batch, islice(wrong, max_violations))))


def _off_scores(
    batch: PagedBatch,
    score: torch.Tensor,
    num_visible_blocks: torch.Tensor,
    bound: ScoreBound | None,
    max_token_scores: int,
) -> Iterator[Violation]:
    """The first stage: one violation for every row with a visible score outside its interval."""
    for rows, lower, upper in interval_chunks(batch, bound, max_token_scores):
        own = _own(score[:, rows, : lower.shape[-1]])
        is_visible = torch.arange(lower.shape[-1], device=own.device) < num_visible_blocks[rows, None]
        is_off = is_visible & ~((lower <= own) & (own <= upper))
        for head, token in is_off.any(-1).nonzero().tolist():
            blocks = is_off[head, token].nonzero().flatten().tolist()
            low, got, high = (float(tensor[head, token, blocks[0]]) for tensor in (lower, own, upper))
            sentence = f"block {blocks[0]} scores {got!r}, outside [{low!r}, {high!r}]; {len(blocks)} such blocks"
            yield Violation(SCORE_LAW, head, rows.start + token, sentence)


def _own(score: torch.Tensor) -> torch.Tensor:
    """A copy of the target's scores that can be ranked: float64, NaN as -inf."""
    return nan_to_minus_inf(score.to(torch.float64, copy=True))

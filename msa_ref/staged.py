"""The staged oracle: judges the scores that a target exposes, and its selection on them, apart.

First stage: every visible score of the target lies inside its interval (`msa_ref.certified`).
Second stage: the selection keeps the row laws exactly, under the total order on the target's own
scores; rounding is no excuse here, because the selection saw exactly these numbers. A row that
passes both is admissible, and a row that is not fails at least one, which says where to look.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch

from msa_ref.batch import PagedBatch
from msa_ref.certified import bound_of, interval_chunks
from msa_ref.config import require
from msa_ref.contract import Violation, selections, violations, with_reqs
from msa_ref.indexer import MAX_TOKEN_SCORES
from msa_ref.precision import ScoreBound, scaled
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rows import Selection

SCORE_LAW = "Score"
"""Name of the first stage's law: every visible block's score lies inside its interval."""


@dataclass(frozen=True)
class Stages:
    """The findings of each stage. score: law `Score` only; selection: row laws on the target's own scores.

    Each holds at most `max_violations`: a row beyond them is not blamed.
    """

    score: list[Violation]
    selection: list[Violation]

    def blame(self, head: int, token: int) -> Literal["scores", "selection", "both", "neither"]:
        """The stage that a row fails; "neither" makes the row admissible, whatever set it holds."""
        is_off = (head, token) in {(violation.head, violation.token) for violation in self.score}
        is_wrong = (head, token) in {(violation.head, violation.token) for violation in self.selection}
        if is_off:
            return "both" if is_wrong else "scores"
        return "selection" if is_wrong else "neither"


def stages(
    batch: PagedBatch,
    topk_idx: torch.Tensor,
    score: torch.Tensor,
    bound: ScoreBound | None = None,
    max_token_scores: int = MAX_TOKEN_SCORES // 4,
    profile: Profile = CONTRACT,
    max_violations: int = 1000,
    is_lazy: bool = False,
    scale: float = 1.0,
    are_forced_shown: bool = True,
) -> Stages:
    """Judge a target's scores and its selection apart.

    Args:
        batch: a valid batch.
        topk_idx: [H, T, K] int32, the answer, or [T, H, K] if the profile says so.
        score: [H, T, N] floating point, the block scores that the target selected by; any strides.
            Blocks that a row does not see are ignored, NaN counts as -inf.
        bound: on the error of the target's arithmetic; by default that of the profile's unit.
        profile: the promises it is held to.
        max_violations: how many of each stage to put into words.
        is_lazy: whether rows that see no more blocks than they select may have any scores, or none.
        scale: a positive factor that the scores are multiplied by.
        are_forced_shown: whether forced blocks have their scores, too; else they may hold anything.

    Raises:
        ValueError: if topk_idx or score is no such tensor.
    """
    shape = (batch.config.num_index_heads, batch.total_q)
    is_shaped = score.ndim == 3 and tuple(score.shape[:2]) == shape
    require(is_shaped, "score", f"must be [H, T, N] with H, T = {', '.join(map(str, shape))}", list(score.shape))
    require(score.is_floating_point(), "score", "must be floating point", score.dtype)
    n = batch.max_visible_blocks()
    require(score.shape[-1] >= n, "score", f"must cover the {n} visible blocks", f"N = {score.shape[-1]}")

    bound = bound or bound_of(profile, batch)
    if scale != 1.0:
        bound = scaled(bound)
    off: list[Violation] = []
    wrong: list[Violation] = []
    for rows, bounded in selections(batch, topk_idx, interval_chunks(batch, bound, max_token_scores), profile):
        shown = score[:, rows, : bounded.score.shape[-1]].double() / scale
        own = replace(bounded, score=shown, upper=None)
        is_judged = own.is_visible if are_forced_shown else own.is_visible & ~own.is_forced
        if is_lazy and bounded.upper is not None:  # rows without a choice are judged on the intervals
            is_scored = (own.num_visible_blocks > own.config.topk_blocks)[:, None]
            is_judged = is_judged & is_scored
            own = replace(own, score=shown.where(is_scored, bounded.score), upper=shown.where(is_scored, bounded.upper))
        off += islice(_wrong_scores(bounded, own, rows.start, is_judged), max_violations - len(off))
        wrong += islice(violations(own, rows.start), max_violations - len(wrong))
    return Stages(list(with_reqs(batch, off)), list(with_reqs(batch, wrong)))


def _wrong_scores(bounded: Selection, own: Selection, first_token: int, is_judged: torch.Tensor) -> Iterator[Violation]:
    """The first stage: one violation for every row with a score of its own outside its interval."""
    lower, got, upper = bounded.lowest, own.lowest, bounded.highest
    is_off = is_judged & ~((lower <= got) & (got <= upper))
    for head, token in is_off.any(-1).nonzero().tolist():
        block, *others = is_off[head, token].nonzero().flatten().tolist()
        low, score, high = (float(tensor[head, token, block]) for tensor in (lower, got, upper))
        sentence = f"block {block} scores {score!r}, outside [{low!r}, {high!r}]; {1 + len(others)} such blocks"
        yield Violation(SCORE_LAW, sentence, head, first_token + token)

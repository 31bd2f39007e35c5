"""The right answer at one state of a scene, and every row of a target's answer held against it.

A target that promises the whole contract, on inputs whose sums are exact, must give the reference's bits.
Where sums round, and for targets whose profile promises less, an answer is held against the row laws on
certified intervals instead: a correct kernel is never accused, and every rejected row is impossible.

The reference's answer itself is kept nowhere, so that no target of the process finds it: a digest tells whether an
answer is the same, and one that is not has the reference compute again.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.shown_scores import ShownScores, shown_nan, wrong_superblocks
from msa_ref import block_scores, index_topk, select_blocks
from msa_ref.certified import certify, is_certified
from msa_ref.contract import Violation, violations
from msa_ref.profile import Profile
from msa_ref.rows import ROW_LAWS, Selection, cut
from msa_ref.staged import stages

MAX_EXPLAINED_ROWS = 3
"""Rows of one answer that are explained in full; the others are counted."""


class Truth:
    """The right answer at one state of a scene, and the scores behind it."""

    def __init__(self, scene: Scene, takes_score: bool) -> None:
        """takes_score: whether the target is given the scene's designed scores, instead of queries and keys."""
        self._batch, self._score = scene.batch, scene.score() if takes_score else None
        self.config = scene.case.config
        self.is_exact = takes_score or scene.case.values.made_by.sums_are_exact
        self.num_visible_blocks = self._batch.num_visible_blocks()
        self._max_visible_blocks = int(self.num_visible_blocks.max()) if len(self.num_visible_blocks) else 0
        self.reqs = self._batch.token_reqs()
        self._digest: bytes | None = None

    def expected(self) -> torch.Tensor:
        """[H, T, K] int32, the reference's answer, computed anew."""
        if self._score is None:
            return index_topk(self._batch)
        return select_blocks(self._score.double(), self.num_visible_blocks, self.config)

    def row(self, answer: torch.Tensor, head: int, token: int) -> Selection:
        """One row of an answer with its scores, ready for the row laws."""
        num_visible = self.num_visible_blocks[token : token + 1]
        if self._score is None:
            score = block_scores(self._batch, slice(token, token + 1))[head : head + 1]
        else:
            score = self._score[head : head + 1, token : token + 1, : int(num_visible)].double()
        return Selection(self.config, answer[head : head + 1, token : token + 1], num_visible, score)

    def compare(self, answer: torch.Tensor, profile: Profile) -> tuple[list[Violation], int]:
        """The row laws that an answer breaks, and how many rows have one admissible set.

        answer: [H, T, K], head-major whatever the profile says.
        """
        promises = replace(profile, axes="head-major")
        rows = self.config.num_index_heads * answer.shape[1]
        if self.is_exact and profile.has_one_answer:
            return list(self._wrong_rows(answer)), rows
        if self._score is not None:
            score = self._score[..., : self._max_visible_blocks].double().nan_to_num(-torch.inf, torch.inf, -torch.inf)
            selection = Selection(self.config, answer, self.num_visible_blocks, score, None, promises)
            found, certified = list(violations(selection)), int(is_certified(selection).sum())
        else:
            certificate = certify(self._batch, answer, profile=promises, max_violations=MAX_EXPLAINED_ROWS)
            found, certified = certificate.violations, certificate.num_certified
        return self._first_few(found), certified

    def compare_shown(self, answer: torch.Tensor, shown: ShownScores, profile: Profile) -> list[Violation]:
        """The laws that a target's own scores break; where sums round, also those its selection breaks on them.

        answer, profile: as in `compare`.
        """
        promises = replace(profile, axes="head-major")
        found = stages(
            self._batch,
            answer,
            shown.score,
            profile=promises,
            max_violations=MAX_EXPLAINED_ROWS,
            is_lazy=shown.is_lazy,
            scale=shown.scale,
            are_forced_shown=shown.forced == "scored",
        )
        scored = self.num_visible_blocks
        if shown.is_lazy:
            scored = scored.where(scored > self.config.topk_blocks, 0)
        superblocks = islice(wrong_superblocks(shown, scored), MAX_EXPLAINED_ROWS)
        of_nan = islice(shown_nan(shown, scored), MAX_EXPLAINED_ROWS)
        scores = [row for rows in (found.score, superblocks, of_nan) for row in self._first_few(list(rows))]
        return scores if self.is_exact else scores + self._first_few(found.selection)

    def _first_few(self, found: list[Violation]) -> list[Violation]:
        reqs = self.reqs.tolist()
        return [replace(violation, req=reqs[violation.token]) for violation in found[:MAX_EXPLAINED_ROWS]]

    def _breaks_structure(self, answer: torch.Tensor) -> torch.Tensor:
        """[H, T] bool, rows that break a law that needs no scores. Judged before sets are compared."""
        size = (*answer.shape[:2], self._max_visible_blocks)
        score = torch.zeros((), dtype=torch.float64, device=answer.device).expand(size)
        selection = Selection(self.config, answer, self.num_visible_blocks, score)
        breaks = [law.breaks(selection) for law in ROW_LAWS.values() if not law.needs_scores]
        return torch.stack(breaks).any(0)

    def _wrong_rows(self, answer: torch.Tensor) -> Iterator[Violation]:
        """Every row of an answer against the structure laws and then against the right answer."""
        is_wrong = self._breaks_structure(answer)
        if self._digest != _digest_of(answer):
            expected = self.expected()
            self._digest = _digest_of(expected)
            is_wrong |= (answer != expected).any(-1)
            expected.zero_()  # whoever gets this memory next must not find the answer there
        wrong = is_wrong.nonzero()
        # The broken row with the fewest blocks explains most; among equals the first head, then the first token.
        order = self.num_visible_blocks[wrong[:, 1]].argsort(stable=True)
        for number, (head, token) in enumerate(wrong[order][:MAX_EXPLAINED_ROWS].tolist()):
            req = int(self.reqs[token])
            row = self.row(answer, head, token)
            more = f"; {len(wrong)} of {is_wrong.numel()} rows are wrong" if number == 0 and len(wrong) > 1 else ""
            found = list(violations(row))
            if not found:
                ids = row.topk_idx.flatten().tolist()
                yield Violation("Exact", f"{ids} is not the reference's row{more}", head, token, req)
            for violation in found:
                where = self._pages_at_the_cut(row, req) if ROW_LAWS[violation.law].needs_scores else ""
                text = violation.evidence + where + more
                yield replace(violation, evidence=text, head=head, token=token, req=req)

    def _pages_at_the_cut(self, row: Selection, req: int) -> str:
        worst, best = (int(edge.block) for edge in cut(row))
        table = self._batch.block_table[req]
        return f" (block {worst} lies in page {int(table[worst])}, block {best} in page {int(table[best])})"


def _digest_of(answer: torch.Tensor) -> bytes:
    return hashlib.sha256(answer.cpu().contiguous().numpy().tobytes()).digest()

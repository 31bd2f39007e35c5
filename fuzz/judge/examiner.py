"""The oracle: a target's answer is the reference's, bit for bit, or a law is broken.

That is so for targets that promise the whole contract, on inputs whose sums are exact. Where sums
round, and for targets whose profile promises less, an answer is held against the row laws on
certified intervals instead: a correct kernel is never accused, and every rejected row is impossible.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Protocol

import torch

from fuzz.inputs.poisoned_memory import GarbageWorkspaces
from fuzz.inputs.scene import Scene
from fuzz.inputs.views import OUT_MARKER
from fuzz.judge.replays import play
from fuzz.judge.shown_scores import Shown, off_superblocks
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict, differs, in_splits
from fuzz.values.designed import ROUNDED
from msa_ref import block_scores, index_topk, select_blocks
from msa_ref.certified import certify, is_certified
from msa_ref.contract import ROW_LAWS, Selection, Violation, cut, violations
from msa_ref.profile import CONTRACT, Profile
from msa_ref.staged import stages

MAX_EXPLAINED_ROWS = 3
"""Rows of one answer that are explained in full; the rest is counted."""

RUN_LAWS = {
    "Runs": "A case within its limits runs, without a refusal or an exception.",
    "Shape": "The answer is [H, T, K] int32, and is `out` where `out` is given.",
    "WritesAll": "No element of the answer keeps the marker that was there before the run.",
    "WritesOnly": "Nothing outside the answer's rows is written.",
    "ReadsOnly": "No input changes, the margins of its buffer included.",
    "SplitInvariance": "Every split count gives the same bits.",
    "RepeatDeterminism": "A second run on the same inputs gives the same bits.",
    "Replay": "A run after the buffers' contents changed agrees as the first one did.",
    "GraphIsEager": "A bound target gives the bits of an eager run on the same buffers.",
    "Score": "Every visible block's score that a target shows lies inside its interval, a point where sums are exact.",
    "Superblocks": "The best score of a superblock that a target shows is the best of its visible blocks' own.",
    "Exact": "The answer is the reference's, bit for bit.",
}
"""Laws about whole runs, beside `msa_ref.contract.ROW_LAWS` about rows."""


class Subject(Protocol):
    """What the oracle needs to know about a target."""

    @property
    def takes_score(self) -> bool:
        """Whether the target is given scores, which its answer is then judged on."""

    @property
    def has_splits(self) -> bool:
        """Whether split counts mean anything to it."""

    @property
    def has_replay(self) -> bool:
        """Whether the case's replay script is run: for targets that outlive a change of the buffers."""

    @property
    def profile(self) -> Profile:
        """What it promises."""

    def limits(self, scene: Scene) -> str | None:
        """Why a case is outside the target's profile; None if it is inside."""

    def open(self, scene: Scene, num_splits: int) -> Callable[[], torch.Tensor]:
        """Prepare runs on a scene, whose contents may change between them."""

    @property
    def is_bound(self) -> bool:
        """Whether a run keeps the call that it began with, as a CUDA graph does."""

    def eager(self, scene: Scene, num_splits: int) -> Callable[[], torch.Tensor]:
        """Runs that take everything anew each time."""


class Truth:
    """The right answer at one state of a scene, and the scores behind it."""

    def __init__(self, scene: Scene, takes_score: bool) -> None:
        self._batch, self._score = scene.batch, scene.score() if takes_score else None
        self.config = scene.case.config
        self.is_exact = takes_score or scene.case.values.family not in ROUNDED
        self.num_visible_blocks = self._batch.num_visible_blocks()
        self.reqs = self._batch.token_reqs()
        if self._score is None:
            self.expected = index_topk(self._batch)
        else:
            self.expected = select_blocks(self._score.double(), self.num_visible_blocks, self.config)

    def row(self, answer: torch.Tensor, head: int, token: int) -> Selection:
        """One row of an answer with its scores, ready for the row laws."""
        num_visible = self.num_visible_blocks[token : token + 1]
        if self._score is None:
            score = block_scores(self._batch, slice(token, token + 1))[head : head + 1]
        else:
            score = self._score[head : head + 1, token : token + 1, : int(num_visible)].double()
        return Selection(self.config, answer[head : head + 1, token : token + 1], num_visible, score)

    def hold(self, answer: torch.Tensor, profile: Profile) -> tuple[list[Violation], int]:
        """The row laws that an answer breaks, and how many rows have one admissible set.

        answer: [H, T, K], head-major whatever the profile says.
        """
        promises = replace(profile, axes="head-major")
        rows = self.config.num_index_heads * answer.shape[1]
        if self.is_exact and promises == replace(CONTRACT, name=profile.name):
            return list(judge_rows(self, answer)), rows
        if self._score is not None:
            most = int(self.num_visible_blocks.max()) if len(self.num_visible_blocks) else 0
            score = self._score[..., :most].double().nan_to_num(-torch.inf, torch.inf, -torch.inf)
            selection = Selection(self.config, answer, self.num_visible_blocks, score, None, promises)
            found, certified = list(violations(selection)), int(is_certified(selection).sum())
        else:
            certificate = certify(self._batch, answer, profile=promises, max_violations=MAX_EXPLAINED_ROWS)
            found, certified = certificate.violations, certificate.num_certified
        return self._told(found), certified

    def hold_shown(self, answer: torch.Tensor, shown: Shown, profile: Profile) -> list[Violation]:
        """What a target's own scores break, and where sums round its selection on just these scores. See `hold`."""
        promises = replace(profile, axes="head-major")
        found = stages(
            self._batch,
            answer,
            shown.score,
            profile=promises,
            max_violations=MAX_EXPLAINED_ROWS,
            is_lazy=shown.is_lazy,
        )
        bests = islice(off_superblocks(shown, self.num_visible_blocks), MAX_EXPLAINED_ROWS)
        told = self._told(found.score) + self._told(list(bests))
        return told if self.is_exact else told + self._told(found.selection)

    def _told(self, found: list[Violation]) -> list[Violation]:
        reqs = self.reqs.tolist()
        return [replace(violation, req=reqs[violation.token]) for violation in found[:MAX_EXPLAINED_ROWS]]

    def structure(self, answer: torch.Tensor) -> torch.Tensor:
        """[H, T] bool, rows that break a law that needs no scores. Judged before sets are compared."""
        most = int(self.num_visible_blocks.max()) if len(self.num_visible_blocks) else 0
        score = torch.zeros((), dtype=torch.float64, device=answer.device).expand(*answer.shape[:2], most)
        selection = Selection(self.config, answer, self.num_visible_blocks, score)
        breaks = [law(selection) for name, law in ROW_LAWS.items() if name != "Best"]
        return torch.stack(breaks).any(0)


def judge_rows(truth: Truth, answer: torch.Tensor) -> Iterator[Violation]:
    """Every row of an answer against the structure laws and then against the right answer."""
    differs = (answer != truth.expected).any(-1)
    is_wrong = differs | truth.structure(answer)
    wrong = is_wrong.nonzero()
    # The broken row with fewest blocks explains most; first of each head comes first otherwise.
    order = truth.num_visible_blocks[wrong[:, 1]].argsort(stable=True)
    for number, (head, token) in enumerate(wrong[order][:MAX_EXPLAINED_ROWS].tolist()):
        req = int(truth.reqs[token])
        row = truth.row(answer, head, token)
        found = list(violations(row))
        more = f"; {len(wrong)} of {is_wrong.numel()} rows are wrong" if number == 0 and len(wrong) > 1 else ""
        for violation in found:
            where = _pages(truth, row, req) if violation.law == "Best" else ""
            yield replace(violation, evidence=violation.evidence + where + more, token=token, head=head, req=req)
        if not found:
            yield Violation(
                "Exact", f"{row.topk_idx.flatten().tolist()} is not the reference's row{more}", head, token, req
            )


def _pages(truth: Truth, row: Selection, req: int) -> str:
    worst, best = (int(edge.block) for edge in cut(row))
    table = truth._batch.block_table[req]
    return f" (block {worst} lies in page {int(table[worst])}, block {best} in page {int(table[best])})"


class Examiner:
    """Judges targets on one scene; the right answers are computed once per state, after a target ran."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._truths: dict[tuple[int, bool], Truth] = {}

    def truth(self, takes_score: bool = False) -> Truth:
        """The right answer at the scene's present state."""
        key = (self.scene.state, takes_score)
        if key not in self._truths:
            self._truths[key] = Truth(self.scene, takes_score)
        return self._truths[key]

    def examine(self, target: Subject) -> Verdict:
        """Run a target on everything that the case asks for and hold each run against the laws."""
        reason = target.limits(self.scene) or self._outside(target)
        if reason is not None:
            return Undefined(reason)
        case, violations, runs = self.scene.case, list[Violation](), 0
        self._certified = 0
        # Without a rule for ties, or for the order, two right answers need not be the same bits.
        is_one_answer = target.profile.tie_rule == "lowest-id" and target.profile.order == "ascending"
        first: torch.Tensor | None = None
        for number, num_splits in enumerate(case.num_splits if target.has_splits else (0,)):
            self.scene.apply(0)
            if target.takes_score:
                self.scene.score()  # out here: what the harness raises is no finding about the target
            try:
                run = target.open(self.scene, num_splits)
                answer, found = self.run(run, target, num_splits)
                runs += 1
                if is_one_answer and answer is not None and first is not None:
                    found += differs(self.scene, "SplitInvariance", in_splits(case.num_splits[0]), first, answer)
                first = first if first is not None else answer
                if number == 0:
                    for _ in range(case.repeats):
                        again, more = self.run(run, target, num_splits)
                        runs += 1
                        found += more
                        if is_one_answer and answer is not None and again is not None:
                            found += differs(self.scene, "RepeatDeterminism", "the first run", answer, again)
                violations += [replace(violation, num_splits=num_splits) for violation in found]
                if number == 0 and target.has_replay:
                    told, played = play(self, target, run, num_splits, answer, not found)
                    violations += told
                    runs += played
            except Exception as error:
                # Whatever a target raises is a finding about it; nothing of the oracle's own is in reach.
                failed = _failed(error)
                violations.append(replace(failed, num_splits=num_splits, state=self.scene.state))
                if failed.how == "cuda error":
                    break
        rows = runs * case.config.num_index_heads * case.total_q
        certified = self._certified
        return Broke(tuple(violations), rows, certified) if violations else Agreed(rows, certified)

    def _outside(self, target: Subject) -> str | None:
        """Why the target's profile promises nothing for the case, at any state that it is run at."""
        if target.profile == CONTRACT:
            return None
        for state in range(len(self.scene.case.states) if target.has_replay else 1):
            self.scene.apply(state)
            outside = target.profile.undefined(self.scene.batch)
            if outside is not None:
                return outside
        return None

    def run(
        self, run: Callable[[], torch.Tensor], target: Subject, num_splits: int
    ) -> tuple[torch.Tensor | None, list[Violation]]:
        """One run: its answer (a copy; None if it has the wrong shape) and the laws it broke."""
        scene, config = self.scene, self.scene.case.config
        out, scene.shown = scene.new_out(), None
        with GarbageWorkspaces(scene.case.pages.tail):
            answer = run()
        violations = []
        changed = scene.changed_inputs()
        if changed:
            violations.append(Violation("ReadsOnly", f"changed {', '.join(changed)}"))
            scene.apply(scene.state, is_forced=True)
        outside = scene.written_outside()
        if outside:
            violations.append(Violation("WritesOnly", f"wrote {outside} elements outside the answer's rows"))
        shape = (config.num_index_heads, scene.case.total_q, config.topk_blocks)
        if out is not None:
            answer = out[:, : scene.case.total_q]
        elif isinstance(answer, torch.Tensor) and answer.dim() == 3:
            answer = target.profile.head_major(answer)
        if not isinstance(answer, torch.Tensor) or answer.dtype != torch.int32 or tuple(answer.shape) != shape:
            got = f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, torch.Tensor) else repr(answer)
            return None, [*violations, Violation("Shape", f"answered {got}, not int32 {list(shape)}")]
        answer = answer.clone(memory_format=torch.contiguous_format)
        unwritten = (answer == OUT_MARKER).nonzero()
        if len(unwritten):
            head, token, slot = unwritten[0].tolist()
            req = int(scene.batch.token_reqs()[token])
            text = f"left {len(unwritten)} elements unwritten, first slot {slot}"
            violations.append(Violation("WritesAll", text, head, token, req))
        found, certified = self.truth(target.takes_score).hold(answer, target.profile)
        self._certified += certified
        if scene.shown is not None:
            found = self.truth(target.takes_score).hold_shown(answer, scene.shown, target.profile) + found
        return answer, violations + found


def _failed(error: Exception) -> Violation:
    """The violation of a target that raised in place of an answer."""
    lines = str(error).strip().splitlines()
    # torch and Triton name a fault of the GPU each in its own way: whichever is first to ask the driver after it.
    if "CUDA error" in str(error) or "Triton Error [CUDA]" in str(error):
        how = "cuda error"
    else:
        how = "memory" if isinstance(error, MemoryError | torch.OutOfMemoryError) else "raised"
    return Violation("Runs", f"{type(error).__name__}: {lines[0] if lines else ''}", how=how)

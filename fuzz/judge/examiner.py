"""Runs a target on everything that a case asks for, and comes to a verdict."""

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.company import play_in_company
from fuzz.judge.cuda_errors import is_cuda_error, surfaced_later, wait_for
from fuzz.judge.endurance import MAX_JUDGED, endure, hurry
from fuzz.judge.judged_run import RunJudge
from fuzz.judge.lacking import lacking_here
from fuzz.judge.large_calls import too_slow, within_reach
from fuzz.judge.memory_lack import excuse
from fuzz.judge.refusals import refusals
from fuzz.judge.replays import First, play
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.truth import Truth
from fuzz.judge.two_threads import call_at_once
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict, is_poisoned
from fuzz.targets import NotApplicable, Target
from msa_ref.contract import Violation
from msa_ref.profile import CONTRACT


class Examiner:
    """Judges one target after another on one scene."""

    def __init__(self, scene: Scene, surroundings: Surroundings | None = None) -> None:
        """surroundings: of the targets of this process; by default, of those of this examiner."""
        self.scene, self._surroundings = scene, surroundings or Surroundings()
        self._truths: dict[tuple[int, bool], Truth] = {}

    def examine(self, target: Target) -> Verdict:
        """Run a target on everything that the case asks for and hold each run against the laws.

        It ends when the GPU has done what the target gave it: a CUDA error that surfaces until then is the target's,
        whoever's code asks.
        """
        judge, found = RunJudge(self.scene, self._truths), list[Violation]()
        try:
            verdict = self._examined(target, judge, found)
            if not is_poisoned(verdict):
                wait_for(self.scene.device)
            return verdict
        except Exception as error:
            lack = excuse(error, self.scene.device)
            if lack is not None and not found:
                return Undefined(lack, lacks_memory=True)
            if lack is None and not is_cuda_error(error):
                raise
            if lack is None:
                found.append(surfaced_later(error))
            return Broke(tuple(found), judge.rows, judge.certified)

    def _examined(self, target: Target, judge: RunJudge, found: list[Violation]) -> Verdict:
        """The verdict, by the runs and by what they left behind."""
        late = self._surroundings.late_writes(target.name)
        self.scene.forget_out()  # whoever writes there later writes to nobody else's
        verdict = self._verdict(target, judge, found)
        if not is_poisoned(verdict):  # else nothing on the GPU can be asked any more
            self._surroundings.keep_output(target.name, self.scene.output)
        left = (*late, *self._surroundings.violations())
        if not left or isinstance(verdict, Undefined):
            return verdict
        before = verdict.violations if isinstance(verdict, Broke) else ()
        return Broke(before + left, verdict.rows, verdict.certified)

    def _verdict(self, target: Target, judge: RunJudge, found: list[Violation]) -> Verdict:
        """The verdict by the runs themselves, whatever they left behind. found: takes each violation at once."""
        reason = target.limits(self.scene.case, self.scene.device.type) or self._outside(target)
        if reason is not None:
            return Undefined(reason)
        plain, target = target, self._surroundings.around(target)
        slow = too_slow(self.scene, target)
        if slow is not None:
            return Undefined(slow)
        first: torch.Tensor | None = None
        for number, num_splits in enumerate(target.split_counts(self.scene.case, self.scene.device.type)):
            self.scene.apply(0)
            if target.takes_score:
                self.scene.score()  # outside the `try`: a harness error must not be blamed on the target
            try:
                with within_reach(self.scene, target):
                    answer = self._examine_split(judge, target, plain, num_splits, number == 0, found)
                if target.is_repeatable:
                    than = _splits_in_words(self.scene.case.num_splits[0])
                    found += judge.differing("SplitInvariance", than, first, answer, num_splits)
                first = answer if first is None else first
            except NotApplicable as refusal:
                if found:  # what broke before stays broken
                    break
                return Undefined(str(refusal))
            except Exception as error:
                lacking, lacks_memory = lacking_here(error), excuse(error, self.scene.device)
                if (lacking or lacks_memory) and not found:
                    return Undefined(lacking or lacks_memory or "", lacks_memory is not None)
                if lacks_memory is not None:  # what broke before stays broken
                    break
                # Any exception here is the target's, and a finding: the harness's own work is outside of the `try`.
                found.append(judge.failure(error, target, num_splits))
                if found[-1].how == "cuda error":
                    break
        found += judge.left[:1]
        if not found:  # what is wrong on good calls is reason enough
            found += refusals(self.scene, target)
        return (
            Broke(tuple(found), judge.rows, judge.certified)
            if found
            else Agreed(judge.rows, judge.certified, judge.calls)
        )

    def _examine_split(
        self, judge: RunJudge, target: Target, plain: Target, num_splits: int, is_first: bool, found: list[Violation]
    ) -> torch.Tensor | None:
        """The answer at one split count; at the first of them, repeats and the replay script too.

        plain: the target without its surroundings.
        found: the list that takes each violation at once, so that an exception loses none.
        """
        before = len(found)
        run = target.open(self.scene, num_splits, judge.show)
        answer, broken = judge.run(run, target, num_splits)
        is_settled = judge.is_settled
        found += broken
        repeats = min(MAX_JUDGED, max(self.scene.case.repeats, bool(self.scene.case.first_mode)))
        # A user does not ask for scores: neither do repeats of what takes everything anew each time.
        unasked = run if target.is_bound or target.start is not None else target.eager(self.scene, num_splits)
        for _ in range(repeats if is_first else 0):
            again, broken = judge.run(unasked, target, num_splits)
            found += broken
            if target.is_repeatable:
                found += judge.differing("RepeatDeterminism", "the first run", answer, again, num_splits)
        if is_first:
            if answer is not None and len(found) == before:
                found += endure(judge, target, run, num_splits, answer)
                found += () if len(found) > before else hurry(judge, plain, self._surroundings, num_splits, answer)
                found += call_at_once(judge, plain, self._surroundings, num_splits, answer)
            expected = answer if target.is_repeatable else None
            found += play_in_company(judge, target, run, num_splits, expected, is_sound=len(found) == before)
        if is_first and target.has_replay:
            found += play(judge, target, run, num_splits, First(answer, len(found) == before, is_settled))
        return answer

    def _outside(self, target: Target) -> str | None:
        """The reason why a state of the case is outside the profile; None if every state that is run is inside."""
        told = target.outside(self.scene.case)
        if told is not None or target.profile == CONTRACT:
            return told
        for state in range(len(self.scene.case.states) if target.has_replay else 1):
            self.scene.apply(state)
            outside = target.profile.undefined(self.scene.batch, self.scene.score() if target.takes_score else None)
            if outside is not None:
                return outside
        return None


def _splits_in_words(num_splits: int) -> str:
    return f"num_splits {num_splits}" if num_splits else "its own split count"

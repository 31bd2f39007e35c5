"""The trial of one planted defect: case after case in a process of its own, until one kills it."""

import time
from dataclasses import dataclass, replace

from fuzz.canaries import Defect
from fuzz.cases.case import Case
from fuzz.cases.replay_words import case_in_words
from fuzz.cases.simplify import shrink
from fuzz.isolation.messages import DOES_NOT_FIT, Question, Task
from fuzz.isolation.worker import ChildEnded, HarnessError, Worker
from fuzz.judge.run_laws import RUN_LAWS
from fuzz.judge.shown_scores import SUPERBLOCK_LAW
from fuzz.judge.verdict import Broke, Verdict
from fuzz.scoring.scoreboard import Fate
from fuzz.scoring.tier import Tier
from fuzz.targets import Target
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from msa_ref.staged import SCORE_LAW

MAX_BROKEN_CASES = 4
"""Broken cases after which a trial no longer waits for a law that names the defect."""


@dataclass(frozen=True)
class Patience:
    """Limits of one trial.

    hangs_after: seconds for one case. gives_up_after: seconds for all of a gate's cases; 0 for no limit.
    is_first_enough: whether any broken law ends the trial; else it waits for a law that names the defect.
    shrink_seconds: for shrinking the case that killed it.
    """

    hangs_after: float = 90.0
    gives_up_after: float = 0.0
    is_first_enough: bool = False
    shrink_seconds: float = 0.0


def try_defect(defect: Defect, tier: Tier, patience: Patience, worker: Worker) -> Fate:
    """The fate of one defect, judged by a worker that no other defect uses: a broken kernel may write anywhere."""
    start = time.perf_counter()
    fate = _Trial(defect, tier, patience, worker).outcome(start)
    if fate.status == "survived" and defect.equivalent:
        fate = replace(fate, status="equivalent", evidence=defect.equivalent)
    return replace(fate, seconds=round(time.perf_counter() - start, 1))


class _Trial:
    """One defect against a tier's cases."""

    def __init__(self, defect: Defect, tier: Tier, patience: Patience, worker: Worker) -> None:
        self._defect, self._tier, self._patience, self._worker = defect, tier, patience, worker
        self._name, self._named = tier.name_of(defect), set(defect.laws)

    def outcome(self, start: float) -> Fate:
        """The fate of the defect, whose time began at `start`.

        A failure outside of the target says nothing about a defect, which then stays unfinished unless it is dead
        already.
        """
        budget = self._tier.budget or self._patience.gives_up_after
        fate, num_broken = Fate.of(self._defect, "survived"), 0
        for case in self._tier.cases_for(self._defect.target, self._defect.needs):
            is_alive = fate.status == "survived"
            if budget and time.perf_counter() - start > budget:
                # Random cases have no end, so a defect that outlives their time has survived; the gate's cases end.
                return replace(fate, status="unfinished") if is_alive and not self._tier.seconds else fate
            try:
                verdict = self._verdict(case)
            except HarnessError as error:
                evidence = f"the harness failed: {error}"
                return replace(fate, status="unfinished", evidence=evidence) if is_alive else fate
            if verdict == DOES_NOT_FIT:
                continue
            fate = replace(fate, cases=fate.cases + is_alive)
            if isinstance(verdict, Broke):
                num_broken += 1
                fate = self._broken(fate, case, verdict)
                is_enough = self._patience.is_first_enough or num_broken == MAX_BROKEN_CASES
                if fate.is_named or is_enough or _has_ended(verdict):
                    return fate
        return fate

    def _verdict(self, case: Case) -> Verdict:
        """The verdict on one case. The defect counts as the cause of any end of the process, even between two cases."""
        try:
            ((_, verdict, _),) = self._worker.judge(Task(case, (self._name,), self._tier.device)).verdicts
        except ChildEnded as end:
            return Broke((end.violation,), rows=0)
        return Broke(tuple(self._worker.idle_ends), rows=0) if self._worker.idle_ends else verdict

    def _broken(self, fate: Fate, case: Case, verdict: Broke) -> Fate:
        """A fate after a case that the defect broke."""
        laws = {one.law: str(one) for one in verdict.violations}
        is_asked = not (self._patience.is_first_enough or _has_ended(verdict) or self._named & laws.keys())
        if is_asked and self._named & BATCH_LAWS.keys():
            question = Question(case, self._name, self._tier.device, verdict.violations[0])
            laws |= {one.law: str(one) for one in self._worker.diagnose(question)}
        named = [law for law in laws if law in self._named]
        is_by_process = any(one.how in ("crash", "hang") for one in verdict.violations)
        if fate.status == "killed":
            # After its first broken law a defect may well end its process: that adds no law.
            return fate if is_by_process else replace(fate, laws=tuple(dict.fromkeys([*fate.laws, *named])))
        law = (named or list(laws))[0]
        if self._patience.shrink_seconds and not _has_ended(verdict):
            case = self._shrunk(case, law)
        return replace(
            fate,
            status="killed",
            laws=tuple(laws),
            oracle="process" if is_by_process else oracle(law, case, self._defect.target),
            case=case_in_words(case),
            evidence=laws[law],
        )

    def _shrunk(self, case: Case, law: str) -> Case:
        """The smallest case that was found, within the time for it, to break the same law."""
        deadline = time.perf_counter() + self._patience.shrink_seconds

        def still_breaks(smaller: Case) -> bool:
            try:
                found = self._worker.violations(smaller, self._name, self._tier.device)
            except HarnessError:
                return False
            return law in {one.law for one in found}

        return shrink(case, still_breaks, deadline)


def _has_ended(verdict: Broke) -> bool:
    return any(one.has_ended_process for one in verdict.violations)


def oracle(law: str, case: Case, target: Target) -> str:
    """The oracle that tells that a law is broken."""
    if law in BATCH_LAWS:
        return "between runs"
    if law in (SCORE_LAW, SUPERBLOCK_LAW):
        return "staged"
    if law in RUN_LAWS and law != "Exact":
        return "whole run"
    if law in ROW_LAWS and not ROW_LAWS[law].needs_scores:
        return "structure"
    return "staged" if target.takes_score else "exact" if case.values.made_by.sums_are_exact else "certified"

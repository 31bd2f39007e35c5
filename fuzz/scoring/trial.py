"""The process that one planted defect is judged in: case after case, until one kills it."""

import fcntl
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import torch

from fuzz.cases.case import Case
from fuzz.cases.simplify import shrink
from fuzz.inputs.scene import Scene
from fuzz.isolation.worker import settle_child
from fuzz.judge.between_runs import diagnose
from fuzz.judge.examiner import Examiner
from fuzz.judge.run_laws import RUN_LAWS
from fuzz.judge.shown_scores import SUPERBLOCK_LAW
from fuzz.judge.verdict import Broke, Verdict, is_out_of_memory, is_poisoned
from fuzz.scoring.scoreboard import Fate
from fuzz.scoring.tier import Tier
from fuzz.targets import Target, find
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from msa_ref.staged import SCORE_LAW

MAX_BROKEN_CASES = 4
"""Broken cases after which a defect has died by other laws than the ones named."""


MOST_WAITED = 20.0
"""Seconds for others to be done with far pages; then the case is left out."""
MAX_KEPT_BYTES = 2**31
"""GPU memory that a child may keep cached between cases: a dozen others want some, too."""


class Limits(Protocol):
    """What the child needs to know of `fuzz.scoring.trials.Patience`."""

    @property
    def gives_up_after(self) -> float: ...
    @property
    def is_first_enough(self) -> bool: ...
    @property
    def shrink_seconds(self) -> float: ...


def live(
    start: Fate, tier: Tier, limits: Limits, needs: tuple[str, ...], folder: str, gpu: str, pipe: Connection
) -> None:
    """Judge case after case, report after each one, and end with None. gpu: the one to use, where there are any.

    What fails outside of the target says nothing about the defect: it is left unfinished.
    """
    settle_child(folder)
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        for fate in _fates(start, tier, limits, needs, folder):
            pipe.send(fate)
            start = fate
    except Exception:
        told = traceback.format_exc(limit=-1).strip().splitlines()[-1]
        if start.status != "killed":
            pipe.send(replace(start, status="unfinished", evidence=f"the harness failed: {told}"))
    pipe.send(None)


def _fates(start: Fate, tier: Tier, limits: Limits, needs: tuple[str, ...], folder: str) -> Iterator[Fate]:
    """What is known after each case; the last one is what became of it."""
    target = find(f"fuzz.canaries:{start.name}")
    began, number, broken = time.perf_counter(), 0, 0
    budget = tier.budget or limits.gives_up_after
    first: Fate | None = None
    for case in tier.cases_for(target, needs):
        if budget and time.perf_counter() - began > budget:
            if first is None:
                # Random cases have no end: to outlive their time is to survive. The gate's have one.
                yield replace(start, status="survived" if tier.seconds else "unfinished", cases=number, case="")
            return
        if first is None:
            yield replace(start, cases=number, case=in_words(case))  # should this one end the process
        verdict = _judge(case, target, tier.device, folder)
        if verdict is None:
            continue
        number += 1
        if isinstance(verdict, Broke):
            broken += 1
            laws = {violation.law: str(violation) for violation in verdict.violations}
            is_asked = not (limits.is_first_enough or is_poisoned(verdict) or set(laws) & set(start.expected))
            if is_asked and set(start.expected) & set(BATCH_LAWS):
                laws |= {b.law: str(b) for b in diagnose(case, target, tier.device, verdict.violations[0])}
            named = [law for law in laws if law in start.expected]
            if first is None:
                law = (named or list(laws))[0]
                if limits.shrink_seconds and not is_poisoned(verdict):
                    case = _shrunk(case, law, target, tier.device, limits.shrink_seconds)
                first = replace(
                    start,
                    status="killed",
                    laws=tuple(laws),
                    cases=number,
                    oracle=oracle(law, case, target),
                    case=in_words(case),
                    evidence=laws[law],
                )
            if named:
                first = replace(first, laws=first.laws + tuple(set(named) - set(first.laws)))
            yield first
            if named or limits.is_first_enough or is_poisoned(verdict) or broken == MAX_BROKEN_CASES:
                return
        elif first is None:
            yield replace(start, cases=number, case="")


def _judge(case: Case, target: Target, device: str, folder: str) -> Verdict | None:
    """A verdict, or None where the case does not fit the memory that others leave."""
    if device == "cpu":
        return Examiner(Scene(case, device)).examine(target)
    with _far_turn(folder) if case.pages.is_far else nullcontext(True) as is_free:
        for is_last in (False, True) if is_free else ():
            verdict: Verdict | None = None
            with suppress(torch.OutOfMemoryError):
                verdict = Examiner(Scene(case, device)).examine(target)
            if verdict is not None and (is_last or not is_out_of_memory(verdict)):
                if not is_poisoned(verdict) and torch.cuda.memory_reserved() > MAX_KEPT_BYTES:
                    torch.cuda.empty_cache()
                return verdict
            torch.cuda.empty_cache()
            time.sleep(1.0)  # memory that others hold is not the target's fault: once more, a little later
    return None


@contextmanager
def _far_turn(folder: str) -> Iterator[bool]:
    """Whether it is this process's turn to judge far pages on its GPU.

    A lock on a file goes with a process that is killed. Nobody waits so long that it would look like a hang.
    """
    deadline = time.perf_counter() + MOST_WAITED
    with (Path(folder) / f"far-turn-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.perf_counter() > deadline:
                    yield False
                    return
                time.sleep(0.1)
            else:
                yield True
                return


def _shrunk(case: Case, law: str, target: Target, device: str, seconds: float) -> Case:
    """A smaller case that breaks the same law, as far as so many seconds go."""
    deadline = time.perf_counter() + seconds

    def still_breaks(smaller: Case) -> bool:
        verdict = Examiner(Scene(smaller, device)).examine(target)
        return isinstance(verdict, Broke) and law in {violation.law for violation in verdict.violations}

    return shrink(case, still_breaks, deadline)


def oracle(law: str, case: Case, target: Target) -> str:
    """Which oracle tells that a law is broken."""
    if law in BATCH_LAWS:
        return "between runs"
    if law in (SCORE_LAW, SUPERBLOCK_LAW):
        return "staged"
    if law in RUN_LAWS and law != "Exact":
        return "whole run"
    if law in ROW_LAWS and not ROW_LAWS[law].needs_scores:
        return "structure"
    return "staged" if target.takes_score else "exact" if case.values.made_by.sums_are_exact else "certified"


def in_words(case: Case) -> str:
    """A case in a few words."""
    config = case.config
    lens = ", ".join(f"{r.query_len} of {r.seq_len}" for r in case.requests[:4])
    more = f" and {len(case.requests) - 4} more" if len(case.requests) > 4 else ""
    size = f"H {config.num_index_heads}, D {config.index_head_dim}, S {config.block_size}, K {config.topk_blocks}"
    steps = f", {len(case.replay)} replays" if case.replay else ""
    forced = f"init {config.init_blocks}, local {config.local_blocks}"
    return f"{size}, {forced}; tokens {lens}{more}; {case.values.family}{steps}"

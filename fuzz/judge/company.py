"""Runs a target in company: what it answers alone, it answers beside a late producer or another stream's noise.

Only a GPU has streams. On a CPU a late producer changes nothing, and noise is a thread's.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from fuzz.judge.judged_run import RunJudge
from fuzz.targets import Target
from fuzz.targets.target import Bound
from msa_ref.contract import Violation


class CompanyLaw(NamedTuple):
    """A law about runs in company: its name in `fuzz.judge.run_laws`, the company in words, and the number of runs."""

    name: str
    words: str
    runs: int


COMPANY_LAWS = {
    "late producer": CompanyLaw("OwnStream", "a late producer", 1),
    "noise": CompanyLaw("Undisturbed", "another's noise", 3),  # a race does not show in each run
}
"""`Case.beside` -> the law about it."""


def play_in_company(
    judge: RunJudge, target: Target, run: Bound, num_splits: int, alone: torch.Tensor | None, is_sound: bool
) -> Iterator[Violation]:
    """The violations of runs in the company that a case asks for; none where it asks for none.

    Args:
        run: from `target.open`; it has run at state 0, so that nothing is left to compile.
        alone: its answer there; None for a target whose right answers may differ in bits.
        is_sound: whether that answer broke no law.
    """
    beside = judge.scene.case.beside
    if not beside or (beside == "late producer" and judge.scene.device.type == "cpu"):
        return
    law = COMPANY_LAWS[beside]
    for _ in range(law.runs):
        answer, found = judge.run(run, target, num_splits, beside)
        if found and is_sound:
            evidence = f"broke {found[0].law} only beside {law.words}"
            found.insert(0, replace(found[0], law=law.name, evidence=evidence))
        else:
            found += judge.differing(law.name, "the run alone", alone, answer, num_splits)
        yield from found
        if found:
            break

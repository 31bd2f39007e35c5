"""Diagnosis of a case that broke, by the laws between runs.

The exact oracle says *that* a row is wrong. An answer that changes with the poison has read memory that
it must not read; one that changes with the company of a request leaks between requests. `msa_ref.laws`
asks this of any callable.
"""

from collections.abc import Collection
from dataclasses import replace

import torch

from fuzz.cases.case import Case
from fuzz.cases.large import is_large
from fuzz.inputs.scene import Scene
from fuzz.inputs.workspace import Workspace
from fuzz.targets import Call, NotApplicable, Target
from fuzz.targets.target import applied
from msa_ref import PagedBatch
from msa_ref.contract import Violation
from msa_ref.laws import BATCH_LAWS, Run
from msa_ref.profile import CONTRACT


def diagnose(
    case: Case, target: Target, device: torch.device | str, broken: Violation, laws: Collection[str] = tuple(BATCH_LAWS)
) -> list[Violation]:
    """The laws between runs that a target breaks on a batch where it broke a law already: `broken`.

    Targets that are given scores are left out, because the laws are about queries and keys. The laws compare answers
    bit by bit: a target that promises less than the contract is asked where sums are exact and leave it one answer.
    Large cases are left out on a CPU, which would run dozens of related batches for minutes.
    """
    if torch.device(device).type == "cpu" and is_large(case):
        return []
    asked = [law for name, law in BATCH_LAWS.items() if name in laws]
    has_one_answer = target.profile.has_one_answer and case.values.made_by.sums_are_exact
    if not asked or target.takes_score or not (target.profile == CONTRACT or has_one_answer):
        return []
    scene = Scene(case, device)
    scene.apply(broken.state)

    run = as_run(case, target, broken.num_splits)
    found = []
    for law in asked:
        try:
            violation = next(iter(law.breaks(scene.batch, run)), None)
        except Exception:
            # The examiner has reported what the target raises; a law that cannot finish says nothing.
            continue
        if violation is not None:
            found.append(replace(violation, num_splits=broken.num_splits, state=broken.state))
    return found


def as_run(case: Case, target: Target, num_splits: int) -> Run:
    """A target as a function of a batch, as the laws between runs call it: a fresh call each time.

    Raises:
        NotApplicable: if the target does not take the batch.
    """
    profile = target.profile

    def run(batch: PagedBatch) -> torch.Tensor:
        outside = None if profile == CONTRACT else profile.undefined(batch)
        if outside is not None:
            raise NotApplicable(outside)
        shape = (batch.config.num_index_heads, batch.total_q, batch.config.topk_blocks)
        out = torch.empty(shape, dtype=torch.int32, device=batch.device) if case.views.is_out_given else None
        call = Call.of(batch, None if out is None else profile.head_major(out))
        call = replace(call, num_splits=num_splits or None)
        with torch.no_grad():
            answer = applied(target.run(target.with_workspace(call, lambda size: _workspace(size, batch.device))))
        return profile.head_major(answer) if out is None else out

    return run


def _workspace(num_bytes: int, device: torch.device) -> torch.Tensor:
    return Workspace(num_bytes, device).tensor

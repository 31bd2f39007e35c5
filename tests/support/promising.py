"""Small cases, and a target made of a function or of a naive indexer, for tests of what a target may promise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke, Verdict
from fuzz.targets import Call, Target
from msa_ref import IndexerConfig
from msa_ref.profile import Profile

CONFIG = IndexerConfig(2, 16, 16, 4)
PLAIN = Case(CONFIG, (Request(3, 150), Request(3, 260)))
TIES = replace(PLAIN, values=ValuePlan("tie_at_cut"))
ROUNDED = replace(PLAIN, values=ValuePlan("normal"), dtype="float32")


def judged(case: Case, target: Target) -> Verdict:
    return Examiner(Scene(case, "cpu")).examine(target)


def target_of(run: Callable[[Call], Any], profile: Profile, kind: str = "prefill", **more: Any) -> Target:
    return Target("x", "", kind, run, profile=profile, **more)


def answers(indexer: type[NaiveIndexer]) -> Callable[[Call], torch.Tensor]:
    """The adapter of an indexer."""
    return lambda call: indexer(call).answer()


def laws(verdicts: list[Verdict]) -> set[str]:
    """Every law that some verdict says is broken."""
    return {found.law for verdict in verdicts if isinstance(verdict, Broke) for found in verdict.violations}

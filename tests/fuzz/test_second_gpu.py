"""Tensors on another GPU than the current one: `python -m pytest -m gpus -n 0` on a machine with two."""

from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import BESIDE, Case, Request, Step, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict
from fuzz.targets import BUILT_IN, Call, Target, fill
from msa_ref import IndexerConfig, index_topk

pytestmark = pytest.mark.gpus

CASE = Case(
    IndexerConfig(2, 16, 16, 3),
    (Request(1, 130), Request(1, 9), Request(1, 0)),
    seed=5,
    values=ValuePlan("few_values"),
    replay=(Step((Request(1, 131), Request(1, 40), Request(1, 1))),),
    num_splits=(0, 3),
)
M3 = replace(CASE, config=IndexerConfig(), requests=(Request(1, 5000),) * 3, replay=(Step((Request(1, 5001),) * 3),))
"""MiniMax-M3's own shape, which kernels of one architecture serve."""


def _verdict(case: Case, target: Target) -> Verdict:
    assert torch.cuda.current_device() == 0
    verdict = Examiner(Scene(case, "cuda:1")).examine(target)
    assert torch.cuda.current_device() == 0
    return verdict


@pytest.mark.parametrize("case", [CASE, M3], ids=["small", "M3"])
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", BUILT_IN)
def test_kernels_run_on_the_device_of_their_tensors(name: str, beside: str, case: Case) -> None:
    verdict = _verdict(replace(case, beside=beside), BUILT_IN[name])
    assert isinstance(verdict, Agreed | Undefined), verdict


@pytest.mark.parametrize("beside", BESIDE)
def test_a_target_of_torch_operators_agrees(beside: str) -> None:
    target = Target("torch", "", "foreign", lambda call: fill(call, index_topk(call.batch)))
    assert isinstance(_verdict(replace(CASE, beside=beside), target), Agreed)


@pytest.mark.parametrize("is_out_given", [True, False])
def test_a_target_that_works_on_the_current_device_is_caught(is_out_given: bool) -> None:
    def run(call: Call) -> torch.Tensor:
        workspace = torch.zeros((), dtype=torch.int32, device="cuda")  # of the current one
        answer = index_topk(call.batch)
        return (answer.to(workspace.device) if call.out is None else fill(call, answer)) + workspace.expand(1)

    case = replace(CASE, views=replace(CASE.views, is_out_given=is_out_given))
    verdict = _verdict(case, Target("current", "", "foreign", run))
    assert isinstance(verdict, Broke)
    assert {violation.law for violation in verdict.violations} <= {"Runs", "Shape"}

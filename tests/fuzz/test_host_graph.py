"""A step captured on a CPU does its launches again, and nothing of what Python did."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl

from fuzz.canaries import MUTANTS
from fuzz.cases.case import Case, Request, Step, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Target, find
from fuzz.targets.host_graph import HostGraph
from msa_ref import IndexerConfig
from tests.support.honest_zoo.keepers import counts_in_a_graph

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, it captures")
STEPS = (Step((Request(1, 700), Request(2, 40)), is_remapped=True), Step((Request(2, 90), Request(1, 500))))
CASE = Case(IndexerConfig(2, 16, 16, 2), (Request(1, 60), Request(2, 90)), values=ValuePlan("spread"), replay=STEPS)


@triton.jit
def _double_kernel(in_ptr, out_ptr, N: tl.constexpr):
    offs = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(out_ptr + offs, tl.load(in_ptr + offs) * 2)


@torch.library.custom_op("host_graph::double", mutates_args=())
def _double(numbers: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(numbers)
    _double_kernel[(2,)](numbers, out, N=4)
    return out


def _by_kernel(numbers: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(numbers)
    _double_kernel[(2,)](numbers, out, 4)
    return out


def _in_place(numbers: torch.Tensor) -> torch.Tensor:
    out = numbers.clone()
    out[:4].mul_(3)
    out[4:] = numbers.view(2, 4)[0]
    return out


STEP_PARTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a kernel": _by_kernel,
    "an operator of its own that launches one": _double,
    "operators in place": _in_place,
    "operators with several results": lambda numbers: numbers.sort(descending=True)[0],
    "views and copies": lambda numbers: numbers.view(2, 4).t().reshape(-1),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("part", STEP_PARTS.values(), ids=STEP_PARTS)
def test_a_replay_answers_for_what_the_buffers_hold_now(part: Callable, mode: Callable) -> None:
    numbers, graph = torch.arange(8.0), HostGraph()
    with mode(), graph.capture():
        answer = part(numbers)
    numbers.copy_(torch.tensor([5.0, 3, 8, 1, 9, 2, 7, 4]))
    graph.replay()
    torch.testing.assert_close(answer, part(numbers), rtol=0, atol=0)


def test_a_replay_keeps_what_python_decided() -> None:
    numbers, graph = torch.ones(8), HostGraph()
    with graph.capture():
        out = torch.zeros(8)
        _double_kernel[lambda meta: (int(numbers[0]),)](numbers, out, N=4)
        out += float(numbers[7])
    numbers.fill_(2)
    graph.replay()
    assert out.tolist() == [5.0] * 4 + [1.0] * 4


def test_nothing_is_kept_after_a_capture() -> None:
    graph = HostGraph()
    with graph.capture():
        _by_kernel(torch.ones(8))
    count = len(graph.launches)
    _by_kernel(torch.ones(8))
    assert (len(graph.launches), graph.num_kernels) == (count, 1)


@pytest.mark.parametrize(
    "target", [find("decode-graph"), find("prefill-graph"), counts_in_a_graph], ids=lambda x: x.name
)
def test_a_captured_target_agrees_through_a_script_without_a_gpu(target: Target) -> None:
    verdict = Examiner(Scene(CASE, "cpu")).examine(target)
    assert isinstance(verdict, Agreed), verdict
    assert verdict.rows == 2 * 3 * 3


@pytest.mark.parametrize("name", ["decode_bound_from_lengths", "device_plan_kept"])
def test_a_mutant_that_decides_at_the_capture_dies_without_a_gpu(name: str) -> None:
    mutant = MUTANTS[name]
    assert not mutant.needs
    verdict = Examiner(Scene(CASE, "cpu")).examine(mutant.target)
    assert isinstance(verdict, Broke)
    assert set(mutant.laws) & {found.law for found in verdict.violations}
    still = replace(CASE, replay=(Step(CASE.requests, values_seed=3),))
    assert isinstance(Examiner(Scene(still, "cpu")).examine(mutant.target), Agreed)

"""Streams as only a GPU has them: who waits for the right ones is right in any company, who does not is caught."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fuzz.canaries import CANARIES, Defect
from fuzz.cases.case import BESIDE, Case, Request, Step, ValuePlan
from fuzz.inputs.company import late_producer
from fuzz.inputs.scene import Scene
from fuzz.judge.company import COMPANY_LAWS
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk

pytestmark = pytest.mark.gpu

CASE = Case(
    IndexerConfig(2, 16, 16, 3),
    (Request(1, 130), Request(1, 9), Request(1, 0)),
    seed=5,
    values=ValuePlan("few_values"),
    replay=(Step((Request(1, 131), Request(1, 40), Request(1, 1))),),
)


def _verdict(case: Case, target: Target) -> Verdict:
    return Examiner(Scene(case, "cuda")).examine(target)


def _on_a_stream_of_its_own(call: Call) -> torch.Tensor:
    current, own = torch.cuda.current_stream(), torch.cuda.Stream()
    own.wait_stream(current)
    with torch.cuda.stream(own):
        answer = index_topk(call.batch)
    answer.record_stream(current)
    current.wait_stream(own)
    return fill(call, answer)


def _by_way_of_the_host(call: Call) -> torch.Tensor:
    answer = index_topk(call.batch)
    pinned = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
    pinned.copy_(answer, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return fill(call, pinned.to(answer.device, non_blocking=True))


_KEPT: dict[str, torch.Tensor] = {}


def _with_constants_of_its_first_call(call: Call) -> torch.Tensor:
    answer = index_topk(call.batch)
    return fill(call, answer + _KEPT.setdefault("zero", torch.zeros_like(answer)))


def _captured_at_each_call(call: Call) -> torch.Tensor:
    answer, graph = index_topk(call.batch), torch.cuda.CUDAGraph()
    staged = torch.empty_like(answer)
    with torch.cuda.graph(graph):
        staged.copy_(answer)
    graph.replay()
    torch.cuda.current_stream().synchronize()  # the graph ends with this call
    return fill(call, staged)


RIGHT = (_on_a_stream_of_its_own, _by_way_of_the_host, _with_constants_of_its_first_call, _captured_at_each_call)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("is_out_given", [True, False])
@pytest.mark.parametrize("run", RIGHT, ids=lambda run: run.__name__)
def test_a_right_target_with_streams_agrees(
    run: Callable[[Call], torch.Tensor], is_out_given: bool, beside: str
) -> None:
    case = replace(CASE, beside=beside, views=replace(CASE.views, is_out_given=is_out_given))
    for _ in range(3):
        verdict = _verdict(case, Target("right", "", "foreign", run))
        assert isinstance(verdict, Agreed), verdict


@pytest.mark.parametrize("canary", [one for one in CANARIES.values() if "gpu" in one.needs], ids=lambda one: one.name)
def test_a_canary_that_trusts_streams_dies_by_its_law(canary: Defect) -> None:
    beside = next(beside for beside, law in COMPANY_LAWS.items() if law.name in canary.laws)
    # Other processes on the same GPU may disturb it as well.
    assert any(isinstance(_verdict(CASE, canary.target), Agreed) for _ in range(5))
    verdict = _verdict(replace(CASE, beside=beside), canary.target)
    assert isinstance(verdict, Broke)
    assert canary.laws[0] in {violation.law for violation in verdict.violations}


def test_a_late_producer_runs_a_target_on_a_side_stream_of_its_own() -> None:
    scene = Scene(CASE, "cuda")
    outside, elsewhere = torch.cuda.current_stream(), torch.cuda.Stream()
    scene.batch.seq_lens.clone().tolist()  # loads what a first call of these has to load
    with late_producer(scene):
        side = torch.cuda.current_stream()
        assert side not in (outside, elsewhere)
        assert not side.query()  # the producer still spins
        with torch.cuda.stream(elsewhere):
            assert scene.batch.seq_lens.tolist() == [0, 0, 0]
        assert scene.batch.seq_lens.tolist() == scene.seq_lens
    assert torch.cuda.current_stream() == outside

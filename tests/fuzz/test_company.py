"""A run's company, and the mode it begins in, change no right answer and show wrong ones."""

from dataclasses import replace

import pytest
import torch

from fuzz.canaries import CANARIES
from fuzz.canaries.naive import NaiveIndexer, ShowingIndexer
from fuzz.cases.case import BESIDE, Case, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.commands.replay import replay
from fuzz.inputs.bit_equality import same_bits
from fuzz.inputs.company import COMPANY
from fuzz.inputs.scene import Scene
from fuzz.judge.company import COMPANY_LAWS
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.targets import BUILT_IN, Call, Target, fill
from msa_ref import IndexerConfig, index_topk

CASE = Case(
    IndexerConfig(2, 16, 16, 3),
    (Request(1, 130), Request(1, 9), Request(1, 0)),
    seed=5,
    values=ValuePlan("few_values"),
    replay=(Step((Request(1, 131), Request(1, 40), Request(1, 1))),),
)
IN_COMPANY = [
    replace(CASE, beside=beside, first_mode=mode) for beside in BESIDE for mode in ("", "inference") if beside or mode
]
company = pytest.mark.parametrize("case", IN_COMPANY, ids=lambda case: f"{case.beside}-{case.first_mode}")
EACH_ONCE = [case for case in IN_COMPANY if bool(case.first_mode) == (case.beside == "late producer")]
"""Each company once, and the mode once: for kernels, which meet both in a gate's drawn cases, too."""


def _verdict(case: Case, target: Target, device: str) -> Verdict:
    return Examiner(Scene(case, device)).examine(target)


def _broken_laws(verdict: Verdict) -> list[str]:
    return [violation.law for violation in verdict.violations] if isinstance(verdict, Broke) else []


@pytest.mark.parametrize("case", EACH_ONCE, ids=lambda case: case.beside)
@pytest.mark.parametrize("name", BUILT_IN)
def test_kernels_agree_in_any_company(name: str, case: Case, device: str) -> None:
    assert _broken_laws(_verdict(case, BUILT_IN[name], device)) == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_memory_that_a_case_gives_is_of_no_mode(name: str, device: str) -> None:
    views = Views(score=ViewPlan(axes=(2, 0, 1)))
    case = replace(CASE, replay=(), first_mode="inference", views=views, num_splits=(0, 2))
    assert _broken_laws(_verdict(case, BUILT_IN[name], device)) == []


@company
@pytest.mark.parametrize("indexer", [NaiveIndexer, ShowingIndexer])
def test_a_sane_indexer_agrees_in_any_company(indexer: type[NaiveIndexer], case: Case, device: str) -> None:
    sane = Target("sane", "", "foreign", lambda call: indexer(call).answer())
    assert isinstance(_verdict(case, sane, device), Agreed)


@pytest.mark.parametrize("name", ["shared_slot", "workspace_of_one_mode"])
def test_a_canary_is_right_alone(name: str, device: str) -> None:
    assert isinstance(_verdict(CASE, CANARIES[name].target, device), Agreed)


def test_the_first_run_alone_is_in_the_first_mode(device: str) -> None:
    is_inference: list[bool] = []

    def run(call: Call) -> torch.Tensor:
        is_inference.append(torch.is_inference_mode_enabled())
        return fill(call, index_topk(call.batch))

    _verdict(replace(CASE, first_mode="inference", replay=()), Target("modes", "", "foreign", run), device)
    assert is_inference == [True, False]


def test_noise_is_beside_further_runs_of_the_first_split_count(device: str) -> None:
    num_runs = 0

    def run(call: Call) -> torch.Tensor:
        nonlocal num_runs
        num_runs += 1
        return fill(call, index_topk(call.batch))

    case = replace(CASE, beside="noise", replay=(), num_splits=(1, 2))
    _verdict(case, Target("counts", "", "foreign", run, has_splits=True), device)
    assert num_runs == 2 + COMPANY_LAWS["noise"].runs


def test_inputs_are_those_of_no_tokens_until_they_are_delivered(device: str) -> None:
    scene = Scene(CASE, device)
    before = scene.batch.index_q.clone(), scene.score().clone()
    scene.withhold()
    assert scene.batch.seq_lens.tolist() == [0, 0, 0]
    assert not scene.batch.index_q.any()
    assert scene.changed_inputs()
    scene.deliver()
    assert scene.changed_inputs() == []
    assert same_bits(scene.batch.index_q, before[0])
    assert same_bits(scene.score(), before[1])


def test_every_company_has_its_context() -> None:
    assert tuple(COMPANY) == BESIDE


def test_a_replay_shows_the_answer_in_company(device: str) -> None:
    target = replace(CANARIES["shared_slot"].target, name="fuzz.canaries:shared_slot")
    replayed = replay(replace(CASE, beside="noise"), target, device)
    assert replayed.strips, replayed
    assert replayed.strips[0].title == "Undisturbed"
    assert replayed.strips[0].answered != replayed.strips[0].expected

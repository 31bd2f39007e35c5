"""Each adapter of "Gate your own kernel" is judged as its page says, and what it does not promise is not asked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fuzz.cases.case import Case, EnginePlan, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict
from fuzz.targets import Call, EngineStep, Target, fill, step_target
from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT
from tests.support.markdown import ROOT, blocks

PAGE = ROOT / "fuzz" / "targets" / "README.md"

SMALL = Case(IndexerConfig(3, 16, 16, topk_blocks=4), (Request(2, 200), Request(3, 20)), dtype="float32")
M3 = Case(
    IndexerConfig(),
    (Request(2, 2500), Request(2, 300)),
    replay=(Step((Request(2, 2700), Request(2, 0)), is_remapped=True),),
    note="two decode requests of MiniMax-M3, and a replay of other lengths and pages",
)


@pytest.fixture
def page() -> dict[str, Any]:
    """All names of the page's code, run from top to bottom as one file."""
    source = "\n".join(body for _, body in blocks(PAGE.read_text(), "python"))
    scope: dict[str, Any] = {"__name__": "my_adapters"}
    exec(compile(source, str(PAGE), "exec"), scope)
    return scope


def judged(case: Case, target: Target) -> Verdict:
    return Examiner(Scene(case, "cpu")).examine(target)


def test_the_function_is_held_to_its_profile_alone(page: dict[str, Any]) -> None:
    target = Target("x", "", "foreign", page["adapter"], profile=page["adapter"].profile)
    for views in (Views(is_out_given=False), Views(extra_rows=2)):
        case = replace(SMALL, views=views)
        assert isinstance(judged(case, target), Agreed)
        assert isinstance(judged(case, replace(target, profile=CONTRACT)), Broke)


def test_the_function_is_called_without_the_judge(page: dict[str, Any]) -> None:
    assert page["try_it"]()


@pytest.mark.parametrize("name", ["decode", "decode_bound", "decode_shown"])
@pytest.mark.parametrize("values", ["tie_at_cut", "normal"])
def test_a_decode_target_agrees_through_a_replay(page: dict[str, Any], name: str, values: str) -> None:
    verdict = judged(replace(M3, values=ValuePlan(values)), page[name])
    assert isinstance(verdict, Agreed), verdict
    assert verdict.rows >= 2 * 4 * 4  # both states


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda case: replace(case, config=IndexerConfig(3)), "takes num_index_heads in {1, 2, 4}, not 3"),
        (lambda case: replace(case, dtype="float16"), "does not take torch.float16"),
        (lambda case: replace(case, requests=(Request(1, 2500), Request(3, 300))), "equally many query tokens"),
        (lambda case: replace(case, views=Views(index_q=ViewPlan(pads=(0, 1, 0)))), "takes contiguous tensors"),
    ],
)
def test_a_case_outside_of_the_decode_profile_is_undefined(
    page: dict[str, Any], change: Callable[[Case], Case], words: str
) -> None:
    verdict = judged(change(M3), page["decode"])
    assert isinstance(verdict, Undefined)
    assert words in verdict.reason


def test_the_graph_target_says_what_it_needs(page: dict[str, Any]) -> None:
    assert judged(M3, page["decode_graph"]) == Undefined("only a GPU can capture what launches no kernel of Triton")


def test_the_bound_target_is_bound_once_and_caught_if_it_keeps_too_much(page: dict[str, Any]) -> None:
    bound, calls = page["decode_bound"], []

    def keeps_lengths(call: Call) -> Callable[[], torch.Tensor]:
        calls.append(call)
        run = bound.bind(replace(call, out=None))
        kept = run()
        return lambda: fill(call, kept)

    verdict = judged(M3, replace(bound, bind=keeps_lengths))
    assert len(calls) == 1
    assert isinstance(verdict, Broke)
    assert {"Replay", "GraphIsEager"} & {found.law for found in verdict.violations}


STEPS = replace(
    M3,
    requests=(Request(2, 2500), Request(2, 300), Request(9, 400), Request(0, 0)),
    replay=(Step((Request(2, 2700), Request(2, 2500), Request(2, 430), Request(7, 300)), is_remapped=True),),
    engine=EnginePlan(3, judged_layer=1),
    extra_queries=2,
    note="two steps of an engine",
)


@pytest.mark.parametrize("is_buffer_shared", [False, True])
def test_an_engine_agrees_through_its_steps(page: dict[str, Any], is_buffer_shared: bool) -> None:
    case = replace(STEPS, engine=replace(STEPS.engine, is_buffer_shared=is_buffer_shared))
    verdict = judged(case, page["step"])
    assert isinstance(verdict, Agreed), verdict
    assert verdict.rows == 2 * 4 * (13 + 2)


def test_an_engine_that_keeps_the_first_steps_lengths_is_caught(page: dict[str, Any]) -> None:
    class Keeps(page["MyEngine"]):
        def build(self, step: EngineStep, micro_batch: int) -> Any:
            self.lens = getattr(self, "lens", step.seq_lens.clone())
            return replace(step, seq_lens=self.lens)

    verdict = judged(STEPS, step_target("keeps", "", Keeps, page["M3_STEP"]))
    assert isinstance(verdict, Broke)
    assert "Replay" in {found.law for found in verdict.violations}


def test_an_engine_says_what_it_does_not_take(page: dict[str, Any]) -> None:
    halves = replace(STEPS, engine=EnginePlan(second_micro_batch=2))
    assert judged(halves, page["step"]) == Undefined("my engine has no micro-batches")
    unordered = replace(STEPS, requests=STEPS.requests[::-1], replay=())
    assert judged(unordered, page["step"]) == Undefined("a request without a token comes before others at step 0")


def test_the_selection_is_judged_on_the_scores_that_it_is_given(page: dict[str, Any]) -> None:
    topk, case = page["topk"], replace(SMALL, values=ValuePlan(is_finite=True, max_abs_score=1e30))
    verdict = judged(case, topk)
    assert isinstance(verdict, Agreed), verdict
    assert isinstance(judged(case, replace(topk, profile=replace(topk.profile, order="ascending"))), Broke)
    with_init = replace(case, config=IndexerConfig(3, 16, 16, 4, init_blocks=1))
    assert judged(with_init, topk) == Undefined("my top-k has no init blocks")


def test_shown_scores_are_judged_with_their_scale(page: dict[str, Any]) -> None:
    shown = page["decode_shown"]

    def forgets_the_scale(call: Call) -> torch.Tensor:
        show = call.show
        return shown.run(replace(call, show=lambda score, **words: show(score, forced=words["forced"])))

    verdict = judged(M3, replace(shown, run=forgets_the_scale))
    assert isinstance(verdict, Broke)
    assert {found.law for found in verdict.violations} >= {"Score"}

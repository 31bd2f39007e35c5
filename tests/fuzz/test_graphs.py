"""The stateful part: scripts of replays find what a captured graph keeps, and shrink to a few lines."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from fuzz.canaries import CANARIES
from fuzz.canaries.graphs import GraphIndexer, graph_target
from fuzz.cases.case import Case, Request, Step
from fuzz.cases.replay_words import script_lines
from fuzz.cases.simplify import shrink
from fuzz.commands.replay import replay
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.replayed import replayed_lines
from fuzz.targets import Target
from fuzz.targets import find as find_target
from msa_ref import IndexerConfig
from tests.support.case_strategies import graph_cases

QUICK = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],  # to explain what was found traces every line
    suppress_health_check=list(HealthCheck),
)
CASE = Case(IndexerConfig(2, 16, 16, 2), (Request(1, 40), Request(2, 0)), seed=5)
SCRIPT = (
    Step((Request(1, 41), Request(2, 90)), is_remapped=True),
    Step((Request(1, 0), Request(2, 30)), values_seed=3, between="elsewhere"),
    Step((Request(2, 200), Request(1, 31)), between="unread"),
    Step((Request(2, 200), Request(1, 31)), between="eager"),
)
GRAPH_CANARIES = sorted(name for name in CANARIES if name.startswith("graph_"))


def _breaks(case: Case, target: Target) -> set[str]:
    verdict = Examiner(Scene(case, "cpu")).examine(target)
    return {violation.law for violation in verdict.violations} if isinstance(verdict, Broke) else set()


@pytest.mark.parametrize("name", GRAPH_CANARIES)
def test_a_captured_defect_shrinks_to_a_short_script(name: str) -> None:
    target = CANARIES[name].target
    first = settings(QUICK, phases=[Phase.generate])  # as a run does it, which has little time for shrinking
    case = find(graph_cases(), lambda case: "GraphIsEager" in _breaks(case, target), settings=first)
    case = shrink(case, lambda smaller: "GraphIsEager" in _breaks(smaller, target))
    assert len(case.requests) == 1, script_lines(case)
    assert case.max_blocks <= 40
    assert len(script_lines(case)) <= 3, script_lines(case)
    assert Case.from_json(case.to_json()) == case
    assert _breaks(Case.from_json(case.to_json()), target) == _breaks(case, target)


def test_hypothesis_alone_shrinks_a_captured_defect_to_one_replay() -> None:
    target = CANARIES["graph_counter"].target
    case = find(graph_cases(max_steps=3), lambda case: "GraphIsEager" in _breaks(case, target), settings=QUICK)
    assert len(case.requests) == len(case.replay) == 1, script_lines(case)
    assert case.replay[0].between == ""


@given(graph_cases())
@settings(QUICK, max_examples=60)
def test_the_captured_indexer_that_canaries_break_is_right_as_it_stands(case: Case) -> None:
    assert isinstance(Examiner(Scene(case, "cpu")).examine(graph_target(GraphIndexer, "sane", "")), Agreed)


def test_the_decode_kernel_bound_to_its_buffers_agrees_through_a_script(device: str) -> None:
    verdict = Examiner(Scene(replace(CASE, replay=SCRIPT), device)).examine(find_target("decode-bound"))
    assert isinstance(verdict, Agreed), verdict
    # The capture, four steps, and one judged call in between: each answer is the only right one.
    assert verdict.rows == 2 * 3 * (1 + 4 + 1)


def test_a_bound_target_says_nothing_about_a_case_without_a_script() -> None:
    assert Examiner(Scene(CASE, "cpu")).examine(find_target("decode-bound")) == Undefined("nothing is replayed")


def test_a_script_is_told_in_lines() -> None:
    assert script_lines(replace(CASE, replay=SCRIPT)) == [
        "capture   requests with 1 of 40, 2 of 0 tokens; run",
        "step 1    append 1 to request 0, start request 1 with 90 tokens, remap the pages; replay",
        "step 2    an eager call on other allocations; finish request 0, shrink request 1 from 90 to 30 tokens, "
        "change the values; replay",
        "step 3    a replay that nobody reads; request 0 now brings 2 tokens, start request 0 with 200 tokens, "
        "request 1 now brings 1 tokens, append 1 to request 1; replay",
        "step 4    an eager call on the same buffers; nothing; replay",
    ]


def test_what_comes_between_replays_is_one_of_a_few_words() -> None:
    with pytest.raises(ValueError, match=r"^between must be one of '', 'eager', 'elsewhere', 'unread'; got 'later'$"):
        Step((Request(1, 1),), between="later")


def test_the_score_strip_shows_the_row_that_broke_in_a_replay() -> None:
    script = (Step((Request(1, 60),), between="eager"),)
    case = Case(IndexerConfig(1, 16, 16, 1, local_blocks=1), (Request(1, 20),), seed=5, replay=script)
    replayed = replay(case, find_target("fuzz.canaries:graph_output_moved"), "cpu")
    assert replayed.verdict == "broke"
    shown = "\n".join(replayed_lines(replayed))
    assert "step 1    an eager call on the same buffers; grow request 0 from 20 to 60 tokens; replay" in shown
    assert "answered [1]\nexpected [3]" in shown

"""The judge keeps what a target could answer with out of its reach, and stays as it is."""

import gc
import importlib
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fuzz.canaries import CANARIES
from fuzz.canaries.cheats import SECONDS_MUCH_LATER
from fuzz.cases.case import Case, Request, ValuePlan, Views
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.harness import Harness
from fuzz.judge.surroundings import MAX_EARLY, Surroundings
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Call, Target, fill, find
from msa_ref import IndexerConfig, index_topk
from msa_ref.profile import Profile

CASE = Case(IndexerConfig(2, 16, 16, 3), (Request(2, 130),), seed=5, values=ValuePlan("integers"), repeats=2)


def test_no_right_answer_lies_in_memory_when_a_target_runs() -> None:
    found = list[bool]()

    def search(call: Call) -> torch.Tensor:
        answer = index_topk(call.batch)
        others = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.shape == answer.shape]
        found.extend(one is not answer and torch.equal(one, answer) for one in others)
        return fill(call, answer)

    without_repeats = Case(CASE.config, CASE.requests, CASE.seed, values=CASE.values)
    examiner = Examiner(Scene(without_repeats, "cpu"))
    for target in (find("reference"), Target("search", "", "foreign", search)):
        assert isinstance(examiner.examine(target), Agreed)
    assert found
    assert not any(found)


def test_a_changed_judge_is_told_and_put_back() -> None:
    module: Any = importlib.import_module("fuzz.judge.truth")
    harness, compare, code = Harness(), module.Truth.compare, module.Truth.row.__code__
    module.Truth.compare = lambda *_: ([], 0)
    module.Truth.row.__code__ = (lambda *_: None).__code__
    assert harness.restored() == ["Truth.row", "Truth.compare"]
    assert (module.Truth.compare, module.Truth.row.__code__) == (compare, code)
    assert harness.restored() == []


def right_target_that_keeps(outputs: list[torch.Tensor]) -> Target:
    """A target whose outputs a test may write to later."""

    def answer(call: Call) -> torch.Tensor:
        assert call.out is not None
        outputs.append(call.out)
        return fill(call, index_topk(call.batch))

    return Target("kept", "", "foreign", answer)


def test_a_write_to_an_earlier_output_is_told_when_the_target_is_judged_next() -> None:
    writers = list[torch.Tensor]()
    surroundings, target = Surroundings(), right_target_that_keeps(writers)
    assert isinstance(Examiner(Scene(CASE, "cpu"), surroundings).examine(target), Agreed)
    assert isinstance(Examiner(Scene(CASE, "cpu"), surroundings).examine(target), Agreed)
    writers[-1].zero_()
    verdict = Examiner(Scene(CASE, "cpu"), surroundings).examine(target)
    assert isinstance(verdict, Broke)
    assert [violation.law for violation in verdict.violations] == ["WritesOnly"]
    assert isinstance(Examiner(Scene(CASE, "cpu"), surroundings).examine(target), Agreed)


def test_a_thread_that_writes_again_later_is_told_at_the_next_case() -> None:
    surroundings, target = Surroundings(), CANARIES["writes_again_later"].target
    first = Examiner(Scene(CASE, "cpu"), surroundings).examine(target)
    time.sleep(2 * SECONDS_MUCH_LATER)
    second = Examiner(Scene(CASE, "cpu"), surroundings).examine(target)
    verdicts = [one for one in (first, second) if isinstance(one, Broke)]
    assert "WritesOnly" in {violation.law for verdict in verdicts for violation in verdict.violations}


def test_an_early_output_is_looked_at_whenever_the_target_is_judged() -> None:
    outputs = list[torch.Tensor]()
    surroundings, target = Surroundings(), right_target_that_keeps(outputs)
    for _ in range(MAX_EARLY + 5):
        assert isinstance(Examiner(Scene(CASE, "cpu"), surroundings).examine(target), Agreed)
    outputs[0][0, 0, 0] = -1
    verdict = Examiner(Scene(CASE, "cpu"), surroundings).examine(target)
    assert isinstance(verdict, Broke)
    assert [violation.law for violation in verdict.violations] == ["WritesOnly"]


def test_an_answer_in_memory_of_an_input_is_no_answer() -> None:
    def answer(call: Call) -> torch.Tensor:
        rows = index_topk(call.batch)
        memory = call.batch.index_q.view(torch.int32).view(-1)[: rows.numel()]
        return memory.view(rows.shape).copy_(rows)

    case = Case(CASE.config, CASE.requests, CASE.seed, values=CASE.values, views=Views(is_out_given=False))
    verdict = Examiner(Scene(case, "cpu")).examine(Target("aliases", "", "foreign", answer))
    assert isinstance(verdict, Broke)
    assert {violation.law for violation in verdict.violations} == {"OwnMemory", "ReadsOnly"}


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: float(torch.rand(()))])
def test_a_number_drawn_is_soon_among_the_lowest_and_the_highest(draw: Callable[[], float]) -> None:
    drawn = list[float]()

    def run(call: Call) -> torch.Tensor:
        drawn.append(draw())
        return fill(call, index_topk(call.batch))

    target = Target("draws", "", "foreign", run, profile=Profile(threads="same"))
    assert isinstance(Examiner(Scene(CASE, "cpu")).examine(target), Agreed)
    assert len(set(drawn)) == 3
    assert min(drawn) < 0.01
    assert max(drawn) > 0.99

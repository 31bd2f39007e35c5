"""The judge makes, writes and reads tensors as engines do, so that its habits tell a target nothing."""

import itertools
import mmap
import time
from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import ALIGNMENTS, Case, PagePlan, Request, Step, Views
from fuzz.corpus import entries
from fuzz.inputs.scene import Scene
from fuzz.judge import endurance
from fuzz.judge.endurance import MIN_CALLS
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk
from msa_ref.profile import CONTRACT

STEPS = tuple(Step((Request(2, seq_len),), values_seed=seq_len) for seq_len in (120, 110, 100))
CASE = Case(IndexerConfig(2, 16, 16, 3), (Request(2, 130),), seed=5, views=Views(is_out_given=False), replay=STEPS)
MANY_MORE = entries()["calls-each_twenty_thousandth_call"].case
INPUTS = ("index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")


def test_every_other_state_is_written_without_a_version(device: str) -> None:
    scene, versions = Scene(CASE, device), list[list[int]]()
    for state in range(len(CASE.states)):
        scene.apply(state)
        versions.append([getattr(scene.batch, name)._version for name in INPUTS])
    assert versions[0] == versions[1]
    assert all(old < new for old, new in zip(versions[1], versions[2], strict=True))
    assert versions[2] == versions[3]


def test_plain_tensors_fill_their_memory(device: str) -> None:
    batch = Scene(replace(CASE, views=Views(is_plain=True)), device).batch
    for name in INPUTS:
        tensor = getattr(batch, name)
        assert not tensor._is_view()
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize


@pytest.mark.parametrize("align", ALIGNMENTS[1:])
def test_tensors_begin_at_multiples_of_a_power_of_two(align: int, device: str) -> None:
    for fence in ("", "in front") if align >= mmap.PAGESIZE else ("",):
        scene = Scene(replace(CASE, views=Views(align=align, fence=fence)), device)
        for name in INPUTS:
            assert getattr(scene.batch, name).data_ptr() % (2 * align) == align, name
        assert scene.changed_inputs() == []


def test_skipped_pages_are_in_front_of_all_others(device: str) -> None:
    near, late = (Scene(replace(CASE, pages=PagePlan(skipped_pages=count)), device).batch for count in (0, 70_000))
    live = late.block_table[0, :9]
    assert late.num_pages == near.num_pages + 70_000
    assert int(live.min()) >= 70_000
    assert torch.equal(index_topk(near), index_topk(late))


def test_an_answer_of_an_earlier_call_is_left_alone_unless_the_profile_says_else() -> None:
    buffer = torch.empty(2, 2, 3, dtype=torch.int32)

    def answer(call: Call) -> torch.Tensor:
        return buffer.copy_(index_topk(call.batch))

    kept = Target("kept", "", "foreign", answer, profile=CONTRACT)
    verdict = Examiner(Scene(CASE, "cpu")).examine(kept)
    assert isinstance(verdict, Broke)
    assert {violation.law for violation in verdict.violations} == {"OwnMemory", "Replay"}
    for other in (
        replace(kept, profile=replace(CONTRACT, answers="reused")),
        replace(kept, bind=lambda call: lambda: answer(call)),
        replace(kept, start=lambda call, case: answer),
    ):
        assert isinstance(Examiner(Scene(CASE, "cpu")).examine(other), Agreed)


def test_an_answer_may_be_the_same_tensor_as_long_as_it_stays_as_it_is() -> None:
    known = dict[tuple[int, ...], torch.Tensor]()

    def answer(call: Call) -> torch.Tensor:
        return known.setdefault(tuple(call.seq_lens), index_topk(call.batch))

    again = replace(CASE, replay=(), repeats=3)
    assert isinstance(Examiner(Scene(again, "cpu")).examine(Target("constant", "", "foreign", answer)), Agreed)


def test_an_answer_is_a_plain_tensor_that_holds_its_numbers() -> None:
    def negated(call: Call) -> torch.Tensor:
        view: torch.Tensor = torch._neg_view(-index_topk(call.batch))
        return view

    verdict = Examiner(Scene(CASE, "cpu")).examine(Target("negated", "", "foreign", negated))
    assert isinstance(verdict, Broke)
    assert verdict.violations[0].law == "Shape"


MANY = replace(CASE, views=Views(), replay=(), repeats=2_300)


def test_the_same_is_asked_thousands_of_times_where_calls_are_quick() -> None:
    answers = list[torch.Tensor]()

    def answer(call: Call) -> torch.Tensor:
        answers.append(answers[0] if answers else index_topk(call.batch))
        return fill(call, answers[0])

    verdict = Examiner(Scene(MANY, "cpu")).examine(Target("quick", "", "foreign", answer))
    assert isinstance(verdict, Agreed)
    assert verdict.calls >= MIN_CALLS


@pytest.mark.parametrize("wrong_in", [0, MANY_MORE.repeats - 3])
def test_the_same_is_asked_twenty_thousand_times_where_calls_are_quicker(
    wrong_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endurance, "SECONDS_OF_MANY", 40.0)  # a slow machine, too, has time for its calls
    answers, count = list[torch.Tensor](), itertools.count(1)

    def answer(call: Call) -> torch.Tensor:
        answers.append(answers[0] if answers else index_topk(call.batch))
        return fill(call, answers[0] * 0 if next(count) == wrong_in else answers[0])

    verdict = Examiner(Scene(MANY_MORE, "cpu")).examine(Target("quicker", "", "foreign", answer))
    if wrong_in:
        assert isinstance(verdict, Broke)
        assert [violation.law for violation in verdict.violations] == ["RepeatDeterminism"]
    else:
        assert isinstance(verdict, Agreed)
        assert verdict.calls == MANY_MORE.repeats


def test_a_slow_target_is_not_asked_thousands_of_times() -> None:
    def answer(call: Call) -> torch.Tensor:
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        return fill(call, index_topk(call.batch))

    verdict = Examiner(Scene(MANY, "cpu")).examine(Target("slow", "", "foreign", answer))
    assert isinstance(verdict, Agreed)
    assert 0 < verdict.calls < 10

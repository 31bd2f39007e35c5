"""Two threads call a target at once, if it promises that: each gets its own answer."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fuzz.cases.case import Case, PagePlan, Request, Step, Views
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk
from msa_ref.profile import CONTRACT, Profile

CASE = Case(
    IndexerConfig(2, 16, 16, 3),
    (Request(3, 150), Request(1, 90)),
    replay=(Step((Request(3, 40), Request(1, 300))),),
    pages=PagePlan(spare_pages=2),
)
PROMISED = replace(CONTRACT, name="for any thread", threads="any")
BESIDE = "beside another thread's call"


def judged(run: Callable[[Call], torch.Tensor], device: str, case: Case = CASE, profile: Profile = PROMISED) -> Verdict:
    return Examiner(Scene(case, device)).examine(Target("two threads", "", "foreign", run, profile=profile))


@pytest.mark.parametrize(("profile", "num_threads"), [(PROMISED, 2), (CONTRACT, 1)], ids=["promised", "not promised"])
def test_only_who_promises_it_is_called_by_a_second_thread(profile: Profile, num_threads: int, device: str) -> None:
    seen, streams = set[bool](), dict[bool, set[int]]()

    def run(call: Call) -> torch.Tensor:
        is_main = threading.current_thread() is threading.main_thread()
        seen.add(is_main)
        if device == "cuda" and torch.cuda.current_stream() != torch.cuda.default_stream():
            streams.setdefault(is_main, set()).add(torch.cuda.current_stream().cuda_stream)
        return fill(call, index_topk(call.batch))

    assert isinstance(judged(run, device, profile=profile), Agreed)
    assert len(seen) == num_threads
    if streams:
        assert not set.intersection(*streams.values()), "each has a stream of its own"


@pytest.mark.parametrize("is_out_given", [True, False])
def test_an_answer_in_memory_that_threads_share_is_told(is_out_given: bool, device: str) -> None:
    shared = dict[str, torch.Tensor]()

    def run(call: Call) -> torch.Tensor:
        shared["ids"] = index_topk(call.batch)
        for _ in range(20):
            torch.rand(8).sum()  # other work, in which another thread may come
        return fill(call, shared["ids"].clone())

    verdict = judged(run, device, replace(CASE, views=Views(is_out_given=is_out_given)))
    assert isinstance(verdict, Broke)
    (violation,) = verdict.violations
    assert violation.law == "TwoThreads"
    assert f"answered {BESIDE} " in violation.evidence
    assert isinstance(judged(run, device, profile=CONTRACT), Agreed), "it never promised that"


@pytest.mark.parametrize(("threads", "law"), [("one", "TwoThreads"), ("same", ""), ("any", "TwoThreads")])
def test_threads_that_take_turns_each_get_their_own_answer(threads: Any, law: str, device: str) -> None:
    last = list[torch.Tensor]()

    def run(call: Call) -> torch.Tensor:
        ids = index_topk(call.batch)
        if threading.current_thread() is not threading.main_thread():
            return fill(call, last[0].clone())
        last[:] = [ids]
        return fill(call, ids)

    verdict = judged(run, device, replace(CASE, repeats=1), replace(CONTRACT, threads=threads))
    laws = {violation.law for violation in verdict.violations} if isinstance(verdict, Broke) else {""}
    assert laws == {law}
    if threads == "one":
        assert "answered after another thread's call" in str(verdict)


def test_a_refusal_of_a_second_thread_is_told_with_its_line(device: str) -> None:
    def run(call: Call) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("wrong thread")
        return fill(call, index_topk(call.batch))

    verdict = judged(run, device)
    assert isinstance(verdict, Broke)
    (violation,) = verdict.violations
    assert violation.law == "TwoThreads"
    line = run.__code__.co_firstlineno + 2
    assert f"raised {BESIDE}: RuntimeError: wrong thread (tests/fuzz/test_two_threads.py, line {line})" in str(
        violation
    )

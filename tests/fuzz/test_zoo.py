"""Right targets that do odd things are accused of nothing, and leave nothing behind for others."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from fuzz.cases.case import Case, PagePlan, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import inside
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.targets import Call, fill, find
from msa_ref import IndexerConfig, index_topk
from msa_ref.profile import CONTRACT
from tests.support.honest_zoo import ZOO

CONFIG = IndexerConfig(2, 16, 16, 4)
CASES = (
    Case(CONFIG, (Request(2, 90), Request(1, 9)), repeats=1, replay=(Step((Request(1, 100), Request(2, 40))),)),
    Case(CONFIG, (Request(1, 70),), views=Views(is_out_given=False), pages=PagePlan(tail="bait"), num_splits=(0, 3)),
    Case(CONFIG, (Request(2, 70),), views=Views(out=ViewPlan((1, 0, 2), (1, 1, 1))), pages=PagePlan(tail="inf")),
    Case(CONFIG, (Request(2, 70),), beside="noise", first_mode="inference"),
    Case(CONFIG, (Request(2, 100),), dtype="float8_e4m3fn/nvfp4", values=ValuePlan("any_bytes")),
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(60) as worker:
        yield worker


@pytest.mark.parametrize("name", ZOO)
def test_a_right_target_is_accused_of_nothing(name: str, worker: Worker) -> None:
    for case in CASES:
        targets = (name, "reference")
        for target, verdict, _ in worker.judge(Task(case, targets, "cpu")).verdicts:
            is_promised = find(target).outside(case) is None
            assert isinstance(verdict, Agreed if is_promised else Undefined), (target, verdict)
    assert (worker.restarts, worker.idle_ends) == (1, [])


@pytest.mark.parametrize("family", ["subnormal_keys", "subnormal_queries", "integers"])
def test_subnormal_numbers_accuse_only_who_promises_them(family: str) -> None:
    case = Case(CONFIG, (Request(3, 90), Request(2, 100)), values=ValuePlan(family))
    examiner, target = Examiner(Scene(case, "cpu")), find("tests.support.honest_zoo.tensors:flushes_subnormals")
    is_subnormal = family != "integers"
    said, silent = map(examiner.examine, (target, replace(target, profile=CONTRACT)))
    assert isinstance(said, Undefined if is_subnormal else Agreed)
    assert not isinstance(said, Undefined) or "subnormal" in said.reason
    assert isinstance(silent, Broke if is_subnormal else Agreed)
    drawn = [one for one in gate_cases(7, 48, inside(SMALL, target.domain)) if one.dtype in ("bfloat16", "float32")]
    assert not [one for one in drawn if target.outside(one)]


def test_a_target_that_names_no_formats_is_given_the_usual_ones() -> None:
    target = find("tests.support.honest_zoo.tensors:takes_ordinary_numbers")
    assert set(inside(SMALL, target.domain).dtypes) == {"bfloat16", "float16", "float32"}
    for case in gate_cases(7, 24, inside(SMALL, target.domain)):
        assert target.outside(case) is None


def test_a_compiled_target_may_meet_any_number_of_shapes(worker: Worker) -> None:
    name = "tests.fuzz.test_zoo:copies_in_a_compiled_function"
    for heads, topk, query_len, mode in itertools.product((1, 2), (1, 3), (1, 2), ("", "inference")):
        case = Case(IndexerConfig(heads, 16, 16, topk), (Request(query_len, 40),), first_mode=mode)
        ((_, verdict, _),) = worker.judge(Task(case, (name,), "cpu")).verdicts
        assert isinstance(verdict, Agreed), verdict


def test_a_crash_is_told_at_once_and_ends_the_target_s_processes() -> None:
    target = "tests.fuzz.test_zoo:crashes_beside_a_fork_that_sleeps"
    start = time.perf_counter()
    with Worker(60) as worker:
        ((_, verdict, _),) = worker.judge(Task(CASES[0], (target,), "cpu")).verdicts
        assert isinstance(verdict, Broke)
        assert [violation.how for violation in verdict.violations] == ["crash"]
        # The forked process has the child's end of the pipe, too.
        assert time.perf_counter() - start < 20
        (left,) = Path(tempfile.gettempdir()).glob("fuzz-worker-*/forked")
        pid = int(left.read_text())
    assert not _runs(pid)


def test_a_slow_first_call_is_no_hang() -> None:
    target = "tests.fuzz.test_zoo:compiles_for_seconds"
    with Worker(2, first_call_hangs_after=30) as worker:
        ((_, verdict, seconds),) = worker.judge(Task(CASES[0], (target,), "cpu")).verdicts
        assert isinstance(verdict, Agreed), verdict
        assert seconds > 3


def test_a_hang_is_found_in_its_time_and_sooner_when_it_comes_again() -> None:
    with Worker(1, first_call_hangs_after=3) as worker:
        for limit in (3, 1):
            assert _hangs(worker, "hangs_at_once", " of a first call", limit)


def test_a_hang_in_a_later_call_is_found_in_its_time() -> None:
    with Worker(1, first_call_hangs_after=60) as worker:  # a slow machine needs seconds for the target's import
        assert _hangs(worker, "hangs_later", "", 1)


def _hangs(worker: Worker, name: str, part: str, limit: int) -> bool:
    """True if a target of this file, which would sleep for hours, ends its child in a part of its work when it must."""
    ((_, verdict, seconds),) = worker.judge(Task(CASES[0], (f"tests.fuzz.test_zoo:{name}",), "cpu")).verdicts
    assert isinstance(verdict, Broke)
    return limit <= seconds < 60 and verdict.violations[0].evidence.startswith(f"no end{part} after {limit} s")


def test_a_hung_child_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = """
from fuzz.inputs.scene import Scene
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from tests.fuzz.test_zoo import CASES
Worker(60).judge(Task(CASES[0], ("tests.fuzz.test_zoo:hangs_at_once",), "cpu"))
"""
    command = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"HANGING_CHILD": str(mark)})
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    command.kill()
    command.wait()
    while _runs(int(mark.read_text())) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _runs(int(mark.read_text()))


def test_a_fork_that_goes_on_in_the_harness_answers_nothing() -> None:
    target = "tests.fuzz.test_zoo:forks_and_goes_on"
    with Worker(60) as worker:
        for _ in range(2):
            judged = worker.judge(Task(CASES[0], (target, "reference"), "cpu"))
            assert [type(verdict) for _, verdict, _ in judged.verdicts] == [Agreed, Agreed]
        assert worker.restarts == 1


def crashes_beside_a_fork_that_sleeps(call: Call) -> None:
    """Aborts, and leaves a process behind."""
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    Path(tempfile.gettempdir(), "forked").write_text(str(pid))
    os.abort()


def copies_in_a_compiled_function(call: Call) -> torch.Tensor:
    """Right, and compiled anew for sizes 0 and 1."""
    copy = torch.compile(lambda x: torch.empty_like(x).copy_(x), backend="eager", fullgraph=True)
    return fill(call, copy(index_topk(call.batch)))


@cache
def _compile() -> None:
    time.sleep(3)


def compiles_for_seconds(call: Call) -> torch.Tensor:
    """Right, and slow in its first call."""
    _compile()
    return fill(call, index_topk(call.batch))


def hangs_at_once(call: Call) -> None:
    """Sleeps for hours."""
    if "HANGING_CHILD" in os.environ:
        Path(os.environ["HANGING_CHILD"]).write_text(str(os.getpid()))
    time.sleep(10_000)


_CALLS = list[Call]()


def hangs_later(call: Call) -> torch.Tensor:
    """Right in its first call, and sleeps in the second."""
    _CALLS.append(call)
    if len(_CALLS) > 1:
        time.sleep(10_000)
    return fill(call, index_topk(call.batch))


def forks_and_goes_on(call: Call) -> torch.Tensor:
    """Right, in two processes."""
    os.fork()
    return fill(call, index_topk(call.batch))


def _runs(pid: int) -> bool:
    """True if a process runs: it has not ended, waited for or not."""
    time.sleep(0.2)
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"

"""Right targets that do odd things are accused of nothing, and leave nothing behind for others."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fuzz.cases.case import Case, PagePlan, Request, Step, ViewPlan, Views
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Call, fill
from msa_ref import IndexerConfig, index_topk
from tests.support.honest_zoo import ZOO

CONFIG = IndexerConfig(2, 16, 16, 4)
CASES = (
    Case(CONFIG, (Request(2, 90), Request(1, 9)), repeats=1, replay=(Step((Request(1, 100), Request(2, 40))),)),
    Case(CONFIG, (Request(1, 70),), views=Views(is_out_given=False), pages=PagePlan(tail="bait"), num_splits=(0, 3)),
    Case(CONFIG, (Request(2, 70),), views=Views(out=ViewPlan((1, 0, 2), (1, 1, 1))), pages=PagePlan(tail="inf")),
    Case(CONFIG, (Request(2, 70),), beside="noise", first_mode="inference"),
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
            assert isinstance(verdict, Agreed), (target, verdict)
    assert (worker.restarts, worker.idle_ends) == (1, [])


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


def forks_and_goes_on(call: Call) -> torch.Tensor:
    """Right, in two processes."""
    os.fork()
    return fill(call, index_topk(call.batch))


def _runs(pid: int) -> bool:
    """Whether a process runs: it has not ended, waited for or not."""
    time.sleep(0.2)
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"

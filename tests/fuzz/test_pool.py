"""The pool: one set of workers per command, and each task's outcome as it comes."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fuzz.__main__ import main
from fuzz.campaign import pool
from fuzz.campaign.pool import Pool
from fuzz.campaign.schedule import in_turn
from fuzz.cases.case import Case, PagePlan, Request
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from msa_ref import IndexerConfig


def test_a_gate_opens_its_workers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Worker] = []

    def open_worker(*arguments: Any, **options: Any) -> Worker:
        opened.append(Worker(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(pool, "Worker", open_worker)
    options = ["--device", "cpu", "--jobs", "1", "--cases", "8", "--no-corpus", "--no-production"]
    options += ["--findings", str(tmp_path), "--target", "fuzz.canaries:highest_id_wins_ties"]
    assert main(["gate", *options, "--no-diagnose"]) == 1
    opened.clear()
    # Now there are findings to look back at, a broken target to ask, and a case to shrink.
    assert main(["gate", *options, "--shrink-seconds", "1"]) == 1
    assert len(opened) <= 2, "one for the tasks, one for questions meanwhile"


def test_every_task_comes_back_by_number_and_workers_are_shared() -> None:
    config = IndexerConfig(1, 16, 16, 2)
    tasks = [Task(Case(config, (Request(1, 20 + n),)), ("reference",), "cpu") for n in range(12)]
    with Pool(2, 60.0) as shared:
        outcomes = dict(shared.judged(enumerate(tasks)))
        assert [outcomes[number].task for number in range(12)] == tasks
        with shared.worker() as worker:
            assert worker.violations(tasks[0].case, "reference", "cpu") == ()
        assert worker in shared.workers
        assert len(shared.workers) <= 3


def test_a_pool_that_ends_waits_for_no_hung_child() -> None:
    fatal = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 70), Request(1, 9)))
    with Pool(1, 60.0) as shared:
        names = enumerate(("reference", "fuzz.canaries:hangs"))
        tasks = shared.judged((number, Task(fatal, (name,), "cpu")) for number, name in names)
        next(tasks)
        time.sleep(1)
        start = time.perf_counter()
        tasks.close()
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("is_on_gpu", [False, True])
def test_far_pages_are_begun_apart_and_heavy_cases_early_on_a_gpu(is_on_gpu: bool) -> None:
    config = IndexerConfig(1, 16, 16, 2)
    tasks = [
        Task(Case(config, (Request(2, 20 + n),), pages=PagePlan(spare_pages=4, is_far=n % 100 < 2)), ("decode",), "cpu")
        for n in range(200)
    ]
    heavy = Task(Case(config, (Request(99, 900),)), ("decode",), "cpu")
    turns = in_turn([*tasks, heavy], is_on_gpu)
    assert sorted(number for number, _ in turns) == list(range(201))
    assert all(task == [*tasks, heavy][number] for number, task in turns)
    far = [place for place, (_, task) in enumerate(turns) if task.case.pages.is_far]
    assert all(later - earlier >= 50 for earlier, later in pairwise(far))
    assert [number for number, _ in turns].index(200) == (1 if is_on_gpu else 200)


def test_on_a_gpu_what_is_compiled_anew_is_begun_first() -> None:
    light = [Case(IndexerConfig(heads, 16, 16, 2), (Request(1, 20),), seed=n) for heads in (1, 2) for n in range(150)]
    turns = [number for number, _ in in_turn([Task(case, ("decode",), "cuda") for case in light], is_on_gpu=True)]
    assert sorted(turns) == list(range(300))
    # Of the second form, which weighs more, the heaviest are interleaved from the start, as ever.
    rest = [number for number in turns if number not in range(150, 250)]
    assert rest[:2] == [0, 250]
    assert rest[2:] == sorted(rest[2:])

"""Children that share a GPU's memory take turns where a case takes much of it, and where one lacked it."""

import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from fuzz.cases.case import Case, PagePlan, Request
from fuzz.isolation import gpus, jobs
from fuzz.isolation.turns import MAX_SHARED_SCORES, Turns
from msa_ref import IndexerConfig

LIGHT = Case(config=IndexerConfig(1, 16, 16, 2, 0, 1), requests=(Request(1, 20),))
FAR = replace(LIGHT, pages=PagePlan(is_far=True))
MANY_SCORES = replace(LIGHT, requests=(Request(2**14, 16 * (MAX_SHARED_SCORES // 2**14 + 1)),))
WAITS = 0.2
"""Seconds after which a thread that has not begun is taken to wait."""


def _begins(turn: Callable[[], AbstractContextManager[None]]) -> bool:
    """True if another thread gets a turn at once."""
    has_begun, is_over = threading.Event(), threading.Event()

    def take() -> None:
        with turn():
            has_begun.set()
            is_over.wait(10)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    answer = has_begun.wait(WAITS)
    is_over.set()
    return answer


@pytest.mark.parametrize(
    ("first", "second", "are_together"),
    [(LIGHT, LIGHT, True), (LIGHT, FAR, True), (FAR, FAR, False), (FAR, MANY_SCORES, False)],
    ids=["light", "light and far", "far", "far and many scores"],
)
def test_heavy_cases_alone_are_judged_in_turn(first: Case, second: Case, are_together: bool) -> None:
    turns = Turns()
    with turns.beside_others(first, lambda: None):
        assert _begins(lambda: turns.beside_others(second, lambda: None)) == are_together


def test_who_is_alone_waits_for_others_and_they_for_it() -> None:
    turns, given = Turns(), list[str]()
    with turns.beside_others(LIGHT, lambda: None):
        assert not _begins(turns.alone)
    with turns.alone():
        assert not _begins(lambda: turns.beside_others(LIGHT, lambda: given.append("its child")))
    assert given == ["its child"]
    assert _begins(lambda: turns.beside_others(LIGHT, lambda: None))


@pytest.mark.parametrize(
    ("cores", "free_mib", "expected"),
    [(16, 80_000, 14), (64, 80_000, 14), (16, 40_000, 5), (8, 80_000, 6), (16, 24_000, 1), (2, 24_000, 1)],
)
def test_a_gpu_has_as_many_jobs_as_its_memory_holds(
    monkeypatch: pytest.MonkeyPatch, cores: int, free_mib: int, expected: int
) -> None:
    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-2:] == ["-i", "GPU-b"]
        return subprocess.CompletedProcess(command, 0, f"{free_mib}\n")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    monkeypatch.setattr(gpus.shutil, "which", lambda _: "nvidia-smi")
    monkeypatch.setattr(gpus.subprocess, "run", answer)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert jobs.default_jobs("cuda") == expected
    assert jobs.default_jobs("cpu") == cores


def test_a_gpu_that_tells_no_memory_has_a_job_for_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.shutil, "which", lambda _: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert jobs.default_jobs("cuda") == 8

"""A target that ends, holds or outgrows its process is a finding, and everything else is judged all the same."""

import ctypes
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fuzz.__main__ import main
from fuzz.canaries import PROCESS_CANARIES
from fuzz.canaries.process import SECONDS_OF_SPINNING
from fuzz.cases.case import Case, Request, ViewPlan, Views
from fuzz.isolation import fork_server
from fuzz.isolation.children import SECONDS_TO_DIE
from fuzz.isolation.hearing import Stopped
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import HarnessError, Worker
from fuzz.judge.verdict import Agreed, Broke
from fuzz.report.record import Record
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk

CONFIG = IndexerConfig(2, 16, 16, 4)
FATAL, HARMLESS = Case(CONFIG, (Request(2, 70), Request(1, 9))), Case(CONFIG, (Request(2, 20),))


@pytest.mark.parametrize("name", PROCESS_CANARIES)
def test_an_end_is_put_down_to_its_target_and_the_others_are_judged(name: str, device: str) -> None:
    target = f"fuzz.canaries:{name}"
    hangs_after = 60 if PROCESS_CANARIES[name].how != "hang" else 4 if device == "cpu" else 20
    with Worker(hangs_after, first_call_hangs_after=hangs_after) as worker:
        for _ in range(2):
            judged = worker.judge(Task(FATAL, ("reference", target, "reference"), device))
            (_, before, _), (_, verdict, _), (_, after, _) = judged.verdicts
            assert isinstance(verdict, Broke)
            (violation,) = verdict.violations
            assert violation.law == "Runs"
            assert violation.how == PROCESS_CANARIES[name].how, violation
            assert isinstance(before, Agreed)
            assert isinstance(after, Agreed)
        ((_, verdict, _),) = worker.judge(Task(HARMLESS, (target,), device)).verdicts
        assert isinstance(verdict, Agreed)


def _judged_around(name: str, hangs_after: float) -> tuple[str, int, float]:
    """A canary on a GPU: evidence, how many children judged it and others before and after, and its seconds."""
    with Worker(hangs_after, first_call_hangs_after=hangs_after) as worker:
        target = f"fuzz.canaries:{name}"
        judged = worker.judge(Task(FATAL, ("reference", target, "reference", "decode"), "cuda"))
        (_, before, _), (_, verdict, seconds), (_, after, _), (_, decode, _) = judged.verdicts
        assert [type(one) for one in (before, after, decode)] == [Agreed] * 3, judged
        assert isinstance(verdict, Broke)
        (violation,) = verdict.violations
        assert violation.law == "Runs"
        assert violation.has_ended_process
        ((_, harmless, _),) = worker.judge(Task(HARMLESS, (target,), "cuda")).verdicts
        assert isinstance(harmless, Agreed)
        return str(violation), worker.restarts, seconds


@pytest.mark.gpu
def test_a_real_illegal_address_is_a_crash_with_the_error_s_name_and_a_fresh_child_goes_on() -> None:
    evidence, children, _ = _judged_around("illegal_address", 120)
    assert evidence.startswith("Runs: cuda error: ")
    assert "CUDA error: an illegal memory access was encountered" in evidence
    assert children == 2


@pytest.mark.gpu
def test_a_kernel_that_spins_is_a_hang_and_its_gpu_is_free_again() -> None:
    evidence, children, seconds = _judged_around("spins", 20)
    assert evidence.startswith("Runs: hang: no end of a first call after 20 s, compilation included")
    assert children == 2
    # The process died when it was killed, and its kernel with it: nobody waited for its own end.
    assert seconds < 20 + SECONDS_TO_DIE - 1 < SECONDS_OF_SPINNING


@pytest.mark.gpu
def test_the_kernel_that_spins_ends_by_itself() -> None:
    kernel = importlib.import_module("fuzz.canaries.wild").spin
    passed = torch.zeros(1, dtype=torch.int32, device="cuda")
    kernel[(1,)](passed, 50_000_000)
    torch.cuda.synchronize()
    assert int(passed) >= 50_000_000


def test_a_child_that_ends_between_two_tasks_is_replaced_and_remembered() -> None:
    with Worker() as worker:
        worker.judge(Task(HARMLESS, ("tests.fuzz.test_isolation:ends_later",), "cpu"))
        time.sleep(1.5)
        ((_, verdict, _),) = worker.judge(Task(HARMLESS, ("reference",), "cpu")).verdicts
        assert isinstance(verdict, Agreed)
        (end,) = worker.idle_ends
        assert (end.how, end.evidence) == ("crash", "its process ended by SIGTERM")


def test_a_child_searches_where_its_parent_does_whatever_other_threads_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_here.py").write_text("def adapter(call): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    started = threading.Event()

    def start_a_server() -> None:  # which searches elsewhere, for a moment
        with fork_server._path_turn, fork_server._path_to_this_package():
            started.set()
            time.sleep(1)

    def warm_up_beside_another() -> None:
        fork_server.warm_up()
        threading.Thread(target=start_a_server).start()
        started.wait()

    monkeypatch.setattr("fuzz.isolation.children.warm_up", warm_up_beside_another)
    with Worker() as worker:
        assert worker.introduced("adapter_here:adapter").target.name == "adapter_here:adapter"


def test_a_worker_that_is_told_to_stop_waits_no_longer() -> None:
    stop = threading.Event()
    with Worker(60, stop=stop) as worker:
        worker.judge(Task(HARMLESS, ("reference",), "cpu"))
        timer = threading.Timer(1, stop.set)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(Stopped):
            worker.judge(Task(FATAL, ("fuzz.canaries:hangs",), "cpu"))
        assert time.perf_counter() - start < 20
        with pytest.raises(Stopped):
            worker.judge(Task(HARMLESS, ("reference",), "cpu"))


def test_a_target_that_lacks_memory_once_is_tried_again_in_a_fresh_child() -> None:
    target = "tests.fuzz.test_isolation:lacks_memory_in_the_first_child"
    with Worker() as worker:
        verdicts = worker.judge(Task(HARMLESS, ("reference", target, "reference"), "cpu")).verdicts
        assert [(name, type(verdict)) for name, verdict, _ in verdicts] == [
            ("reference", Agreed),
            (target, Agreed),
            ("reference", Agreed),
        ]
        assert worker.restarts == 2


def test_a_child_serves_many_cases(device: str) -> None:
    with Worker() as worker:
        for _ in range(5):
            worker.judge(Task(HARMLESS, ("reference",), device))
        assert worker.restarts == 1


@pytest.mark.parametrize("name", ["index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q"])
@pytest.mark.parametrize("axes", [(), (1, 0)], ids=["plain", "transposed"])
@pytest.mark.parametrize("fence", ["behind", "in front"])
def test_beside_a_fenced_input_there_is_no_memory(name: str, axes: tuple[int, ...], fence: str) -> None:
    views = Views(index_q=ViewPlan(offset=3, step=2), block_table=ViewPlan(axes, pads=(1, 2)))
    with Worker() as worker:
        for near, distance, expected in ((fence, 1, Broke), (fence, 0, Agreed), ("", 1, Agreed), ("", 2**20, Broke)):
            case = replace(FATAL, views=replace(views, fence=near))
            target = f"tests.fuzz.test_isolation:reads_{name}_{distance}_{fence.replace(' ', '_')}"
            ((_, verdict, _),) = worker.judge(Task(case, (target,), "cpu")).verdicts
            assert isinstance(verdict, expected), (near, distance)
            if isinstance(verdict, Broke):
                assert verdict.violations[0].evidence.startswith("its process ended by SIGSEGV")


def ends_later(call: Call) -> torch.Tensor:
    """Right, but its process ends a second later."""
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return fill(call, index_topk(call.batch))


def lacks_memory_in_the_first_child(call: Call) -> torch.Tensor:
    """Right in every child of a worker but the first."""
    mark = Path(tempfile.gettempdir()) / "first child"  # a worker's children share a folder
    if not mark.exists():
        mark.write_text(str(os.getpid()))
    if mark.read_text() == str(os.getpid()):
        raise MemoryError("others hold it")
    return fill(call, index_topk(call.batch))


def __getattr__(name: str) -> Target:
    """reads_<input>_<distance>_<side>: a target that reads so many elements past an end of an input."""
    if not name.startswith("reads_"):
        raise AttributeError(name)
    place, is_behind = name.removeprefix("reads_").removesuffix("_behind").removesuffix("_in_front"), "_behind" in name
    tensor, _, distance = place.rpartition("_")

    def run(call: Call) -> torch.Tensor:
        given: torch.Tensor = getattr(call.batch, tensor)
        last = sum((size - 1) * stride for size, stride in zip(given.shape, given.stride(), strict=True))
        element = last + int(distance) if is_behind else -int(distance)
        ctypes.string_at(given.data_ptr() + element * given.element_size(), given.element_size())
        return fill(call, index_topk(call.batch))

    return Target(name, "", "foreign", run)


def test_a_case_that_cannot_be_made_is_the_harness_s_own_failure() -> None:
    flat = Case(CONFIG, (Request(2, 20),), views=Views(index_q=ViewPlan(axes=(0,))))
    with Worker() as worker, pytest.raises(HarnessError, match="axes must permute 3 axes"):
        worker.judge(Task(flat, ("reference",), "cpu"))


def test_the_gate_goes_on_after_a_crash_and_its_finding_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--no-production", "--no-corpus", "--cases", "12", "--jobs", "2"]
    options += ["--findings", str(tmp_path / "findings"), "--json", str(tmp_path / "a.json")]
    assert main(["gate", *options, "--target", "fuzz.canaries:aborts", "--target", "reference"]) == 1
    record = Record.from_json((tmp_path / "a.json").read_text())
    aborts, reference = record.targets
    assert record.aborted == ""
    assert reference.agreed == 12
    assert aborts.broke > 1
    assert aborts.agreed + aborts.broke == 12
    assert "crash: its process ended by SIGABRT" in record.findings[0].evidence
    assert main(["replay", record.findings[0].path, "--device", "cpu"]) == 1
    assert "SIGABRT" in capsys.readouterr().out


def test_a_target_that_would_end_its_process_is_told_by_name() -> None:
    names = [
        f"tests.fuzz.test_isolation:{name}" for name in ("exits_politely", "interrupts", "raises_what_has_no_text")
    ]
    with Worker() as worker:
        verdicts = worker.judge(Task(HARMLESS, (*names, "reference"), "cpu")).verdicts
    first_ones = [verdict.violations[0] for _, verdict, _ in verdicts[:3] if isinstance(verdict, Broke)]
    assert [(one.how, one.evidence.partition(" (")[0]) for one in first_ones] == [
        ("crash", "SystemExit: 0"),
        ("crash", "KeyboardInterrupt"),
        ("raised", "NoText: "),
    ]
    assert isinstance(verdicts[3][1], Agreed)


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError


def exits_politely(call: Call) -> None:
    sys.exit(0)


def interrupts(call: Call) -> None:
    raise KeyboardInterrupt


def raises_what_has_no_text(call: Call) -> None:
    raise NoText

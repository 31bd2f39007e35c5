"""Interrupts: a command that has to end early reports what it judged."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fuzz.campaign.fixed_list import judge_all
from fuzz.campaign.hypothesis_profile import nightly_profile
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.random_rounds import Budget, RandomRounds
from fuzz.cases.case import Case, Request
from fuzz.cases.scale import SCALES
from fuzz.isolation.messages import Judged, Task
from fuzz.report.record import Record
from fuzz.targets import BUILT_IN, Call, fill
from msa_ref import IndexerConfig, index_topk
from tests.support.fuzz_command import ROOT
from tests.support.rounds import Recorder, new_results


def test_an_interrupted_run_keeps_what_it_judged(device: str) -> None:
    def tasks() -> Iterator[Task]:
        yield from (
            Task(Case(IndexerConfig(2, 16, 16, 4), (Request(1, 20),)), ("reference",), device) for _ in range(9)
        )
        raise KeyboardInterrupt

    results = new_results(SCALES["small"])
    with Pool(1, 60.0) as pool:
        judge_all(enumerate(tasks()), 20, results, pool)
    record = results.record
    assert record.aborted == f"ended after {record.cases} of 20 cases"
    assert record.targets[0].agreed == record.cases > 0
    assert record.exit_status == 1


@pytest.mark.parametrize("command", ["run", "gate"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_a_command_told_to_end_reports_what_it_judged(command: str, how: signal.Signals, tmp_path: Path) -> None:
    budget = ["--minutes", "5"]
    if command == "gate":  # verdicts count in order: of many children the first may be the last to be done
        budget = ["--cases", "400", "--no-corpus", "--no-production", "--jobs", "2"]
    words = [
        command,
        *budget,
        "--seed",
        "4",
        "--target",
        "tests.fuzz.test_interrupts:says_that_it_runs",
        "--json",
        "a.json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz", *words, "--device", "cpu"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "SAYS_THAT_IT_RUNS": str(tmp_path / "runs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What runs in the background of a shell inherits that it ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(600):
        if len(list(tmp_path.glob("runs*"))) > 40:
            break
        time.sleep(0.1)
    # From the keyboard the signal goes to all processes of the command.
    os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    record = Record.from_json((tmp_path / "a.json").read_text())
    assert record.cases > 0
    assert record.seconds > 0
    assert record.findings == ()
    assert record.aborted.startswith(f"ended after {record.cases} ")
    assert f"aborted: {record.aborted}" in out
    assert out.splitlines()[-1].startswith(f"again: python -m fuzz {command} --seed 4 ")


def test_a_gate_that_is_ended_reports_at_once_what_was_judged(tmp_path: Path) -> None:
    words = ["gate", "--cases", "40", "--no-corpus", "--no-production", "--jobs", "2", "--json", "a.json"]
    words += ["--target", "reference", "--target", "tests.fuzz.test_interrupts:is_slow_in_the_first_case"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IS_SLOW": str(tmp_path / "slow")}
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz", *words, "--device", "cpu"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(600):
        if len(list(tmp_path.glob("slow*"))) > 16:
            break
        time.sleep(0.1)
    start = time.monotonic()
    process.terminate()  # as `timeout` does: to the process, and then to all of its group
    os.killpg(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 10
    assert (process.returncode, errors) == (1, "")
    record = Record.from_json((tmp_path / "a.json").read_text())
    reference, slow = record.targets
    assert reference.agreed > slow.agreed > 0, "also cases behind the slow one, and the reference in that one"
    assert (reference.broke, slow.broke, record.findings) == (0, 0, ())
    # Each has 40 drawn inside its own promises, and they share few: the reference takes every format.
    assert re.fullmatch(rf"ended after {record.cases} of [4-7]\d cases", record.aborted)
    assert out.splitlines()[-3:-1] == [f"aborted: {record.aborted}", "ended early, without a finding"]


def is_slow_in_the_first_case(call: Call) -> torch.Tensor:
    """The reference, which never comes back from its very first run and leaves a file for every other."""
    first = Path(os.environ["IS_SLOW"])
    with contextlib.suppress(FileExistsError):
        first.touch(exist_ok=False)
        time.sleep(600)
    handle, _ = tempfile.mkstemp(prefix="slow", dir=first.parent)
    os.close(handle)
    return fill(call, index_topk(call.batch))


class _LosesAnInterrupt(Recorder):
    """Is asked to terminate in its third case, in a place where an exception is dropped."""

    def judge(self, task: Task) -> Judged:
        if len(self.cases) == 2:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        return super().judge(task)


def test_an_interrupt_whose_exception_is_lost_still_ends_the_run() -> None:
    worker: Any = _LosesAnInterrupt()
    scale = SCALES["small"]
    results = new_results(scale)
    with ended_politely() as ending:
        rounds = RandomRounds(
            results, worker, [BUILT_IN["reference"]], "cpu", Budget(None, 50), is_interrupted=lambda: ending.is_asked
        )
        with pytest.raises(KeyboardInterrupt):
            rounds.run(3, scale, (0, 1), nightly_profile(None), lambda _: None)
    assert len(worker.cases) == results.record.cases == 3


def says_that_it_runs(call: Call) -> torch.Tensor:
    """The reference, which leaves a file for every run."""
    handle, _ = tempfile.mkstemp(prefix="runs", dir=Path(os.environ["SAYS_THAT_IT_RUNS"]).parent)
    os.close(handle)
    return fill(call, index_topk(call.batch))


def test_the_keyboard_s_interrupt_leaves_the_fork_server_alone(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "from fuzz.isolation.fork_server import warm_up; warm_up(); input(); input()"]
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environment, stdin=pipe, stderr=pipe, text=True, start_new_session=True)
    time.sleep(1)  # the server imports
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") <= 1, "of the command itself"

"""A crash and a hang name their line of Python, and a target that hangs again and again is given up."""

import time
from pathlib import Path

import pytest
import torch

from fuzz.__main__ import main
from fuzz.canaries import PROCESS_CANARIES
from fuzz.cases.case import Case, Request
from fuzz.isolation.hangs import MAX_HANGS
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Broke
from fuzz.report.record import Record
from fuzz.targets import Call
from msa_ref import IndexerConfig

FATAL = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 70), Request(1, 9)))


@pytest.mark.parametrize("name", ["segfaults", "aborts", "hangs"])
def test_an_end_names_the_line_of_the_targets_own_file(name: str) -> None:
    code = PROCESS_CANARIES[name].target.run.__code__  # type: ignore[attr-defined]
    lines = Path(code.co_filename).read_text().splitlines()
    with Worker(2, first_call_hangs_after=2) as worker:
        (violation,) = worker.violations(FATAL, f"fuzz.canaries:{name}", "cpu")
    file, _, line = violation.evidence.rpartition(" (")[2].removesuffix(")").rpartition(", line ")
    assert file.endswith("fuzz/canaries/process.py"), violation
    assert lines[int(line) - 3].startswith(f"def {name}("), violation


def test_a_target_that_hangs_again_and_again_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--device",
        "cpu",
        "--cases",
        "12",
        "--no-corpus",
        "--no-production",
        "--jobs",
        "1",
        "--hangs-after",
        "2",  # a second has been too short for the reference on a busy machine
    ]
    options += ["--findings", str(tmp_path / "findings"), "--json", str(tmp_path / "a.json")]
    assert main(["gate", *options, "--target", "tests.fuzz.test_ends:hangs_always", "--target", "reference"]) == 1
    printed = capsys.readouterr()
    record = Record.from_json((tmp_path / "a.json").read_text())
    hangs, reference = record.targets
    assert (hangs.broke, hangs.num_undefined, hangs.verdict) == (MAX_HANGS, 12 - MAX_HANGS, "broke")
    assert reference.agreed == 12
    sentence = f"not judged: the target was given up, as it hung in {MAX_HANGS} cases"
    assert sentence in printed.out
    assert printed.err.count(sentence) == 1


def test_a_target_that_is_given_up_costs_the_others_nothing() -> None:
    names = ("reference", "fuzz.canaries:hangs", "reference")
    with Worker(1, first_call_hangs_after=1) as worker:
        found = [worker.judge(Task(FATAL, names, "cpu")).verdicts for _ in range(MAX_HANGS + 1)]
    assert [isinstance(verdicts[1][1], Broke) for verdicts in found] == [*[True] * MAX_HANGS, False]
    assert len({verdicts[0][1] for verdicts in found} | {verdicts[2][1] for verdicts in found}) == 1


def hangs_always(call: Call) -> torch.Tensor:
    """Sleeps for hours in every call."""
    time.sleep(10_000)
    return torch.empty(0)

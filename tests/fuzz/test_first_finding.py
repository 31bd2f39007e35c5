"""Findings are told as soon as they are known, and `-x` stops at the first one."""

import shlex
import time
from pathlib import Path

import pytest
import torch

from fuzz.__main__ import main
from fuzz.report.record import Record
from fuzz.targets import Call, fill
from msa_ref import index_topk
from tests.support.fuzz_command import run_fuzz

OPTIONS = ("--device", "cpu", "--jobs", "2", "--cases", "60", "--no-corpus", "--no-production")
TIES = "fuzz.canaries:highest_id_wins_ties"


@pytest.mark.parametrize("command", ["gate", "run"])
def test_exitfirst_shows_one_whole_finding_and_its_replay(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = OPTIONS if command == "gate" else ("--device", "cpu", "--cases", "60")
    assert main([command, *options, "--seed", "4", "--target", TIES, "-x", "--json", "a.json"]) == 1
    printed = capsys.readouterr()
    record = Record.from_json(Path("a.json").read_text())
    assert 0 < record.cases < 60
    assert record.aborted.startswith(f"stopped at the first finding, after {record.cases} ")
    assert record.broke == 1
    told = [line for line in printed.err.splitlines() if line.startswith(f"broke: {TIES}: Best: head ")]
    assert len(told) == 1, printed.err
    assert told[0].endswith(" (being judged again in a fresh process)"), "its report may take two minutes"
    assert " -x " in printed.out.splitlines()[-1]
    (finding,) = (one for one in record.findings if one.law == "Best")
    assert finding.evidence in printed.out
    assert f"again: {finding.command}" in printed.out
    assert main([*shlex.split(finding.command)[3:]]) == 1


def test_a_finding_is_told_before_a_slower_case_ends(tmp_path: Path) -> None:
    start = time.monotonic()
    names = ("tests.fuzz.test_first_finding:sleeps_in_the_first_case", TIES)
    targets = [word for name in names for word in ("--target", name)]
    done = run_fuzz("gate", *OPTIONS, "--seed", "4", *targets, "-x", cwd=tmp_path)
    assert done.returncode == 1
    assert time.monotonic() - start < 60
    assert f"broke: {TIES}: Best: " in done.stderr


def sleeps_in_the_first_case(call: Call) -> torch.Tensor:
    """The reference, which sleeps for minutes in the very first case that is judged."""
    try:
        Path("first").touch(exist_ok=False)
        time.sleep(600)
    except FileExistsError:
        pass
    return fill(call, index_topk(call.batch))

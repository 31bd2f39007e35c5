"""The night: shards, one report, and a canary that has to fail; and the workflow that calls it."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.__main__ import main, read
from fuzz.campaign import shard
from fuzz.commands import nightly
from fuzz.isolation.gpus import visible_gpus
from fuzz.report.record import Record, TargetRecord
from tests.support.fuzz_command import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"


@pytest.fixture
def short_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A night of two shards and a few cases for the canary, all in processes of their own; its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nightly, "CANARY_CASES", 6)
    words = ["--device", "cpu", "--minutes", "0.001", "--shards", "2", "--seed", "3", "--target", "reference"]
    return lambda *more: main(["nightly", *words, *more])


def test_a_night_without_findings_leaves_one_report(
    short_night: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert short_night() == 0
    assert "the canary fuzz.canaries:highest_id_wins_ties died, by Best, as it has to" in capsys.readouterr().out
    folder = tmp_path / ".fuzz" / "nightly"
    record = Record.from_json((folder / "report.json").read_text())
    assert record.shard == "0/2 | 1/2"
    assert [target.name for target in record.targets] == ["reference"]
    assert record.cases > 0
    assert record.findings == ()
    again = "python -m fuzz nightly --seed 3 --minutes 0.001 --shards 2 --device cpu"
    assert record.reproduce == f"{again} --canary fuzz.canaries:highest_id_wins_ties --target reference"
    for name in ("report.html", "report.xml", "shard-0.log", "shard-1.log", "canary.log"):
        assert (folder / name).stat().st_size > 0, name


def test_a_night_whose_canary_lives_has_failed(
    short_night: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agreed = Record("run", "again", 3, "small", "cpu", {}, targets=(TargetRecord("reference", "", "", agreed=9),))
    monkeypatch.setattr(nightly, "_shards", lambda options: ([agreed], []))  # their processes are the test's above
    assert short_night("--canary", "reference", "--shards", "1") == 1
    sentence = "the canary reference lived through 6 cases: this night would have seen nothing"
    assert sentence in capsys.readouterr().out
    assert Record.from_json((tmp_path / ".fuzz" / "nightly" / "report.json").read_text()).aborted


@pytest.mark.parametrize("option", ["--canary", "--target"])
def test_a_night_of_an_unknown_target_ends_at_once(
    option: str, short_night: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert short_night(option, "nosuch:function") == 2
    assert "No module named 'nosuch'" in capsys.readouterr().err
    assert not (tmp_path / ".fuzz").exists()


def test_shards_share_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert visible_gpus() == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def _commands() -> list[str]:
    return re.findall(r"\.venv/bin/(python -m fuzz .*)", WORKFLOW.read_text())


def test_every_command_of_the_workflow_exists() -> None:
    commands = _commands()
    assert {shlex.split(command)[3] for command in commands} == {"gate", "nightly"}
    for command in commands:
        words = [word.replace("$MINUTES", "30") for word in shlex.split(command)[3:]]
        read(words)  # exits on a word that it does not know


def test_the_workflow_keeps_what_the_nightly_writes() -> None:
    text = WORKFLOW.read_text()
    (nightly,) = (command for command in _commands() if "fuzz nightly" in command)
    _, options = read([word.replace("$MINUTES", "30") for word in shlex.split(nightly)[3:]])
    kept = re.findall(r"^ +(\.fuzz/\w+)$", text, re.MULTILINE)
    # Hypothesis's examples lie beside the findings.
    for folder in (options.folder, options.findings, options.findings.parent / "examples"):
        assert str(folder) in kept
    assert "\t" not in text


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_late_shard_may_report_before_it_is_killed(
    is_deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = "" if is_deaf else "Path('asked').touch(); sys.exit(1)"
    script = f"""
import signal, sys, time
from pathlib import Path
def end(*_):
    {ends or "pass"}
signal.signal(signal.SIGTERM, end)
Path("ready").touch()
while True:
    time.sleep(0.1)
"""
    monkeypatch.setattr(shard, "REPORT_SECONDS", 3.0)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    shard.end(process, time.monotonic())
    assert process.returncode == (-signal.SIGKILL if is_deaf else 1)
    assert (tmp_path / "asked").exists() != is_deaf


def test_an_interrupted_night_tells_its_shards_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = list[str]()

    class Endless:
        loss, log = "was told to end", tmp_path / "any.log"

        def __init__(self, words: object, gpu: str, path: Path) -> None:
            self._name = path.stem

        def end(self, deadline: float) -> None:
            if deadline > 0 and self._name == "shard-0":
                raise KeyboardInterrupt
            told.append(self._name)

    monkeypatch.setattr(nightly, "Shard", Endless)
    assert main(["nightly", "--device", "cpu", "--shards", "2", "--folder", str(tmp_path)]) == 1
    assert told == ["canary", "shard-0", "shard-1"]
    assert "shard 0/2 was told to end" in capsys.readouterr().out

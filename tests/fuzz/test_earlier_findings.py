"""Findings of earlier runs: a run judges them again, and the folder says which of them still break."""

import json
import re
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.campaign.findings import stored
from fuzz.report.record import Record

CANARY = "fuzz.canaries:highest_id_wins_ties"


def _gate(folder: Path, target: str, num_cases: int) -> Record:
    """The record of a small gate, whose findings go to the folder `f`."""
    words = ["--device", "cpu", "--no-production", "--no-corpus", "--no-diagnose", "--jobs", "1"]
    words += ["--findings", str(folder / "f"), "--json", str(folder / "a.json"), "--cases", str(num_cases)]
    main(["gate", *words, "--target", target])
    return Record.from_json((folder / "a.json").read_text())


def test_old_findings_are_set_aside_once_they_pass_and_told_as_long_as_they_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _gate(tmp_path, CANARY, 6)
    path, *others = sorted((tmp_path / "f").iterdir())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target": "reference"}))
    of_a_gpu = others[0].with_name("gpu.json")
    environment = {"device": "NVIDIA H200"}
    of_a_gpu.write_text(json.dumps(json.loads(path.read_text()) | {"environment": environment}))
    record = _gate(tmp_path, "reference", 6)
    assert re.search(r"^agrees now, at .*: reference broke Best in ", capsys.readouterr().out, re.MULTILINE)
    (fixed,) = record.fixed
    assert fixed.path == str(path.parent / "fixed" / path.name)
    assert "fixed_since" in json.loads(Path(fixed.path).read_text())
    assert not path.exists()
    assert list(stored(tmp_path / "f", {"reference"})) == [of_a_gpu], "no CPU says what it does on a GPU"
    assert main(["replay", str(path), "--device", "cpu"]) == 0, "a command that was printed is still good"

    capsys.readouterr()
    _gate(tmp_path, CANARY, 1)
    printed = capsys.readouterr().out
    told = {line.rpartition(" in ")[2] for line in printed.splitlines() if line.startswith("still breaks, ")}
    found = set(re.findall(r"fuzz replay (\S+)", printed))
    assert told - found
    assert told | found == {str(other) for other in (tmp_path / "f").glob("*.json")} - {str(of_a_gpu)}
    assert re.search(r"[1-9]\d* findings? of earlier runs still breaks?$", printed, re.MULTILINE)

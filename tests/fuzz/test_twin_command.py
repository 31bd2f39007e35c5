"""`python -m fuzz twin` on machines of any kind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.commands import twin_schedules
from fuzz.commands.options import chosen
from fuzz.commands.twin_schedules import Done, Place, Task, run_task
from fuzz.isolation.hangs import Hangs
from fuzz.isolation.worker import Worker
from fuzz.report.record import Record
from fuzz.targets.stamp import stamp
from fuzz.targets.twins import Twin
from fuzz.twin.compile import has_level
from tests.support import foreign_indexer


def test_twins_take_a_numpy_that_the_interpreter_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.__version__", "3.6.0")
    monkeypatch.setattr("numpy.__version__", "2.4.1")
    assert [target.name for target in chosen(["twin-sm_90/decode"], "cpu")] == ["twin-sm_90/decode"]
    with pytest.raises(ValueError, match="numpy must be"):
        chosen(["twin-sm_90/decode", "decode"], "cpu")


@pytest.mark.parametrize(
    ("names", "device", "architecture"),
    [
        (["decode"], "CPU, kernels on Triton's interpreter", "interpreter"),
        (
            ["twin-sm_90+source/decode", "twin-sm_90+source/topk", "twin-sm_100+source+bits/decode"],
            "CPU, kernels executed on a model of sm_90 (level source), sm_100 (level source)",
            "model of sm_90, sm_100",
        ),
        (
            ["twin-sm_90+source/decode", "topk"],
            "CPU, kernels on Triton's interpreter; the twins' kernels executed on a model of sm_90 (level source)",
            "interpreter",
        ),
    ],
)
def test_a_stamp_says_what_ran_the_kernels(names: list[str], device: str, architecture: str) -> None:
    made = stamp("cpu", names)
    assert (made["device"], made["architecture"]) == (device, architecture)
    level = stamp("cpu", ["twin-sm_90/decode"])["device"].partition("(level ")[2]
    assert level == ("compiled)" if has_level("compiled") else "source)")


@pytest.mark.parametrize("command", ["twin --cases 1 --arch sm_90", "gate --device cpu --smoke"])
def test_a_record_of_twins_says_what_ran_the_kernels(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "reference" if command.startswith("twin") else "twin-sm_90+source/reference"
    words = [*command.split(), "--target", target, "--jobs", "1", "--json", str(tmp_path / "record.json")]
    main([*words, "--findings", str(tmp_path)] + (["--level", "source"] if target == "reference" else []))
    said = "CPU, kernels executed on a model of sm_90 (level source)"
    assert f"\n  device: {said}\n" in capsys.readouterr().out
    assert Record.from_json((tmp_path / "record.json").read_text()).environment["device"] == said


def test_twin_runs_on_the_cpu_also_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("fuzz.isolation.fork_server.warm_up", lambda: None)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert main(["twin", "--cases", "-1"]) == 2
    assert os.environ["TRITON_INTERPRET"] == "1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--jobs 0", "--jobs must be >= 1; got 0"),
        ("--hangs-after nan", "--hangs-after must be >= 1; got nan"),
        ("--policy late", "--schedules must come without --policy, --corpus and --json, which it has no use for"),
        ("--arch sm_90 --target decodex", "target must be one of reference, prefill, "),
    ],
)
def test_schedules_refuse_bad_words_in_a_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["twin", "--schedules", "1", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(f"fuzz: {sentence}")


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("tests.support.foreign_indexer:in_an_endless_loop", "no end of a first call after 3 s"),
        ("fuzz.canaries:exits", "its process ended with status 7"),
    ],
)
def test_launch_that_never_ends_or_ends_its_process_is_a_finding(name: str, evidence: str) -> None:
    place, hangs = Place(Twin("sm_90", "source"), name), Hangs()
    hangs.count_first_call(place.target)  # so that none has longer than other calls
    with Worker(3, hangs=hangs, first_call_hangs_after=60) as worker:
        ((finding, command),) = run_task(worker, Task(place, 5, 1)).found.items()
    assert f"{place.target}, seed 5: Runs: {evidence}" in finding
    assert command.endswith(f"--schedules 1 --seed 5 --arch sm_90 --level source --target {name}")
    if name.endswith("_loop"):
        line = foreign_indexer.in_an_endless_loop.__code__.co_firstlineno + 2
        place = f"tests/support/foreign_indexer.py, line {line})"
        assert f"{place}: the program goes on in _endless_kernel at foreign_indexer.py:" in finding


def test_interrupt_tells_the_schedules_until_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Iterator[Done]:
        yield Done({("sm_90", "kernel"): [7, 7]}, seconds=1)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(twin_schedules, "_tasks_done", interrupted)
    assert main(["twin", "--schedules", "9"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("ended early\n")
    assert "2 schedules, 1 of them distinct: no findings\n" in printed

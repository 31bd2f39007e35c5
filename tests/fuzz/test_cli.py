"""The command: what it prints, what it leaves behind and how it exits."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fuzz import corpus
from fuzz.__main__ import main
from fuzz.campaign.findings import read_case
from fuzz.commands import COMMANDS
from fuzz.report.record import Record
from fuzz.report.statuses import STATUSES
from fuzz.targets import BUILT_IN, Call, NotApplicable, find
from msa_ref.formats import FORMAT_PAIRS
from tests.support.fuzz_command import run_fuzz

GATE = ("--device", "cpu", "--no-production", "--no-corpus", "--jobs", "1", "--cases", "24")
Fuzz = Callable[..., tuple[int, str]]


@pytest.fixture
def fuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fuzz:
    """The command in an empty folder, in this process, which has imported all it needs: exit status and output."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: (main([*arguments]), capsys.readouterr().out)


def test_a_gate_that_agrees_exits_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_fuzz("gate", *GATE, "--target", "reference", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "seed 3, 24 cases at scale small, on cpu"
    assert lines[-2] == "all agreed"
    assert lines[-1] == (
        "again: python -m fuzz gate --seed 3 --cases 24 --scale small --device cpu --no-corpus --no-production "
        "--target reference"
    )
    assert re.search(r"^ran 24 cases, \d+ rows in .* rows/s$", done.stdout, re.MULTILINE)
    assert re.search(r"^  torch: \d", done.stdout, re.MULTILINE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "law"),
    [("highest_id_wins_ties", "Best"), ("tail_not_masked", "PoisonBlind"), ("last_split_forgotten", "Best")],
)
def test_a_broken_kernel_fails_and_the_printed_command_shows_it(fuzz: Fuzz, target: str, law: str) -> None:
    name = f"fuzz.canaries:{target}"
    # Of this seed the cases that break are small, and soon asked why.
    status, printed = fuzz("gate", *GATE, "--cases", "12", "--seed", "4", "--target", name)
    assert status == 1
    place = re.search(rf"^    {law}: head (\d+), token (\d+), request (\d+).*: .*$", printed, re.MULTILINE)
    assert place, printed
    command = re.search(rf"again: python -m fuzz (replay \S*-{law}-\S+ --target {name})", printed)
    assert command, printed

    status, printed = fuzz(*shlex.split(command.group(1)), "--device", "cpu")  # test_run does it as a user
    assert status == 1
    assert f"{law}: " in printed
    assert "the cut" in printed or "wrongly" in printed
    assert "answered [" in printed


def test_a_finding_replays_elsewhere_and_as_a_bare_case(fuzz: Fuzz, tmp_path: Path) -> None:
    options = (*GATE, "--cases", "6", "--no-diagnose")
    assert fuzz("gate", *options, "--target", "fuzz.canaries:always_the_most_recent")[0] == 1
    path = next((tmp_path / ".fuzz" / "findings").iterdir())
    assert fuzz("replay", str(path), "--target", "reference", "--device", "cpu")[0] == 0
    bare = tmp_path / "case.json"
    bare.write_text(json.dumps(json.loads(path.read_text())["case"]))
    assert read_case(bare)[0] == read_case(path)[0]
    status, printed = fuzz("replay", str(bare), "--target", "reference", "--device", "cpu")
    assert status == 0
    assert printed.splitlines()[1].startswith("agreed    reference: "), "the verdict comes first"
    assert "--show-case prints all of it" in printed
    assert "{" not in printed
    _, printed = fuzz("replay", str(bare), "--target", "reference", "--device", "cpu", "--show-case")
    assert read_case(bare)[0].to_json() in printed


def test_worker_processes_change_no_verdict(fuzz: Fuzz) -> None:
    def verdicts(jobs: str) -> list[str]:
        _, printed = fuzz(
            "gate", *GATE, "--target", "fuzz.canaries:sees_the_next", "--cases", "12", "--jobs", jobs, "--no-diagnose"
        )
        return [re.sub(r" in [\d.]+ s.*", "", line) for line in printed.splitlines()[9:]]

    assert verdicts("1") == verdicts("2") != []


FILE, FOLDER = "a_file", "a_folder"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("gate --target nobody", "target must be one of"),
        ("gate --target msa_ref:index_topk@absent.json", "absent.json must be a file of JSON that can be read"),
        ("gate --target msa_ref:index_topk@", "target must name a profile's file behind the @"),
        ("gate --target msa_ref:absent", "target must name a target or a function in msa_ref; got 'absent'"),
        ("gate --target absent.py:kernel", "target must be in a module that can be imported; got 'absent.py'"),
        ("gate --cases -1", "--cases must be >= 0; got -1"),
        ("gate --cases 100001", "--cases must be <= 100,000 in a gate; got 100,001"),
        ("gate --jobs 0", "--jobs must be >= 1; got 0"),
        ("gate --hangs-after nan", "--hangs-after must be >= 1; got nan"),
        ("gate --shrink-seconds -1", "--shrink-seconds must be >= 0; got -1.0"),
        ("gate --scale large", "--scale must be small on a CPU"),
        ("run --scale large", "--scale must be small on a CPU"),
        ("run --minutes nan", "--minutes must be >= 0; got nan"),
        ("run --shrink-seconds nan", "--shrink-seconds must be >= 0; got nan"),
        ("run --shard 2/2", "--shard must be i/n with 0 <= i < n; got 2/2"),
        ("replay no-such-file.json", "no-such-file.json"),
        *[
            (f"{command} {option} {place}", f"{place} must be a {kind} that can be ")
            for command, option in [
                ("gate", "--json"),
                ("gate", "--junit"),
                ("run", "--json"),
                ("replay absent.json", "--json"),
                ("canaries", "--json"),
                ("canaries", "--publish"),
                ("canaries --markdown", "--into"),
                ("report absent.json", "--html"),
                ("gate", "--findings"),
                ("nightly", "--folder"),
                ("nightly", "--findings"),
            ]
            for kind in ["folder" if option in ("--findings", "--folder") else "file"]
            for place in [f"{FILE}/below", *([FOLDER] if kind == "file" else [FILE])]
        ],
    ],
)
def test_bad_arguments_exit_with_2_and_one_sentence(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).touch()
    (tmp_path / FOLDER).mkdir()
    device = [] if words.startswith("report") else ["--device", "cpu"]
    assert main([*words.split(), *device]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == "", "before anything was judged"
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, FOLDER]


def test_files_that_hold_no_finding_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "corrupt.json").write_text("{")
    (tmp_path / "f" / "old.json").write_text('{"target": "reference", "violation": {}, "case": {"heads": 4}}')
    options = [*GATE, "--cases", "1", "--findings", "f", "--target", "reference"]
    assert main(["gate", *options]) == 0
    printed = capsys.readouterr().err
    assert [line.split()[:4] for line in sorted(printed.splitlines())] == [
        ["fuzz:", "passed", "over:", f"f/{name}"] for name in ("corrupt.json", "old.json")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_written_in_words(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert COMMANDS[command] in " ".join(printed.split())
    assert "{'" not in printed, "a Python dict"


def test_help_lists_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in COMMANDS.values())
    assert all(f"{status} " in printed and words in printed for status, words in STATUSES.items())


def declines(call: Call) -> None:
    """Takes nothing."""
    raise NotApplicable("there is nothing that it takes")


def test_a_target_that_no_case_judged_exits_with_3(fuzz: Fuzz) -> None:
    status, printed = fuzz("gate", *GATE, "--target", "tests.fuzz.test_cli:declines")
    assert status == 3
    assert "there is nothing that it takes" in printed


def test_a_profile_narrows_the_cases_and_what_they_should_reach(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / "narrow.json").write_text('{"dtypes": ["float16"], "nan": "undefined"}')
    target = "fuzz.targets.built_in:_reference@narrow.json"
    status, printed = fuzz("gate", "--device", "cpu", "--cases", "6", "--no-production", "--target", target)
    assert status == 0
    assert "0 undefined" in printed
    assert "float32" not in printed
    assert re.search(r"outside of its promises, not asked: \d+ kept cases \(.*D07-nan_wins.*\)", printed)


def test_targets_are_listed_with_a_sentence_each(fuzz: Fuzz) -> None:
    status, printed = fuzz("targets")
    assert status == 0
    for target in BUILT_IN.values():
        assert re.search(rf"^{target.name} .*{re.escape(target.sentence)}$", printed, re.MULTILINE)


def test_a_foreign_target_comes_in_by_module_and_name() -> None:
    target = find("msa_ref:index_topk")
    assert target.name == "msa_ref:index_topk"
    assert target.kind == "foreign"


def _gate_here(tmp_path: Path, target: str, num_cases: int) -> tuple[int, Record]:
    arguments = ["--device", "cpu", "--no-production", "--no-corpus", "--no-diagnose", "--jobs", "1"]
    files = ["--findings", str(tmp_path / "f"), "--json", str(tmp_path / "a.json"), "--junit", str(tmp_path / "a.xml")]
    status = main(["gate", *arguments, *files, "--target", target, "--cases", str(num_cases)])
    return status, Record.from_json((tmp_path / "a.json").read_text())


def test_record_and_junit_say_what_the_text_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, record = _gate_here(tmp_path, "fuzz.canaries:highest_id_wins_ties", 24)
    assert (status, record.command, record.cases, record.exit_status) == (1, "gate", 24, 1)
    assert 0.8 < record.certified_share <= 1.0
    assert set(record.coverage["dtype"]) == set(FORMAT_PAIRS)
    assert sum(record.histograms["tie classes of cases"].values()) == 24
    shown = set(re.findall(r"fuzz replay (\S+)", capsys.readouterr().out))
    assert {finding.path for finding in record.findings} == shown
    suite = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert len(suite.findall("testcase/failure")) == len(record.findings)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"schema": 0}', "[" * 100_000])
@pytest.mark.parametrize(
    "words",
    [
        ["replay", "FILE"],
        ["report", "FILE"],
        ["promote", "FILE", "--flag", "x", "--origin", "x", "--note", "x"],
        ["canaries", "--json", "FILE"],
        ["canaries", "--publish", "FILE"],
        ["gate", "--target", "msa_ref:index_topk@FILE"],
    ],
    ids=" ".join,
)
def test_a_corrupt_file_is_refused_by_its_name(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "corrupt.json"
    path.write_text(text)
    assert main([word.replace("FILE", str(path)) for word in words]) == 2
    printed = capsys.readouterr().err.strip()
    assert "corrupt.json" in printed
    assert len(printed.splitlines()) == 1


def test_numpy_that_the_interpreter_cannot_take_is_told_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("triton.__version__", "3.6.0")
    monkeypatch.setattr("numpy.__version__", "2.4.1")
    kept = str(next(corpus.FOLDER.glob("*.json")))
    for words in (["gate"], ["replay", kept, "--target", "decode"], ["canaries", "--kind", "mutant"]):
        assert main([*words, "--device", "cpu"]) == 2
        printed = capsys.readouterr()
        assert printed.err == "fuzz: numpy must be < 2.4 for the interpreter of triton 3.6; got 2.4.1\n"
        assert "cases" not in printed.out
    assert main(["canaries", "--markdown", "--device", "cpu"]) == 0


def test_a_page_or_help_starts_no_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[bool] = []
    monkeypatch.setattr("fuzz.isolation.fork_server.warm_up", lambda: started.append(True))
    assert main(["canaries", "--markdown", "--device", "cpu"]) == 0
    with pytest.raises(SystemExit):
        main(["gate", "--help"])
    assert started == []

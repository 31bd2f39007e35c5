"""Kernels that others ship: found where they are, held to what their source says, and told in one table."""

import json
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fuzz.__main__ import main
from fuzz.cases.case import Case, Request
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import inside
from fuzz.cases.scale import SMALL
from fuzz.commands import peers
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.report.peer_table import markdown_lines, peer_rows, table_lines
from fuzz.report.record import FindingRecord, Record, TargetRecord
from fuzz.targets import PEERS, Call, NotApplicable, Target, find
from fuzz.targets.peers import Peer, package
from fuzz.targets.peers.package import Package
from fuzz.targets.peers.peer import BEYOND
from fuzz.targets.peers.tuning import settle_tuning
from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT, Profile

SOURCE = re.compile(r"(\S+):(\d+) (.+?)(: .*)?")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package that is not installed; one file of it lies in a folder of PEERS_PATH, and needs two others of it."""
    ops = tmp_path / "some_engine" / "ops"
    ops.mkdir(parents=True)
    (ops.parent / "__init__.py").write_text("raise RuntimeError('the whole engine')\n")
    (ops / "topk.py").write_text("from some_engine.platforms import name\nfrom .helper import best\n")
    (ops / "helper.py").write_text("best = 7\n")
    monkeypatch.setenv(package.VARIABLE, str(tmp_path))
    return Package("some_engine", "some-engine", lambda: {"some_engine.platforms": {"name": "a stand-in"}})


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_every_promise_of_a_peer_names_its_source(peer: Peer) -> None:
    names = [field.name for field in fields(Profile) if field.name != "name"]
    differing = {name for name in names if getattr(peer.target.profile, name) != getattr(CONTRACT, name)}
    assert differing == set(peer.sources)
    assert all(SOURCE.fullmatch(source) for source in peer.sources.values())


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_source_is_where_the_released_file_has_it(peer: Peer) -> None:
    if peer.version not in peer.read.split():
        pytest.skip(f"{peer.read} is not here")
    for path, line, words, _ in (SOURCE.fullmatch(source).groups() for source in peer.sources.values()):  # type: ignore[union-attr]
        file = peer.package.file(path)
        assert file is not None, path
        assert words in file.read_text().splitlines()[int(line) - 1], f"{path}:{line}"


def test_a_module_is_imported_from_a_folder_without_its_package(engine: Package) -> None:
    module = engine.module("some_engine.ops.topk")
    assert (module.name, module.best) == ("a stand-in", 7)


def test_the_version_of_a_folder_is_that_of_its_metadata(engine: Package, tmp_path: Path) -> None:
    assert engine.version("some_engine.ops.topk") == "unknown"
    (tmp_path / "some_engine-1.2.dist-info").mkdir()
    (tmp_path / "some_engine-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.4\nVersion: 1.2\n\nWords.\n")
    assert engine.version("some_engine.ops.topk") == "1.2"
    assert engine.version("some_engine.ops.other") is None


def test_a_peer_that_is_not_here_is_refused_in_one_sentence() -> None:
    engine = Package("no_engine", "no-engine")
    peer = Peer(PEERS["transformers"].target, engine, "no_engine.ops", "no-engine 1.0", {})
    with pytest.raises(
        ValueError, match=r"transformers must be installed \(no-engine 1.0\), or its file .*; got neither"
    ):
        peer.installed()
    with pytest.raises(NotApplicable, match=r"no_engine.ops cannot be imported here: ModuleNotFoundError"):
        engine.module("no_engine.ops")


def test_targets_tells_which_peers_are_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Package, "version", lambda self, module: "9.9" if self.name == "vllm" else None)
    assert main(["targets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (vllm,) = (line for line in lines if line.startswith("vllm-decode "))
    (flashinfer,) = (line for line in lines if line.startswith("flashinfer "))
    assert "vllm 9.9" in vllm
    assert "not installed" in flashinfer


def test_an_adapter_that_does_not_apply_leaves_a_case_undefined() -> None:
    def refuse(call: Call) -> torch.Tensor:
        raise NotApplicable("only on Sundays")

    case = Case(IndexerConfig(1, 16, 16, 2), (Request(1, 16),))
    verdict = Examiner(Scene(case, "cpu")).examine(Target("engine", "", "any", refuse))
    assert verdict == Undefined("only on Sundays")


def test_a_foreign_tuner_is_left_one_of_its_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernels() -> SimpleNamespace:
        return SimpleNamespace(kernel=SimpleNamespace(fn=SimpleNamespace(configs=["a", "b", "c"])))

    for choice, left in ((None, ["c"]), ("0", ["a"]), ("9", ["c"]), ("own", ["a", "b", "c"])):
        module = kernels()
        if choice is not None:
            monkeypatch.setenv("PEERS_TUNING", choice)
        settle_tuning(module, "kernel", "no_kernel")  # type: ignore[arg-type]
        assert module.kernel.fn.configs == left


def test_the_table_tells_inside_from_outside_of_a_promise() -> None:
    def broken(name: str, law: str, blocks: int) -> FindingRecord:
        return FindingRecord(name, law, f"{name}{law}", "words", "path", f"replay {law}", requests=1, blocks=blocks)

    record = Record("gate", "", 0, "small", "cpu", {})
    inside, outside = TargetRecord("engine", "", "", agreed=5), TargetRecord("engine" + BEYOND, "", "", 1, 2)
    other = TargetRecord("other", "", "", undefined={"rare": 1, "needs a GPU": 4})
    record.targets = (inside, outside, other)
    record.findings = (broken("engine" + BEYOND, "Distinct", 40), broken("engine" + BEYOND, "Best", 2))
    rows = peer_rows(record, {"engine": "1.0", "other": "unknown"}, BEYOND)
    assert list(table_lines(rows)) == [
        "peer    version  promise  judged  agreed  undefined  laws broken              smallest case",
        "engine  1.0      inside   5       5       0          none                     -",
        "engine  1.0      outside  3       1       0          Best, Distinct           2 blocks, 1 request",
        "other   unknown  inside   0       0       5          not judged: needs a GPU  -",
        "engine, outside its promise, again: replay Best",
    ]
    assert list(markdown_lines(rows))[2] == "| engine | 1.0 | inside | 5 | 5 | 0 | none | - |"


def test_transformers_agrees_inside_its_promise() -> None:
    pytest.importorskip("transformers")  # its import takes most of the time
    target = find("transformers")
    cases = gate_cases(3, 12, inside(SMALL, target.domain))
    verdicts = [Examiner(Scene(case, "cpu")).examine(target) for case in cases]
    assert not [verdict for verdict in verdicts if isinstance(verdict, Broke)]
    assert sum(isinstance(verdict, Agreed) for verdict in verdicts) >= 9


def test_peers_counts_only_what_breaks_inside_of_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[str]()

    def gated(options: peers.Options) -> int:
        asked.extend(options.target_names)
        record = Record("gate", "", 0, "small", "cpu", {}, cases=500)
        inside, outside = (TargetRecord(name, "", "") for name in options.target_names)
        inside.agreed, outside.agreed, outside.broke = 500, 499, 1
        record.targets = (inside, outside)
        assert options.json is not None
        options.json.write_text(record.to_json())
        return 1

    monkeypatch.setattr(peers.gate, "run", gated)
    monkeypatch.setattr(Package, "version", lambda self, module: "9.9")
    table = tmp_path / "peers.json"
    words = ("--device", "cpu", "--target", "transformers", "--beyond", "--table", str(table))
    assert main(["peers", *words]) == 0
    assert asked == ["transformers", "transformers" + BEYOND]
    rows = json.loads(table.read_text())
    assert [(row["peer"], row["promise"], row["judged"], row["agreed"]) for row in rows] == [
        ("transformers", "inside", 500, 500),
        ("transformers", "outside", 500, 499),
    ]
    assert "transformers  9.9      inside" in capsys.readouterr().out


def test_peers_refuses_a_target_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--device", "cpu", "--target", "decode"]) == 2
    assert "--target must be one of vllm-prefill" in capsys.readouterr().err

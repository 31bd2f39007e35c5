"""A kernel's file is broken at every place, one at a time; what no case shows is listed with its line."""

import ast
import json
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.canaries.breaks import KINDS, breaks_of
from fuzz.canaries.kernels.mutant import folder_of_kernels

BROKEN = {
    "edge": ("a < b", ["(a <= b)"]),
    "operand": ("a and b or c & d", ["(c & d)", "(a and b)", "(b)", "(a)", "(c)", "(d)"]),
    "pick": ("tl.minimum(a, b)", ["(a)", "(b)"]),
    "one": ("a - 1 + (1 + b)", ["(a)", "(b)"]),
    "round": ("tl.cdiv(a + c, b)", ["((a + c) // (b))"]),
    "choice": ("a if c else tl.where(c, b, d)", ["(a)", "(tl.where(c, b, d))", "(b)", "(d)"]),
    "guard": ("None\n    if a:\n        b = c", ["False"]),
    "mask": ("tl.load(a, mask=b, other=0, eviction_policy=c)", ["tl.load(a, eviction_policy=c)"]),
    "width": ("a.to(tl.int64) + tl.cast(b, tl.int64)", ["(a)", "(b)"]),
    "statement": ("a\n    tl.debug_barrier()\n    tl.static_assert(a)", ["pass"]),
}
HELPER = """\
def checked(ids):
    if ids.ndim != 3:
        raise ValueError("ids must have three axes")
    return (ids - 1) + 1
"""
ADAPTER = """\
from fuzz.targets import Call, fill
from msa_ref import index_topk
from {helper} import checked


def adapter(call: Call):
    return fill(call, checked(index_topk(call.batch)))
"""
FEW = ("--device", "cpu", "--cases", "2", "--no-corpus", "--no-production")


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_of_each_kind_is_broken_in_every_way(kind: str) -> None:
    words, broken = BROKEN[kind]
    text = f"def kernel(a: int | None, b, c, d) -> int | None:\n    a: int | None = {words}\n"
    found = breaks_of(text)
    assert [one.new for one in found if one.kind == kind] == broken
    for one in found:
        ast.parse(one.applied(text))
        assert text.splitlines()[one.line - 1][:4] == "    "


def test_every_break_of_the_suite_s_own_kernels_is_another_module() -> None:
    for path in folder_of_kernels().rglob("ops/**/*.py"):
        text = path.read_text()
        breaks, whole = breaks_of(text), ast.dump(ast.parse(text))
        assert all(ast.dump(ast.parse(one.applied(text))) != whole for one in breaks[:: 1 + len(breaks) // 8])


def test_of_a_stranger_s_file_what_no_case_shows_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, fates = _written(tmp_path, monkeypatch), tmp_path / "fates.json"
    words = ("--target", "adapter_of_a_stranger:adapter", "--json", str(fates))
    assert main(["mutate", str(file), *words, *FEW]) == 1
    told = capsys.readouterr().out
    assert "survived" in told
    assert "line 2: `ids.ndim != 3` -> `False`" in told
    assert "killed 2 of 3" in told
    rows = json.loads(fates.read_text())
    assert [(row["break"]["kind"], row["fate"]["status"]) for row in rows] == [
        ("guard", "survived"), ("one", "killed"), ("one", "killed")
    ]  # fmt: skip


def test_a_break_of_the_suite_s_own_file_dies(capsys: pytest.CaptureFixture[str]) -> None:
    file = folder_of_kernels() / "ops" / "rank.py"
    (first, *_) = [one.line for one in breaks_of(file.read_text()) if one.kind == "edge"]
    words = ("--kind", "edge", "--lines", f"{first}-{first}", "--target", "topk", "--device", "cpu", "--cases", "16")
    assert main(["mutate", str(file), *words, "--no-corpus", "--no-production"]) == 0
    assert "killed 1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "target", "sentence"),
    [
        ("no_such_file.py", "topk", "FILE must be a Python source; got no_such_file.py"),
        ("pyproject.toml", "topk", "FILE must be a Python source; got pyproject.toml"),
        ("helper_of_a_stranger.py", "reference", "reference must import helper_of_a_stranger.py; got no sign of it"),
        ("helper_of_a_stranger.py --lines 1-1", "reference", "FILE must have a place to break; got none in"),
        ("helper_of_a_stranger.py --lines 3", "reference", "--lines must be FIRST-LAST; got 3"),
    ],
)
def test_what_cannot_be_broken_is_refused_in_one_sentence(
    file: str, target: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _written(tmp_path, monkeypatch)
    (tmp_path / "pyproject.toml").touch()
    assert main(["mutate", *file.split(), "--target", target, *FEW]) == 2
    assert sentence in capsys.readouterr().err


def _written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's adapter in a folder, which becomes the current one, and the file that it imports."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    (folder / "adapter_of_a_stranger.py").write_text(ADAPTER.format(helper="helper_of_a_stranger"))
    file = folder / "helper_of_a_stranger.py"
    file.write_text(HELPER)
    return file

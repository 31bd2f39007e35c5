"""A target that cannot be had is refused by one sentence, and the command ends with status 2."""

from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.targets import Target, find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_missing_module_is_refused_by_its_name() -> None:
    with pytest.raises(
        ValueError, match=r"^target must be in a module that can be imported; got 'nosuch': Module"
    ) as e:
        find("nosuch:fn")
    assert str(e.value).endswith("No module named 'nosuch'")


def test_a_missing_attribute_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"^target must name a target or a function in json; got 'nothing'$"):
        find("json:nothing")


@pytest.mark.parametrize(
    ("name", "text", "kind", "line"),
    [
        ("raises_at_import", "import os\n\nraise OSError('no\\nlibrary')\n", "OSError: no library", 3),
        ("calls_what_raises", "def fails():\n    return {}[1]\n\n\nfails()\n", "KeyError: 1", 2),
        ("exits_at_import", "raise SystemExit('not here')\n", "SystemExit: not here", 1),
    ],
)
def test_an_exception_at_import_is_told_with_file_and_line(
    name: str, text: str, kind: str, line: int, folder: Path
) -> None:
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(ValueError, match="must be in a module that can be imported") as refusal:
        find(f"{name}:fn")
    assert str(refusal.value).endswith(f"got {name!r}: {kind} ({folder / name}.py, line {line})")


def test_a_syntax_error_is_told_with_file_and_line(folder: Path) -> None:
    (folder / "has_no_syntax.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"SyntaxError: .* \(has_no_syntax.py, line 2\)$"):
        find("has_no_syntax:fn")


@pytest.mark.parametrize("target", ["nosuch:fn", "json:nothing", "nosuch"])
def test_a_command_ends_with_one_sentence_and_status_2(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main(["gate", "--device", "cpu", "--target", target]))
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "target must" in lines[-1]
    assert not [line for line in lines if line.startswith("Traceback")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import os\nos._exit(0)\n", "crash: its process ended with status 0"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt: "),
        ("class End(BaseException):\n    pass\n\n\nraise End('here')\n", "End: here"),
        (
            "class Odd:\n    __call__ = print\n    profile = property(lambda odd: {}[1])\n\n\nfn = Odd()\n",
            "KeyError: 1",
        ),
    ],
    ids=["exit", "keyboard", "base", "property"],
)
def test_an_import_that_ends_its_process_ends_no_command(
    text: str, sentence: str, folder: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"ends_at_import_{request.node.callspec.id}"
    (folder / f"{name}.py").write_text(text)
    assert main(["gate", "--smoke", "--device", "cpu", "--target", f"{name}:fn"]) == 2
    assert capsys.readouterr().err == f"fuzz: target must be one that can be imported; got '{name}:fn': {sentence}\n"


@pytest.mark.parametrize("docstring", ["' \\n '", "5", "None"])
def test_any_docstring_gives_a_sentence(docstring: str, folder: Path) -> None:
    name = f"odd_doc_{abs(hash(docstring))}"
    (folder / f"{name}.py").write_text(f"def fn(call): ...\n\n\nfn.__doc__ = {docstring}\n")
    assert find(f"{name}:fn").sentence in ("A foreign kernel.", "5")


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^kind must be one of decode, prefill, any, foreign, step; got 'Decode'$"):
        Target("x", "", "Decode", lambda call: call.batch.index_q)

"""The console scripts, installed from a wheel, in a repository that has a package `fuzz` of its own."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from fuzz.report.command_line import again, started, words_of
from tests.support.fuzz_command import ROOT

PACKAGES = ("msa_ref", "msa_fast", "fuzz")
ADAPTER = '''
import os
from msa_ref import index_topk

assert "PYTHONSAFEPATH" not in os.environ, "the harness's own, which processes of a target must not inherit"

def decode(call, is_reversed=False):
    """The engine's decode."""
    topk_idx = index_topk(call.batch)
    topk_idx = topk_idx.flip(-1) if is_reversed else topk_idx
    return topk_idx if call.out is None else call.out[:, : topk_idx.shape[1]].copy_(topk_idx)

def broken(call):
    """The engine's decode with its blocks in reverse."""
    return decode(call, is_reversed=True)
'''


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine's repository: a package `fuzz` that cannot be imported, an adapter, and the wheel, installed."""
    source, engine = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("engine")
    shutil.copy(ROOT / "pyproject.toml", source)
    shutil.copy(ROOT / "README.md", source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    (engine / "fuzz").mkdir()
    (engine / "fuzz" / "__init__.py").write_text("raise AssertionError('this is the engine\\'s own fuzz')\n")
    (engine / "my_adapter.py").write_text(ADAPTER)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", ".", str(source)], source)
    venv.create(engine / "env", with_pip=False, symlinks=True)
    own = sysconfig.get_path("purelib", vars={"base": str(engine / "env")})
    (Path(own) / "torch.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    (wheel,) = source.glob("*.whl")
    into = ["--python", str(engine / "env" / "bin" / "python")]
    _run([*pip, *into, "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)], source)
    return engine


def _run(command: list[str], folder: Path, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{folder / 'env' / 'bin'}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_the_script_judges_an_adapter_beside_another_package_of_its_name(engine: Path) -> None:
    targets = ["--target", "my_adapter:decode", "--target", "my_adapter:broken"]
    printed = _run(
        ["msa-fuzz", "gate", "--smoke", "--device", "cpu", "--jobs", "1", "--no-diagnose", *targets], engine, 1
    )
    assert re.search("^agreed    my_adapter:decode 8 cases agreed", printed, re.MULTILINE)
    replay = re.findall(r"again: (msa-fuzz replay .*)$", printed, re.MULTILINE)[0]
    assert replay.endswith(" --target my_adapter:broken --device cpu")
    assert "BROKE     my_adapter:broken" in _run(shlex.split(replay), engine, 1)
    assert printed.splitlines()[-1].startswith("again: msa-fuzz gate --seed ")


def test_the_benchmark_s_script_is_installed(engine: Path) -> None:
    assert "msa_fast.bench" in _run(["msa-bench", "--help"], engine)


def test_a_process_of_its_own_is_this_package_whatever_the_folder_holds(engine: Path) -> None:
    assert "decode-bound" in _run(started(["targets"]), engine)


@pytest.mark.parametrize("program", ["msa-fuzz", "python -m fuzz"])
def test_a_printed_command_is_the_one_that_was_called(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/env/bin/msa-fuzz" if program == "msa-fuzz" else "/fuzz/__main__.py"])
    words = ["a file.json", "--target", "my_adapter:decode@narrow.json"]
    assert again("replay", *words) == f"{program} replay 'a file.json' --target my_adapter:decode@narrow.json"
    assert words_of(again("replay", *words)) == ["replay", *words]

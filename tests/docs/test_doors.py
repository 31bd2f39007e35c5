"""The contracts over the import graph, in pyproject.toml, are kept, and a module that is moved up breaks one."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("msa_ref", "msa_fast", "fuzz")
REFERENCE = sorted((ROOT / "msa_ref").rglob("*.py"))
CONTRACTS = ("house", "vocabulary", "tests", "fuzz")
"""Ids of the contracts in pyproject.toml."""


def _lint(house: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(limit_to_contracts={}))"
    run = [sys.executable, "-c", program.format(contracts)]
    return subprocess.run(run, cwd=house, env={"PYTHONPATH": str(house)}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A copy of the house, to move modules in."""
    copy = tmp_path_factory.mktemp("house")
    for room in (*ROOMS, "tests"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _move(house: Path, old: str, new: str) -> None:
    """Rename a module, in its place and in every import."""
    (house / old.replace(".", "/")).with_suffix(".py").rename((house / new.replace(".", "/")).with_suffix(".py"))
    for file in house.rglob("*.py"):
        file.write_text(file.read_text().replace(old, new))


def test_every_contract_over_the_imports_is_kept():
    done = _lint(ROOT, *CONTRACTS)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("contract", "old", "new"),
    [
        ("house", "msa_ref.select", "fuzz.select"),
        ("vocabulary", "msa_fast.ops.dot", "msa_ref.dot"),
        ("fuzz", "fuzz.values.rng", "fuzz.commands.rng"),
        ("tests", "tests.support.ref_batches", "tests.ref.ref_batches"),
    ],
)
def test_a_module_that_is_moved_up_breaks_a_contract(house, contract, old, new):
    _move(house, old, new)
    try:
        done = _lint(house, contract)
        assert done.returncode == 1, done.stdout
        assert new in done.stdout
    finally:
        _move(house, new, old)


def test_msa_ref_imports_torch_and_the_standard_library_alone():
    for file in REFERENCE:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in {"msa_ref", "torch"} or top in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_msa_ref_imports_where_neither_triton_nor_a_gpu_is():
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in REFERENCE)
    modules = ", ".join(name.removesuffix(".__init__") for name in names)
    program = f"import sys; sys.modules['triton'] = None; import torch, {modules}; assert not torch.cuda.is_available()"
    environment = {"PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=ROOT)


def test_only_one_function_multiplies_matrices():
    """A bf16 tl.dot under the interpreter computes garbage silently; `dot_fp32` sees to that."""
    for file in sorted((ROOT / "msa_fast").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        uses = [node for node in calls if node.attr in ("dot", "dot_scaled") and ast.unparse(node.value) == "tl"]
        assert not uses or file.name == "dot.py", f"{file.relative_to(ROOT)}:{uses[0].lineno} calls tl.dot"

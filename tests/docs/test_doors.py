"""Which room may import which, read off the import graph."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("msa_ref", "msa_fast", "fuzz", "tests")
OPEN_TO = {
    "msa_ref": {"msa_ref"},
    "msa_fast": {"msa_fast"},
    "fuzz": {"fuzz", "msa_ref", "msa_fast"},
    "tests": {"fuzz", "msa_ref", "msa_fast"},
}
VOCABULARY = {"msa_ref.config", "msa_ref.batch"}
"""What msa_fast may know of the reference: words, never mathematics."""
JUDGES = ("bench",)
"""Rooms of msa_fast that judge kernels instead of being them."""


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_through_its_doors(room):
    for file in sorted((ROOT / room).rglob("*.py")):
        is_judge = room == "msa_fast" and file.relative_to(ROOT / room).parts[0] in JUDGES
        for name in _imports(file):
            top = name.split(".")[0]
            if top not in ROOMS or top in OPEN_TO[room] or (room == "tests" and name.startswith("tests.support")):
                continue
            is_word = room == "msa_fast" and (name in VOCABULARY or (is_judge and top == "msa_ref"))
            assert is_word, f"{file.relative_to(ROOT)} imports {name}"


def test_only_one_function_multiplies_matrices():
    """A bf16 tl.dot under the interpreter computes garbage silently; `dot_fp32` sees to that."""
    for file in sorted((ROOT / "msa_fast").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        uses = [node for node in calls if node.attr in ("dot", "dot_scaled") and ast.unparse(node.value) == "tl"]
        assert not uses or file.name == "dot.py", f"{file.relative_to(ROOT)}:{uses[0].lineno} calls tl.dot"


@pytest.mark.parametrize("room", ["msa_ref", "msa_fast", "fuzz"])
def test_a_room_imports_without_a_gpu(room):
    program = f"import {room}; import torch; assert not torch.cuda.is_available()"
    environment = {"PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=ROOT)

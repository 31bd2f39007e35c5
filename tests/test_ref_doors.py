"""The specification stands on torch and the standard library alone."""

import ast
import subprocess
import sys
from pathlib import Path

import msa_ref

FILES = sorted(Path(msa_ref.__file__).parent.rglob("*.py"))


def test_msa_ref_imports_torch_and_itself_alone():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in {"msa_ref", "torch"} or top in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_msa_ref_imports_where_triton_does_not():
    modules = ", ".join(f"msa_ref.{file.stem}" for file in FILES if file.stem != "__init__")
    program = f"import sys; sys.modules['triton'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(msa_ref.__file__).parents[1])


def test_every_public_name_has_a_docstring():
    for file in FILES:
        tree = ast.parse(file.read_text())
        for node in [tree, *tree.body]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.startswith("_"):
                continue
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                assert ast.get_docstring(node), f"{file.name}: {getattr(node, 'name', 'the module')} has no docstring"

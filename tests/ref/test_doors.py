"""The specification stands on torch and the standard library alone."""

import ast
import subprocess
import sys
from pathlib import Path

import msa_ref

ROOM = Path(msa_ref.__file__).parent
FILES = sorted(ROOM.rglob("*.py"))


def test_msa_ref_imports_torch_and_itself_alone():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in {"msa_ref", "torch"} or top in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_msa_ref_imports_where_triton_does_not():
    names = (".".join(file.relative_to(ROOM.parent).with_suffix("").parts) for file in FILES)
    modules = ", ".join(name.removesuffix(".__init__") for name in names)
    program = f"import sys; sys.modules['triton'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOM.parent)


def test_every_public_name_has_a_docstring():
    for file in FILES:
        tree = ast.parse(file.read_text())
        for node in [tree, *tree.body]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.startswith("_"):
                continue
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                assert ast.get_docstring(node), f"{file.name}: {getattr(node, 'name', 'the module')} has no docstring"

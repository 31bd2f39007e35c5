"""The house is tidy: small files, no heavy ones, bounds by their names, plain first lines, nothing dead."""

import ast
import re
import subprocess

from tests.support.markdown import ROOT

LISTED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\n")
"""Every file of the repository, by its path from the root; empty outside of a clone."""
FILES = sorted(name for name in LISTED if name and (ROOT / name).is_file()) or sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and ".git" not in path.parts
)
PROGRAMS = [name for name in FILES if name.endswith(".py")]
PACKAGED = [name for name in PROGRAMS if name.split("/")[0] in ("msa_ref", "msa_fast", "fuzz")]

MAX_BYTES = 256 << 10
"""Bytes of a file in the repository."""
MAX_LINES = 300
"""Lines of a program."""
MAX_KERNEL_LINES = 400
"""Lines of a file of kernels, or of mutants of kernels."""
LONG = {
    "fuzz/canaries/field_defects.py",  # a table
    "tests/fast/test_indexer.py",
    "tests/fuzz/test_score.py",
    "tests/ref/test_certified.py",
}
"""Programs that are longer. The list may only shrink."""
RIDDLES = ("What", "Who", "Whom", "Whose", "Of", "So", "Where", "Whether", "Which", "How", "Why", "When", "One that")
"""Words that do not begin the first line of a module: it begins with the thing itself."""
FOUND_BY_NAME = ("fuzz/canaries/kernels/", "fuzz/commands/")
"""Folders whose modules are looked up by their names."""
UNREFERENCED = {"conftest", "__init__", "__main__"}
"""Modules that nothing imports by name."""


def _lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def test_no_program_is_too_long():
    def bound(name: str) -> int:
        return MAX_KERNEL_LINES if "msa_fast/ops/" in name or "canaries/kernels/" in name else MAX_LINES

    assert {name for name in PROGRAMS if _lines(name) > bound(name)} == LONG


def test_no_file_is_too_heavy():
    assert [name for name in FILES if (ROOT / name).stat().st_size > MAX_BYTES] == []


def test_bounds_are_max_and_min():
    """`most_` and `least_` would say the same in other words."""
    bound = re.compile(r"\b_?(?:most|least)_(?!common\b|recent\b|informative)\w+", re.IGNORECASE)
    assert {name for name in PROGRAMS if bound.search(_names_in(name))} == set()


def test_a_program_begins_with_the_thing_itself():
    riddle = re.compile(rf"(?:{'|'.join(RIDDLES)})\b")
    assert {name for name in PROGRAMS if _lines(name) and riddle.match(_docstring(name))} == set()


def test_every_program_says_what_it_is_for():
    assert [name for name in PROGRAMS if _lines(name) and not _docstring(name)] == []


def test_every_public_name_of_a_package_has_a_docstring():
    bare = []
    for name in PACKAGED:
        for node in ast.parse((ROOT / name).read_text()).body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                bare.append(f"{name}: {node.name}")
    assert bare == []


def _docstring(name: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / name).read_text())) or ""


def _names_in(name: str) -> str:
    """The identifiers of a program, without its texts."""
    nodes = list(ast.walk(ast.parse((ROOT / name).read_text())))
    words = [getattr(node, field) for node in nodes for field in ("id", "attr", "arg", "name") if hasattr(node, field)]
    return " ".join(map(str, words))


def test_no_program_is_dead():
    """Every module is imported somewhere, or run by name."""
    everything = "\n".join((ROOT / name).read_text() for name in FILES if name.endswith((".py", ".md", ".toml")))
    dead = []
    for name in PROGRAMS:
        stem = name.split("/")[-1].removesuffix(".py")
        if stem in UNREFERENCED or stem.startswith("test_") or name.startswith(FOUND_BY_NAME):
            continue
        module = name.removesuffix(".py").replace("/", ".")
        folder, _, last = module.rpartition(".")
        is_used = module in everything or re.search(rf"from {re.escape(folder)} import [^\n]*\b{last}\b", everything)
        is_used = is_used or re.search(rf"from {re.escape(folder)} import \([^)]*\b{last}\b", everything)
        if not is_used:
            dead.append(name)
    assert dead == []

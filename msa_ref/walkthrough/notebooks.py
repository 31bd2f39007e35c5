"""Chapters and linked pages as Jupyter notebooks and Python scripts: the same text and code, to run and to change."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
LINKED = ("fp8-exact.md", "how-engines-break-ties.md")
"""Pages beside the chapters that have code to run."""


def chapters(folder: Path = FOLDER) -> list[Path]:
    """The files of the chapters, in order."""
    return sorted(folder.glob("[0-9][0-9]-*.md"))


def parts(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each stretch of a page: `markdown`, `python`, or the `output` of the code above it."""
    for part in re.split(r"^(```(?:python|output)\n.*?^```\n)", text, flags=re.MULTILINE | re.DOTALL):
        block = re.fullmatch(r"```(python|output)\n(.*)```\n", part, flags=re.DOTALL)
        if part.strip():
            yield (block[1], block[2].strip("\n")) if block else ("markdown", part.strip("\n"))


def notebook(text: str) -> dict[str, object]:
    """A notebook of a page: text becomes Markdown cells, code becomes code cells, and printed output is left out.

    Source: the notebook format, version 4 (nbformat).
    """
    cells: list[dict[str, object]] = []
    for kind, source in parts(text):
        if kind == "output":
            continue
        is_code = kind == "python"
        cell: dict[str, object] = {
            "id": f"cell-{len(cells)}",
            "cell_type": "code" if is_code else "markdown",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if is_code else {}))
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": python}, "cells": cells}


def script(text: str) -> str:
    """A Python script of a page, in cells that editors know (`# %%`); text and printed output are comments."""
    heads = {"markdown": "# %% [markdown]\n", "python": "# %%\n", "output": "# prints:\n"}
    cells = []
    for kind, source in parts(text):
        body = source if kind == "python" else "\n".join(f"# {line}".rstrip() for line in source.splitlines())
        cells.append(f"{heads[kind]}{body}\n")
    return "\n".join(cells)


def write_notebooks(into: Path) -> list[Path]:
    """Write a notebook for each chapter and linked page. Returns the files."""
    return _write(into, ".ipynb", lambda text: json.dumps(notebook(text), indent=1, ensure_ascii=False) + "\n")


def write_scripts(into: Path) -> list[Path]:
    """Write a script for each chapter and linked page. Returns the files."""
    return _write(into, ".py", script)


def _write(into: Path, suffix: str, made: Callable[[str], str]) -> list[Path]:
    into.mkdir(parents=True, exist_ok=True)
    paths = []
    for page in (*chapters(), *(FOLDER / name for name in LINKED)):
        paths.append(into / f"{page.stem}{suffix}")
        paths[-1].write_text(made(page.read_text()))
    return paths

"""The chapters as Jupyter notebooks: the same text and code, without the printed output."""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent


def chapters(folder: Path = FOLDER) -> list[Path]:
    """The files of the chapters, in order."""
    return sorted(folder.glob("[0-9][0-9]-*.md"))


def notebook(text: str) -> dict[str, object]:
    """A notebook of a page: text becomes Markdown cells, `python` blocks become code cells.

    Source: the notebook format, version 4 (nbformat).
    """
    cells: list[dict[str, object]] = []
    for part in re.split(r"^(```python\n.*?^```\n|```output\n.*?^```\n)", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```output") or not part.strip():
            continue
        is_code = part.startswith("```python")
        source = part.removeprefix("```python\n").removesuffix("```\n") if is_code else part
        cell: dict[str, object] = {
            "id": f"cell-{len(cells)}",
            "cell_type": "code" if is_code else "markdown",
            "metadata": {},
            "source": source.strip("\n").splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if is_code else {}))
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": python}, "cells": cells}


def write_notebooks(into: Path) -> list[Path]:
    """Write a notebook for each chapter. Returns the files."""
    into.mkdir(parents=True, exist_ok=True)
    paths = []
    for chapter in chapters():
        paths.append(into / f"{chapter.stem}.ipynb")
        paths[-1].write_text(json.dumps(notebook(chapter.read_text()), indent=1, ensure_ascii=False) + "\n")
    return paths

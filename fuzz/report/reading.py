"""The chapters that explain broken laws: a line for each, at the end of a report and of a replay."""

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder in which the suite's packages lie, and the chapters with them, installed or not."""


def reading_lines(chapters: Iterable[tuple[str, str]]) -> list[str]:
    """`read about LAW, LAW: CHAPTER`, each chapter once, by its path from the current folder where that leads to it.

    chapters: a law that broke and the text that explains it, a path and a heading; empty if nobody said.
    """
    laws: dict[str, dict[str, None]] = {}
    for law, chapter in chapters:
        if chapter:
            laws.setdefault(chapter, {})[law] = None
    return [f"read about {', '.join(names)}: {_from_here(chapter)}" for chapter, names in laws.items()]


def _from_here(chapter: str) -> str:
    """The chapter's path as it stands if it leads to a file, else that of the installed file."""
    return chapter if Path(chapter.partition("#")[0]).is_file() else str(ROOT / chapter)

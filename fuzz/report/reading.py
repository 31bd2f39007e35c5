"""The chapters that explain broken laws: a line for each, at the end of a report and of a replay."""

from collections.abc import Iterable


def reading_lines(chapters: Iterable[tuple[str, str]]) -> list[str]:
    """`read about LAW, LAW: CHAPTER`, each chapter once.

    chapters: a law that broke and the text that explains it, a path and a heading; empty if nobody said.
    """
    laws: dict[str, dict[str, None]] = {}
    for law, chapter in chapters:
        if chapter:
            laws.setdefault(chapter, {})[law] = None
    return [f"read about {', '.join(names)}: {chapter}" for chapter, names in laws.items()]

"""`python -m msa_ref.walkthrough`: explains one row of blocks; writes the chapters as code; draws the figures."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from msa_ref.config import IndexerConfig, require
from msa_ref.walkthrough.explained_row import row_lines
from msa_ref.walkthrough.figures import FOLDER, write_figures
from msa_ref.walkthrough.notebooks import write_notebooks, write_scripts

SCORES = "5,1,7,5,0"
"""The row of the chapters."""


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m msa_ref.walkthrough", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    row = commands.add_parser("row", help="explain one row of blocks")
    row.add_argument("--scores", default=SCORES, help="a score for each block (default %(default)s)")
    row.add_argument("--topk", type=int, default=3, help="slots (default %(default)s)")
    row.add_argument("--init", type=int, default=0, help="first blocks that are forced (default %(default)s)")
    row.add_argument("--local", type=int, default=1, help="last blocks that are forced (default %(default)s)")
    figures = commands.add_parser("figures", help="draw the figures")
    figures.add_argument("--into", type=Path, default=FOLDER, help="folder (default: the repository's)")
    for name, kind in (("scripts", "Python scripts"), ("notebooks", "Jupyter notebooks")):
        written = commands.add_parser(name, help=f"write the chapters, and two pages beside them, as {kind}")
        written.add_argument("--into", type=Path, required=True, help="folder")
    asked = parser.parse_args(arguments if arguments is not None else sys.argv[1:] or ["row"])
    write: dict[str, Callable[[Path], list[Path]]] = {
        "figures": write_figures,
        "scripts": write_scripts,
        "notebooks": write_notebooks,
    }
    try:
        if asked.command in write:
            print(*write[asked.command](asked.into), sep="\n")
        else:
            scores = _numbers(asked.scores)
            config = IndexerConfig(1, topk_blocks=asked.topk, init_blocks=asked.init, local_blocks=asked.local)
            print("\n".join(row_lines(scores, config, sys.stdout.isatty())))
    except (ValueError, OSError) as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


def _numbers(scores: str) -> list[float]:
    """The scores of a row.

    Raises:
        ValueError: if one of them is no number.
    """
    words = scores.split(",")
    require(all(map(_is_number, words)), "scores", "must be numbers with commas between them", repr(scores))
    return [float(word) for word in words]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

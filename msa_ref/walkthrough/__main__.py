"""`python -m msa_ref.walkthrough`: explains one row of blocks; writes the chapters as code; draws the figures."""

import argparse
import sys
from pathlib import Path

from msa_ref.config import IndexerConfig
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
        written = commands.add_parser(name, help=f"write the chapters as {kind}")
        written.add_argument("--into", type=Path, required=True, help="folder")
    asked = parser.parse_args(arguments if arguments is not None else sys.argv[1:] or ["row"])
    if asked.command == "figures":
        print(*write_figures(asked.into), sep="\n")
    elif asked.command in ("scripts", "notebooks"):
        write = write_scripts if asked.command == "scripts" else write_notebooks
        print(*write(asked.into), sep="\n")
    else:
        try:
            scores = [float(word) for word in asked.scores.split(",")]
            config = IndexerConfig(1, topk_blocks=asked.topk, init_blocks=asked.init, local_blocks=asked.local)
        except ValueError as refusal:
            print(refusal, file=sys.stderr)
            return 2
        print("\n".join(row_lines(scores, config, sys.stdout.isatty())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

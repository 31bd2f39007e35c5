"""The table of selection changes in the results, from the rows that `python -m fuzz formats` wrote."""

from pathlib import Path

import msa_fast
from fuzz.report.format_table import markdown_lines, read_rows

ROWS = Path(msa_fast.__file__).parent / "bench" / "results" / "selection-changes.json"


def selection_changes() -> str:
    """The command, and a line a comparison."""
    command, rows = read_rows(ROWS)
    return "\n".join((f"`{command}`, {rows[0].rows:,} rows a family:", "", *markdown_lines(rows)))

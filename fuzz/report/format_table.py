"""The table of how often selections change between formats and between units, as a record holds it and in Markdown."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.report.files import write
from msa_ref.selection_changes import Comparison, Total


@dataclass(frozen=True)
class FormatRow:
    """The changes between two ways on one family of values.

    low, high: the 95 % interval of the share of rows that select another set. exchanged: blocks in such a row, on
    average. max_distance: of a block's scores. share_of_bound: of the largest error, None where formats differ.
    """

    family: str
    before: str
    after: str
    rows: int
    share: float
    low: float
    high: float
    exchanged: float
    max_distance: float
    share_of_bound: float | None


def format_row(family: str, comparison: Comparison, total: Total) -> FormatRow:
    """The row of a comparison on a family."""
    (before, after), (low, high) = comparison.names, total.interval
    share = None if math.isnan(total.share_of_bound) else total.share_of_bound
    return FormatRow(
        family,
        before,
        after,
        total.num_rows,
        total.share_changed,
        low,
        high,
        total.exchanged,
        total.max_distance,
        share,
    )


def write_rows(path: Path, command: str, rows: Iterable[FormatRow]) -> None:
    """Write rows, and the command that measured them."""
    write(path, json.dumps({"command": command, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def read_rows(path: Path) -> tuple[str, list[FormatRow]]:
    """(the command that measured them, rows) of a file of `write_rows`."""
    data = json.loads(path.read_text())
    return data["command"], [FormatRow(**row) for row in data["rows"]]


def markdown_lines(rows: Iterable[FormatRow]) -> Iterator[str]:
    """A line a comparison: what changes on each family, and how near the largest error of all comes to its bound."""
    rows = list(rows)
    families = list(dict.fromkeys(row.family for row in rows))
    yield f"| from | to | {' | '.join(families)} | largest error, of its bound |"
    yield f"|---|---|{'---|' * len(families)}---|"
    for before, after in dict.fromkeys((row.before, row.after) for row in rows):
        mine = [row for row in rows if (row.before, row.after) == (before, after)]
        errors = [row.share_of_bound for row in mine if row.share_of_bound is not None]
        cells = [before, after, *map(_changes, mine), _percent(max(errors)) if errors else "-"]
        yield f"| {' | '.join(cells)} |"


def _changes(row: FormatRow) -> str:
    blocks = f", {row.exchanged:.1f} blocks" if row.share else ""
    return f"{_percent(row.share)} ({_percent(row.low, '')} to {_percent(row.high, '')}){blocks}"


def _percent(share: float, sign: str = " %") -> str:
    """A share in percent, with two significant digits below 10 %."""
    percent = 100 * share
    digits = 0 if percent >= 10 or percent == 0 else 1 if percent >= 1 else 2
    return f"{percent:.{digits}f}{sign}"

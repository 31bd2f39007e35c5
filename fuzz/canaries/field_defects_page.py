"""The page of field defects: each row of the table, what plants it here, and which kept cases show it."""

from fuzz import corpus
from fuzz.canaries import DEFECTS
from fuzz.canaries.field_defects import FIELD_DEFECTS, FieldDefect

MAX_MUTANTS = 3
"""Mutants of a row that are named; the others are counted."""

_HEAD = """# Defects this operator and its kin have had in the field

Each row is a class of defect that shipped somewhere, in our own words. Several public reports stand behind most rows,
and some rows name one of them. The suite must plant at least these defects, as a canary or a mutant
(`fuzz.canaries:NAME`), and keep cases of them (`fuzz/corpus`). `msa_ref/CONTRACT.md` explains the laws.
`python -m tests.support.pages --write` makes this page from `fuzz/canaries/field_defects.py`.
"""


def tally() -> str:
    """One sentence: how many rows are planted, shown by a test, and not planted yet."""
    rows = FIELD_DEFECTS.values()
    planted, shown = sum(row.is_planted for row in rows), sum(bool(row.shown_by) for row in rows)
    missing = [row.id for row in rows if row.not_planted]
    not_yet = f"{len(missing)} are not planted yet ({', '.join(missing)})" if missing else "none is missing"
    return f"{planted} of {len(rows)} field defects are planted, {shown} are shown by a test of their own, {not_yet}."


def page() -> str:
    """The whole page."""
    lines = [_HEAD, tally(), "", "| id | cause | trigger | caught by | planted as | kept cases |", "|" + "---|" * 6]
    for row in FIELD_DEFECTS.values():
        cause = f"{row.cause} ({row.report})" if row.report else row.cause
        cells = (row.id, cause, row.trigger, row.caught_by, _planted_as(row), _kept_cases(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _planted_as(row: FieldDefect) -> str:
    if row.not_planted:
        return f"not planted yet: {row.not_planted}"
    if row.shown_by:
        return row.shown_by
    of_row = [one for one in DEFECTS.values() if one.field_defect == row.id]
    canaries = [f"`{one.name}`" for one in of_row if one.kind == "canary"]
    mutants = [f"`{one.name}`" for one in of_row if one.kind == "mutant"]
    more = len(mutants) - MAX_MUTANTS
    others = [f"{more} more mutant{'s' if more > 1 else ''}"] if more > 0 else []
    return ", ".join([*canaries, *mutants[:MAX_MUTANTS], *others])


def _kept_cases(row: FieldDefect) -> str:
    names = [f"`{name}`" for name, entry in corpus.entries().items() if entry.flag == row.id]
    return ", ".join(names) or row.no_case or "none"

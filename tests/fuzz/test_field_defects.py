"""The table of field defects: every row is planted and kept as a case, shown by a test, or owned up to."""

from dataclasses import replace
from pathlib import Path

import pytest

from fuzz.canaries import CANARIES, DEFECTS
from fuzz.canaries.field_defects import FIELD_DEFECTS, FieldDefect
from fuzz.corpus import entries

ROOT = Path(__file__).parents[2]
ROWS = pytest.mark.parametrize("row", FIELD_DEFECTS.values(), ids=lambda row: row.id)


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert list(FIELD_DEFECTS) == [f"D{number:02}" for number in range(1, 55)]


@ROWS
def test_a_row_is_planted_shown_by_a_test_or_owned_up_to(row: FieldDefect) -> None:
    assert row.is_planted == any(one.field_defect == row.id for one in DEFECTS.values())
    assert not (row.shown_by and row.not_planted)
    if row.shown_by:
        assert (ROOT / row.shown_by.split()[0]).exists()


@ROWS
def test_a_planted_row_has_a_kept_case_or_says_why_not(row: FieldDefect) -> None:
    is_kept = any(entry.flag == row.id for entry in entries().values())
    assert is_kept == (row.is_planted and not row.no_case)


@ROWS
def test_a_row_names_a_law_of_each_of_its_canaries(row: FieldDefect) -> None:
    for one in CANARIES.values():
        if one.field_defect == row.id:
            assert any(law in row.caught_by for law in one.laws), one.name


def test_a_defect_of_no_row_is_refused() -> None:
    one = next(iter(CANARIES.values()))
    with pytest.raises(ValueError, match="field_defect must be a row of the table"):
        replace(one, field_defect="D99")

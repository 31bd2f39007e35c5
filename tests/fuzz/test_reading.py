"""Chapters that a report says to read about broken laws: each once, by a path that exists."""

from pathlib import Path

import pytest

from fuzz.judge.run_laws import chapter_of
from fuzz.report.html import html_page
from fuzz.report.junit import junit_xml
from fuzz.report.reading import reading_lines
from fuzz.report.record import FindingRecord, Record, TargetRecord
from fuzz.report.text import text_lines

CHAPTERS = {"Count": "five.md#structure", "Distinct": "five.md#structure", "Best": "one.md#best"}


@pytest.fixture(autouse=True)
def two_chapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with two chapters."""
    monkeypatch.chdir(tmp_path)
    for name in ("one.md", "five.md"):
        (tmp_path / name).touch()


def test_a_chapter_is_named_once_for_the_laws_that_it_explains() -> None:
    found = [
        FindingRecord(
            "decode", law, f"decode {law}", "head 0", "a.json", "python -m fuzz replay a.json", chapter=chapter
        )
        for law, chapter in [*CHAPTERS.items(), ("Count", CHAPTERS["Count"])]
    ]
    decode = TargetRecord("decode", "Decode.", "contract", agreed=9, broke=1)
    record = Record("run", "again", 7, "small", "cpu", {}, targets=(decode,), findings=tuple(found))
    read = [line for line in text_lines(record) if line.startswith("read about")]
    assert read == ["read about Count, Distinct: five.md#structure", "read about Best: one.md#best"]
    assert html_page(record).count("Read about Count, Distinct: five.md#structure") == 1
    assert "read about Distinct: five.md#structure" in junit_xml(record)
    assert Record.from_json(record.to_json()) == record


def test_elsewhere_a_chapter_is_named_by_a_path_that_exists() -> None:
    here, elsewhere = reading_lines([("Best", "one.md#best"), ("Count", chapter_of("Count"))])
    assert here == "read about Best: one.md#best"
    assert Path(elsewhere.removeprefix("read about Count: ").partition("#")[0]).is_file()

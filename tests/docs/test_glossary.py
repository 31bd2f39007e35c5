"""The glossary speaks the code's words."""

import re

from tests.support.markdown import ROOT

GLOSSARY = (ROOT / "msa_ref" / "GLOSSARY.md").read_text()


def test_every_name_of_the_glossary_is_in_the_source():
    source = "\n".join(path.read_text() for path in (ROOT / "msa_ref").rglob("*.py"))
    source += "\n".join(path.read_text() for room in ("msa_fast", "fuzz") for path in (ROOT / room).rglob("*.py"))
    rows = [line.split("|")[1] for line in GLOSSARY.splitlines() if line.startswith("| ")]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(names) > 15
    assert [name for name in names if not re.search(rf"\b{name}\b", source)] == []


def test_the_glossary_has_the_words_that_reports_use():
    words = {line.split("|")[1].strip() for line in GLOSSARY.splitlines() if line.startswith("| ")}
    assert {"block", "page", "forced", "certified", "tie", "near-tie"} <= words

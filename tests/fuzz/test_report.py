"""Reports: what records merge to, and how they are told as text, JUnit XML and a page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fuzz.__main__ import main
from fuzz.report.html import html_page
from fuzz.report.junit import junit_xml
from fuzz.report.merge import merge
from fuzz.report.record import FindingRecord, FixedRecord, Record, TargetRecord
from fuzz.report.text import summary_lines

FINDING = FindingRecord(
    "decode",
    "Best",
    "decode | Best | n<=128",
    "takes <9>, leaves 2",
    "a.json",
    "python -m fuzz replay a.json",
    2,
    3,
    99,
)
SHARD = Record(
    command="run",
    reproduce="python -m fuzz run --seed 7 --shard 0/2",
    seed=7,
    scale="small",
    device="cpu",
    environment={"device": "CPU", "commit": "abc"},
    shard="0/2",
    cases=10,
    seconds=4.0,
    coverage={"heads": {"1": 3, "2": 0, "8": 0}},
    histograms={"tie classes of cases": {"one plateau": 4}},
    targets=(TargetRecord("decode", "Decodes.", "contract", 9, 1, {"too long": 2}, 100, 90, 3.0),),
    findings=(FINDING,),
    exit_status=1,
)
OTHER = replace(
    SHARD,
    shard="1/2",
    reproduce="python -m fuzz run --seed 7 --shard 1/2",
    environment={"device": "GPU", "commit": "abc"},
    seconds=5.0,
    coverage={"heads": {"1": 1, "2": 5, "8": 0}},
    findings=(replace(FINDING, path="b.json", blocks=4, is_minimised=True),),
    fixed=(FixedRecord("topk", "Best", "c.json", "abc"),),
)


def test_shards_add_up_and_the_smallest_case_of_a_signature_stays() -> None:
    merged = merge([SHARD, OTHER])
    assert merged.cases == 20
    assert merged.seconds == 5.0  # side by side
    assert merged.coverage == {"heads": {"1": 4, "2": 5, "8": 0}}
    assert merged.unreached == ["heads: 8"]
    assert merged.histograms == {"tie classes of cases": {"one plateau": 8}}
    assert merged.targets == (TargetRecord("decode", "Decodes.", "contract", 18, 2, {"too long": 4}, 200, 180, 6.0),)
    assert merged.findings == (replace(FINDING, path="b.json", blocks=4, is_minimised=True, cases=4),)
    assert merged.fixed == OTHER.fixed
    assert merged.environment == {"device": "CPU | GPU", "commit": "abc"}
    assert merged.exit_status == 1


def test_runs_of_different_seeds_ran_one_after_the_other() -> None:
    assert merge([SHARD, replace(SHARD, seed=8)]).seconds == 8.0


def test_a_merged_record_is_a_record_and_merging_one_changes_nothing() -> None:
    assert Record.from_json(merge([SHARD, OTHER]).to_json()) == merge([SHARD, OTHER])
    assert merge([SHARD]) == SHARD


def test_a_shard_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^records must hold shard 0/2 of seed 7 once; got 2$"):
        merge([SHARD, SHARD])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"findings": (), "exit_status": 0}, 0),
        ({"findings": (), "exit_status": 3, "targets": (TargetRecord("decode", "Decodes.", "contract"),)}, 3),
        ({"findings": (), "exit_status": 0, "aborted": "the harness failed"}, 1),
    ],
)
def test_the_exit_status_of_a_report_is_that_of_one_run_that_did_it_all(changes: dict, status: int) -> None:
    assert merge([replace(SHARD, **changes)]).exit_status == status


def test_a_target_that_one_shard_never_judged_is_judged_if_another_did() -> None:
    idle = replace(SHARD, shard="1/2", findings=(), exit_status=3, targets=(TargetRecord("decode", "Decodes.", "c"),))
    good = replace(SHARD, findings=(), exit_status=0, targets=(replace(SHARD.targets[0], broke=0),))
    assert merge([good, idle]).exit_status == 0


def test_the_text_names_what_was_not_reached_and_ends_with_a_command() -> None:
    lines = list(summary_lines(merge([SHARD, OTHER])))
    assert "dimension buckets reached: 2, not reached: 1 (heads: 8)" in lines
    assert "fixed since abc: topk broke Best in c.json" in lines
    assert lines[-2:] == ["1 target broke 1 law: 1 finding", f"again: {FINDING.command}"]


def test_the_xml_has_the_structure_that_ci_systems_read() -> None:
    suite = ElementTree.fromstring(junit_xml(merge([SHARD, OTHER])))
    assert suite.tag == "testsuite"
    cases = suite.findall("testcase")
    assert {*suite.keys()} >= {"name", "tests", "failures", "errors", "skipped", "time"}
    assert int(suite.get("tests", "")) == len(cases)
    assert int(suite.get("failures", "")) == sum(case.find("failure") is not None for case in cases)
    for case in cases:
        assert case.get("name")
        assert case.get("classname")
        assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}


class _Page(HTMLParser):
    """Collects what a page links to and checks that its tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        assert tag not in ("script", "link", "img", "iframe"), tag
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(str(value))
            if name == "id":
                self.ids.add(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    merged = merge([SHARD, OTHER])
    text = html_page(merged, [SHARD, OTHER], {"b.json": "  0  <-- wrongly taken\n------ the cut"})
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "takes &lt;9&gt;, leaves 2" in text
    assert '<span class="wrong">0  &lt;-- wrongly taken</span>' in text
    assert "Never reached: heads: 8." in text
    assert FINDING.command in text


def test_the_command_merges_files_into_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for shard in (SHARD, OTHER):
        paths.append(tmp_path / f"{shard.shard[0]}.json")
        paths[-1].write_text(shard.to_json())
    files = {kind: tmp_path / "out" / f"r.{kind}" for kind in ("json", "junit", "html")}
    wanted = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    assert main(["report", *map(str, paths), *wanted, "--no-replay"]) == 1
    assert Record.from_json(files["json"].read_text()) == merge([SHARD, OTHER])
    assert files["junit"].read_text().startswith("<?xml")
    assert files["html"].read_text().startswith("<!doctype html>")
    assert "1 target broke 1 law: 1 finding" in capsys.readouterr().out

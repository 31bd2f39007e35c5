"""Reports: the merge of records, and their forms as text, JUnit XML and a page."""

import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fuzz.__main__ import main
from fuzz.report.html import html_page
from fuzz.report.junit import junit_xml
from fuzz.report.merge import merge
from fuzz.report.record import MIN_JUDGED, FindingRecord, FixedRecord, Record, TargetRecord
from fuzz.report.replayed import Replayed, ScoreStrip, StripRow, from_json, replayed_lines, to_json
from fuzz.report.text import percent, text_lines
from tests.support.fuzz_command import ROOT

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
DECODE = TargetRecord(
    "decode",
    "Decodes.",
    "contract",
    agreed=9,
    broke=1,
    undefined={"too long": 2, "too many heads": 5},
    rows=100,
    certified_rows=90,
    seconds=3.0,
    coverage={"heads": {"1": 3, "2": 0, "8": 0}},
    largest={"query tokens": 4100, "slots": 3},
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
    targets=(DECODE,),
    findings=(FINDING,),
)
OTHER = replace(
    SHARD,
    shard="1/2",
    reproduce="python -m fuzz run --seed 7 --shard 1/2",
    environment={"device": "GPU", "commit": "abc"},
    seconds=5.0,
    coverage={"heads": {"1": 1, "2": 5, "8": 0}},
    targets=(replace(DECODE, largest={"query tokens": 7, "slots": 16}),),
    findings=(replace(FINDING, path="b.json", blocks=4, is_minimised=True),),
    fixed=(FixedRecord("topk", "Best", "c.json", "abc"),),
)


AGREED = replace(DECODE, broke=0)
THIN = replace(DECODE, agreed=8, broke=0, undefined={"too long": 1, "no head dim of 128": 170})
IDLE = TargetRecord("decode", "Decodes.", "contract")
STRIP = ScoreStrip(
    "Best",
    "head 0, token 3",
    (2,),
    (1,),
    (StripRow("block", "0", 2, 7, "-", "1.5", "-", False, 1), StripRow("cut"), StripRow("gap")),
)
REPLAYED = Replayed("decode", "broke", violations=("Best: takes <9>",), strips=(STRIP,))


def test_shards_add_up_and_keep_the_smallest_case() -> None:
    merged = merge([SHARD, OTHER])
    assert merged.cases == 20
    assert merged.seconds == 5.0  # side by side
    assert merged.coverage == {"heads": {"1": 4, "2": 5, "8": 0}}
    assert merged.unreached == ["heads: 8"]
    assert merged.target("decode").coverage == {"heads": {"1": 6, "2": 0, "8": 0}}
    assert merged.histograms == {"tie classes of cases": {"one plateau": 8}}
    counts = {"agreed": 18, "broke": 2, "rows": 200, "certified_rows": 180, "seconds": 6.0}
    undefined = {"too long": 4, "too many heads": 10}
    largest = {"query tokens": 4100, "slots": 16}
    coverage = merged.targets[0].coverage
    assert merged.targets == (replace(DECODE, **counts, undefined=undefined, coverage=coverage, largest=largest),)
    assert merged.findings == (replace(FINDING, path="b.json", blocks=4, is_minimised=True, cases=4),)
    assert merged.fixed == OTHER.fixed
    assert merged.environment == {"device": "CPU | GPU", "commit": "abc"}
    assert merged.exit_status == 1


def test_runs_of_different_seeds_ran_one_after_the_other() -> None:
    assert merge([SHARD, replace(SHARD, seed=8)]).seconds == 8.0


def test_merging_one_record_changes_nothing() -> None:
    assert Record.from_json(merge([SHARD, OTHER]).to_json()) == merge([SHARD, OTHER])
    assert merge([SHARD]) == SHARD


def test_a_shard_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^records must hold shard 0/2 of seed 7 once; got 2$"):
        merge([SHARD, SHARD])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 1),
        ({"targets": (AGREED,)}, 0),
        ({"targets": (AGREED, replace(IDLE, name="topk"))}, 3),
        ({"targets": (AGREED, replace(THIN, name="topk"))}, 4),
        ({"targets": (THIN, replace(IDLE, name="topk"))}, 3),
        ({"targets": (THIN, replace(DECODE, name="topk"))}, 1),
        ({"targets": ()}, 3),
        ({"targets": (AGREED,), "aborted": "the harness failed"}, 1),
    ],
)
def test_a_merged_record_has_the_exit_status_of_one_run(changes: dict[str, Any], status: int) -> None:
    assert merge([replace(SHARD, **changes)]).exit_status == status


def test_a_target_judged_by_one_shard_is_judged() -> None:
    good, idle = replace(SHARD, targets=(AGREED,)), replace(SHARD, shard="1/2", targets=(IDLE,))
    assert merge([good, idle]).exit_status == 0


def test_the_text_tells_what_stayed_open() -> None:
    merged = merge([SHARD, OTHER])
    lines = list(text_lines(merged))
    verdict = "BROKE     decode         18 cases agreed, 2 broke, 14 undefined; 200 rows, 90.0 % certified, in 6.0 s"
    place = lines.index(verdict)
    assert lines[place + 1 : place + 5] == [
        "          undefined: too many heads: 10 cases",
        "          undefined: too long: 4 cases",
        "          had cases of 1 of 3 kinds, and had no case of these: heads: 2, 8",
        "          the largest had 4,100 query tokens, 16 slots",
    ]
    assert f"      in 4 cases; again: {FINDING.command}" in lines
    assert "agrees now, at abc: topk broke Best in c.json, which can go" in lines
    assert lines[-2:] == ["1 target broke 1 law: 1 finding", f"again: {merged.reproduce}"]


def test_a_run_that_ended_early_does_not_list_what_it_never_tried() -> None:
    assert any(" kinds" in line for line in text_lines(merge([SHARD, OTHER])))
    early = replace(merge([SHARD, OTHER]), aborted="stopped at the first finding, after 3 of 60 cases")
    assert not any(" kinds" in line for line in text_lines(early))


def test_a_thin_target_is_never_said_to_agree() -> None:
    record = replace(SHARD, targets=(AGREED, replace(THIN, name="vendor")), findings=())
    why = "8 of 179 cases judged it, fewer than 23; most often no head dim of 128"
    lines = list(text_lines(record))
    assert f"          thin: {why}" in lines
    assert lines[-2] == f"thin: 1 of 2 targets (vendor: {why})"
    assert f'message="thin: {why}"' in junit_xml(record)
    page = html_page(record)
    assert f"<h1>T{lines[-2][1:]}</h1>" in page
    assert '<span class="note"><span class="pill">thin</span>' in page


def test_cases_outside_of_a_promise_are_named_in_every_form() -> None:
    record = replace(SHARD, targets=(replace(AGREED, left_out=("D03-far", "prefill 8192")),))
    words = "outside of its promises, not asked: 2 kept cases (D03-far, prefill 8192)"
    assert f"          {words}" in text_lines(record)
    assert words in junit_xml(record)
    assert f"<td>{words}</td>" in html_page(record)
    assert merge([record, replace(record, shard="1/2")]).targets[0].left_out == ("D03-far", "prefill 8192")


def test_a_verdict_needs_no_more_cases_than_a_share_of_those_given() -> None:
    few = [replace(IDLE, agreed=1, undefined={"x": count}) for count in (0, 7, 8)]
    assert [target.verdict for target in few] == ["agreed", "agreed", "thin"]
    many = [replace(IDLE, agreed=count, undefined={"x": 10_000}) for count in (MIN_JUDGED - 1, MIN_JUDGED)]
    assert [target.verdict for target in many] == ["thin", "agreed"]


def test_reasons_beyond_the_first_dozen_are_counted() -> None:
    target = replace(IDLE, agreed=9, undefined={f"reason {number}": number for number in range(1, 15)})
    lines = list(text_lines(replace(SHARD, targets=(target,))))
    assert "          undefined: reason 14: 14 cases" in lines
    assert "          and 3 cases for 2 more reasons: see the record" in lines


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
    text = html_page(merged, [SHARD, OTHER], {"b.json": REPLAYED})
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "takes &lt;9&gt;, leaves 2" in text
    assert re.search(r'<tr class="wrong">[^/]*>0</td>.*?>wrongly taken</td>', text, re.DOTALL)
    assert text.count("the cut") == 1
    assert "Best: takes &lt;9&gt;" in text
    assert "Never reached: heads: 8." in text
    assert FINDING.command in text


def test_a_page_says_why_a_finding_was_not_replayed() -> None:
    assert "Replay: no end within 120 s" in html_page(SHARD, replays={"a.json": "no end within 120 s"})


def test_a_replay_keeps_its_strips_as_json() -> None:
    assert from_json(to_json([REPLAYED])) == [REPLAYED]
    assert replayed_lines(REPLAYED)[-3:] == [
        "     0       2       7      -              1.5          -  no    yes  <-- wrongly taken",
        "------ the cut",
        "   ...",
    ]


@pytest.mark.parametrize(("share", "text"), [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.5, "50.0 %"), (0.0, "0.0 %")])
def test_a_share_is_never_rounded_up_to_the_whole(share: float, text: str) -> None:
    assert percent(share) == text


def test_the_template_is_part_of_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    assert "*.j2" in patterns
    assert (ROOT / "fuzz" / "report" / "report.html.j2").exists()


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

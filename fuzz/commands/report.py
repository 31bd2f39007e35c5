"""`python -m fuzz report`: shards' records merged into one report, as text, JSON, JUnit XML and HTML."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.commands.options import add_switch
from fuzz.report.html import html_page
from fuzz.report.junit import junit_xml
from fuzz.report.merge import merge
from fuzz.report.record import FindingRecord, Record
from fuzz.report.text import summary_lines

MAX_STRIPS = 12
"""Findings that are replayed for the page, each in a process of its own."""

STRIP_SECONDS = 120
"""Seconds that one of these processes may take."""


@dataclass(frozen=True)
class Options:
    """shards: the records to merge. json, junit, html: files to write; None for none."""

    shards: tuple[Path, ...]
    json: Path | None
    junit: Path | None
    html: Path | None
    is_replayed: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shards", type=Path, nargs="+", metavar="RECORD.json", help="from `gate` or `run --json`")
    parser.add_argument("--json", type=Path, help="file for the merged record")
    parser.add_argument("--junit", type=Path, help="file for the verdicts as JUnit XML")
    parser.add_argument("--html", type=Path, help="file for one page that needs nothing else")
    add_switch(parser, "--replay", "show findings' score strips on the page")


def parse(parsed: argparse.Namespace) -> Options:
    """The options."""
    return Options(tuple(parsed.shards), parsed.json, parsed.junit, parsed.html, parsed.replay)


def run(options: Options) -> int:
    """Merge, print, write what is asked for. Returns the merged run's exit status."""
    shards = [Record.from_json(path.read_text()) for path in options.shards]
    merged = merge(shards)
    print("\n".join(summary_lines(merged)))
    write_report(merged, shards, options.json, options.junit, options.html, options.is_replayed)
    return merged.exit_status


def write_report(
    merged: Record,
    shards: Sequence[Record],
    json: Path | None,
    junit: Path | None,
    html: Path | None,
    is_replayed: bool,
) -> None:
    """Write the files. is_replayed: replay findings, to show their score strips on the page."""
    strips = {}
    if html is not None and is_replayed:
        strips = {finding.path: replayed(finding) for finding in merged.findings[:MAX_STRIPS]}
    for path, text in (
        (json, merged.to_json()),
        (junit, junit_xml(merged)),
        (html, html_page(merged, shards, strips)),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def replayed(finding: FindingRecord) -> str:
    """What replaying a finding prints, without its preamble: in a process of its own, which may crash or hang."""
    if not Path(finding.path).exists():
        return ""
    command = [sys.executable, *shlex.split(finding.command)[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STRIP_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no end within {STRIP_SECONDS} s"
    lines = done.stdout.splitlines()
    # The preamble is the environment and the case's JSON, which ends with a brace in the first column.
    ends = [number for number, line in enumerate(lines) if line == "}"]
    shown = [line for line in lines[ends[0] + 1 if ends else 0 :] if not line.startswith("again:")]
    return "\n".join(shown) or f"ended with status {done.returncode}"

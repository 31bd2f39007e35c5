"""`python -m fuzz report`: shards' records merged into one report, as text, JSON, JUnit XML and HTML."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.commands.declared import option
from fuzz.commands.places import file_option
from fuzz.report.command_line import started, words_of
from fuzz.report.files import write
from fuzz.report.html import html_page
from fuzz.report.junit import junit_xml
from fuzz.report.merge import merge
from fuzz.report.record import FindingRecord, Record
from fuzz.report.replayed import Replayed, from_json
from fuzz.report.text import head_lines, text_lines

MAX_REPLAYS = 12
"""Findings that are replayed for the page, each in a process of its own."""

REPLAY_SECONDS = 120
"""Seconds that one of these processes may take."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The records to merge, and the files to write."""

    shards: tuple[Path, ...] = option("from `gate` or `run --json`", flag="shards", nargs="+", metavar="RECORD.json")
    json: Path | None = file_option("file for the merged record")
    junit: Path | None = file_option("file for the verdicts as JUnit XML")
    html: Path | None = file_option("file for one page that needs nothing else")
    is_replayed: bool = option("show findings' score strips on the page", True, "--replay")


def run(options: Options) -> int:
    """Merge, print, write what is asked for. Returns the merged run's exit status."""
    shards = [_record(path) for path in options.shards]
    merged = merge(shards)
    print("\n".join([*head_lines(merged), *text_lines(merged)]))
    write_report(merged, shards, options.json, options.junit, options.html, options.is_replayed)
    return merged.exit_status


def _record(path: Path) -> Record:
    try:
        return Record.from_json(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def write_report(
    merged: Record,
    shards: Sequence[Record],
    json: Path | None,
    junit: Path | None,
    html: Path | None,
    is_replayed: bool,
) -> None:
    """Write the files that are named. is_replayed: replay findings, to show their score strips on the page."""
    replays = {}
    if html is not None and is_replayed:
        replays = {finding.path: replayed(finding) for finding in merged.findings[:MAX_REPLAYS]}
    for path, text in (
        (json, merged.to_json()),
        (junit, junit_xml(merged)),
        (html, html_page(merged, shards, replays)),
    ):
        if path is not None:
            write(path, text)


def replayed(finding: FindingRecord) -> Replayed | str:
    """A finding replayed in a process of its own, which may crash or hang; or a sentence that says why it was not."""
    if not Path(finding.path).exists():
        return f"{finding.path} is not here"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "replayed.json"
        command = started([*words_of(finding.command), "--json", str(file)])
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=REPLAY_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no end within {REPLAY_SECONDS} s"
        if not file.exists():
            return f"ended with status {done.returncode}"
        (only,) = from_json(file.read_text())
        return only

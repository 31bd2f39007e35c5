"""`python -m fuzz nightly`: a long run in shards, one per GPU, and a canary that has to fail.

A night that finds nothing is worth something only if it could have found something: first of all a
planted defect is hunted with the same command, and if it lives, the night has failed.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fuzz.commands.device import add_device
from fuzz.commands.options import FINDINGS, add_switch, add_targets, again, at_least, fresh_seed, named
from fuzz.commands.report import write_report
from fuzz.isolation.gpus import visible_gpus
from fuzz.report.merge import merge
from fuzz.report.record import Record
from fuzz.report.text import head_lines, text_lines

CANARY_CASES = 200
GRACE_SECONDS = 900.0
"""Seconds that a shard may take beyond its minutes, for old findings, shrinking and a last slow case."""

REPORT_SECONDS = 60.0
"""Seconds that a shard has to write its record after it was told to end."""


@dataclass(frozen=True)
class Options:
    """gpus: as CUDA_VISIBLE_DEVICES names them. folder: for records, logs and the report. canary: must break."""

    target_names: tuple[str, ...]
    device: str
    seed: int
    minutes: float
    num_shards: int
    gpus: tuple[str, ...]
    folder: Path
    findings: Path
    canary: str
    is_replayed: bool

    @property
    def reproduce(self) -> str:
        """The command that runs the same night again."""
        words = ["--seed", str(self.seed), "--minutes", f"{self.minutes:g}", "--shards", str(self.num_shards)]
        words += ["--device", self.device, "--canary", self.canary, *named(self.target_names)]
        return again("nightly", *words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--minutes", type=float, default=30.0, help="how long each shard runs (default %(default)g)")
    parser.add_argument("--shards", type=int, help="processes (default one per GPU, or one without)")
    parser.add_argument("--seed", type=int, help="of everything drawn (default: a fresh one, which is printed)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".fuzz/nightly"),
        help="for what it writes (default %(default)s)",
    )
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="folder for what broke (default %(default)s)")
    parser.add_argument(
        "--canary",
        default="fuzz.canaries:highest_id_wins_ties",
        help="the target that must break (default %(default)s)",
    )
    add_switch(parser, "--replay", "show findings' score strips on the page")
    add_device(parser)
    add_targets(parser)


def parse(parsed: argparse.Namespace) -> Options:
    """The options, checked. A seed that is not given is drawn."""
    at_least("--minutes", parsed.minutes, 0)
    gpus = () if parsed.device == "cpu" else tuple(visible_gpus())
    num_shards = max(1, len(gpus)) if parsed.shards is None else parsed.shards
    at_least("--shards", num_shards, 1)
    return Options(
        target_names=tuple(parsed.target),
        device=parsed.device,
        seed=fresh_seed() if parsed.seed is None else parsed.seed,
        minutes=parsed.minutes,
        num_shards=num_shards,
        gpus=gpus,
        folder=parsed.folder,
        findings=parsed.findings,
        canary=parsed.canary,
        is_replayed=parsed.replay,
    )


def run(options: Options) -> int:
    """Run the night. Returns 0 all agreed and the canary died, 1 otherwise, 3 a target was judged by no case."""
    options.folder.mkdir(parents=True, exist_ok=True)
    place = f"{len(options.gpus) or 'no'} GPUs"
    print(f"seed {options.seed}, {options.num_shards} shards for {options.minutes:g} minutes on {place}", flush=True)

    canary = _canary(options)
    shards, lost = _shards(options)
    if not shards:
        print("\n".join(["no shard left a record", *lost]))
        return 1
    told = _verdict_on_canary(canary, options.canary)
    failed = [*lost, *([] if _has_died(canary) else [told])]
    merged = merge(shards)
    if failed:
        aborted = "; ".join(part for part in (merged.aborted, *failed) if part)
        merged = replace(merged, aborted=aborted)
    merged = replace(merged, command="nightly", reproduce=options.reproduce)
    paths = [options.folder / f"report.{kind}" for kind in ("json", "xml", "html")]
    write_report(merged, shards, paths[0], paths[1], paths[2], options.is_replayed)
    print(told)
    print("\n".join([*head_lines(merged), *text_lines(merged)]))
    return merged.exit_status


def _run(options: Options, *words: str) -> list[str]:
    """The command line of one `fuzz run`."""
    return [sys.executable, "-m", "fuzz", "run", "--seed", str(options.seed), "--device", options.device, *words]


def _start(command: Sequence[str], gpus: Sequence[str], number: int, log: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _read(path: Path) -> Record | None:
    return Record.from_json(path.read_text()) if path.exists() else None


def _canary(options: Options) -> Record | None:
    """Hunt the planted defect, in folders of its own."""
    path, folder = options.folder / "canary.json", options.folder / "canary-findings"
    path.unlink(missing_ok=True)
    words = ["--cases", str(CANARY_CASES), "--target", options.canary, "--shrink-seconds", "2", "--no-diagnose"]
    command = _run(options, *words, "--findings", str(folder), "--json", str(path))
    _end(_start(command, options.gpus, 0, options.folder / "canary.log"), time.monotonic() + GRACE_SECONDS)
    return _read(path)


def _has_died(canary: Record | None) -> bool:
    return canary is not None and bool(canary.findings)


def _verdict_on_canary(canary: Record | None, name: str) -> str:
    if canary is None:
        return f"the canary {name} left no record: see canary.log"
    if not canary.findings:
        return f"the canary {name} lived through {canary.cases} cases: this night would have seen nothing"
    laws = ", ".join(dict.fromkeys(finding.law for finding in canary.findings))
    return f"the canary {name} died, by {laws}, as it has to"


def _shards(options: Options) -> tuple[list[Record], list[str]]:
    """All shards side by side. Returns their records, and a sentence about each that left none."""
    count = options.num_shards
    paths = [options.folder / f"shard-{number}.json" for number in range(count)]
    for path in options.folder.glob("shard-*.json"):
        path.unlink()
    running = []
    for number, path in enumerate(paths):
        words = ["--minutes", f"{options.minutes:g}", "--shard", f"{number}/{count}", "--json", str(path)]
        command = _run(options, *words, *named(options.target_names), "--findings", str(options.findings))
        running.append(_start(command, options.gpus, number, path.with_suffix(".log")))
        print(f"shard {number}/{count}: {path.with_suffix('.log')}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + 60.0 * options.minutes + GRACE_SECONDS
    for process in running:
        _end(process, deadline)
    records = [_read(path) for path in paths]
    lost = [
        f"shard {number}/{count} ended with status {process.returncode} and left no record: see shard-{number}.log"
        for number, (process, record) in enumerate(zip(running, records, strict=True))
        if record is None
    ]
    return [record for record in records if record is not None], lost


def _end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process, until a deadline at most; then it may still report what it judged."""
    for seconds, ends in ((max(0.0, deadline - time.monotonic()), process.terminate), (REPORT_SECONDS, process.kill)):
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            ends()
    process.wait()

"""`python -m fuzz nightly`: a long run in shards, one per GPU, and a canary that has to fail.

A night that finds nothing is worth something only if it could have found something: first of all a
planted defect is hunted with the same command, and if it lives, the night has failed.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fuzz.campaign.judging import at_least, say
from fuzz.commands.report import write_report
from fuzz.isolation.gpus import visible_gpus
from fuzz.report.merge import merge
from fuzz.report.record import Record
from fuzz.report.text import summary_lines

CANARY_CASES = 200
GRACE_SECONDS = 900.0
"""What a shard may take beyond its minutes, for old findings, shrinking and a last slow case."""

REPORT_SECONDS = 60.0
"""What a shard that is told to end has to write its record."""


def nightly(options: argparse.Namespace) -> int:
    """Run the night. Returns 0 all agreed and the canary died, 1 otherwise, 3 a target was judged by no case."""
    at_least("--minutes", options.minutes, 0)
    gpus = [] if options.device == "cpu" else visible_gpus()
    num_shards = max(1, len(gpus)) if options.shards is None else options.shards
    at_least("--shards", num_shards, 1)
    seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {num_shards} shards for {options.minutes:g} minutes on {len(gpus) or 'no'} GPUs", flush=True)

    canary = _canary(options, seed, gpus)
    shards, lost = _shards(options, seed, num_shards, gpus)
    if not shards:
        print("\n".join(["no shard left a record", *lost]))
        return 1
    told = _verdict_on_canary(canary, options.canary)
    failed = [*lost, *([] if _has_died(canary) else [told])]
    merged = merge(shards)
    if failed:
        aborted = "; ".join(part for part in (merged.aborted, *failed) if part)
        merged = replace(merged, aborted=aborted, exit_status=1)
    merged = replace(merged, command="nightly", reproduce=_again(options, seed, num_shards))
    paths = [options.folder / f"report.{kind}" for kind in ("json", "xml", "html")]
    write_report(merged, shards, paths[0], paths[1], paths[2], options.replay)
    print(told)
    print("\n".join(summary_lines(merged)))
    return merged.exit_status


def _again(options: argparse.Namespace, seed: int, num_shards: int) -> str:
    words = ["--seed", str(seed), "--minutes", f"{options.minutes:g}", "--shards", str(num_shards)]
    named = [word for name in options.target or () for word in ("--target", name)]
    words += ["--device", options.device, "--canary", options.canary, *named]
    return shlex.join(["python", "-m", "fuzz", "nightly", *words])


def _run(options: argparse.Namespace, seed: int, *words: str) -> list[str]:
    """The command line of one `fuzz run`."""
    return [sys.executable, "-m", "fuzz", "run", "--seed", str(seed), "--device", options.device, *words]


def _start(command: Sequence[str], gpus: Sequence[str], number: int, log: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _read(path: Path) -> Record | None:
    return Record.from_json(path.read_text()) if path.exists() else None


def _canary(options: argparse.Namespace, seed: int, gpus: Sequence[str]) -> Record | None:
    """Hunt the planted defect, in folders of its own."""
    path, folder = options.folder / "canary.json", options.folder / "canary-findings"
    path.unlink(missing_ok=True)
    words = ["--cases", str(CANARY_CASES), "--target", options.canary, "--shrink-seconds", "2", "--no-diagnose"]
    command = _run(options, seed, *words, "--findings", str(folder), "--json", str(path))
    _end(_start(command, gpus, 0, options.folder / "canary.log"), time.monotonic() + GRACE_SECONDS)
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


def _shards(options: argparse.Namespace, seed: int, count: int, gpus: Sequence[str]) -> tuple[list[Record], list[str]]:
    """All shards side by side. Returns their records, and a sentence about each that left none."""
    paths = [options.folder / f"shard-{number}.json" for number in range(count)]
    for path in options.folder.glob("shard-*.json"):
        path.unlink()
    named = [word for name in options.target or () for word in ("--target", name)]
    running = []
    for number, path in enumerate(paths):
        words = ["--minutes", f"{options.minutes:g}", "--shard", f"{number}/{count}", "--json", str(path), *named]
        command = _run(options, seed, *words, "--findings", str(options.findings))
        running.append(_start(command, gpus, number, path.with_suffix(".log")))
        say(f"shard {number}/{count}: {path.with_suffix('.log')}")
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

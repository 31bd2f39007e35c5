"""`python -m fuzz nightly`: a long run in shards, one per GPU, and a canary that has to fail.

A night that finds nothing is worth something only if it could have found something. So the same
command first hunts a planted defect, and the night has failed if that one lives.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.shard import Shard
from fuzz.commands.declared import option
from fuzz.commands.device import device_option
from fuzz.commands.options import FINDINGS, at_least, chosen, named, seed_or_fresh, target_option
from fuzz.commands.places import folder_option
from fuzz.commands.report import write_report
from fuzz.isolation.gpus import visible_gpus
from fuzz.report.command_line import again
from fuzz.report.merge import merge
from fuzz.report.record import Record
from fuzz.report.text import head_lines, text_lines

CANARY_CASES = 200
"""Random cases within which the planted defect has to break."""
GRACE_SECONDS = 900.0
"""Seconds that a shard may take beyond its minutes, for old findings, shrinking and a last slow case."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The length, shards and files of a night."""

    minutes: float = option("minutes that each shard runs (default %(default)g)", 30.0)
    shards: int | None = option("processes (default one per GPU, or one without)", None)
    seed: int = option("seed of all draws (default: a fresh one, which is printed)", None, settle=seed_or_fresh)
    folder: Path = folder_option("folder for records, logs and the report (default %(default)s)", Path(".fuzz/nightly"))
    findings: Path = folder_option("folder for what broke (default %(default)s)", FINDINGS)
    canary: str = option("the target that must break (default %(default)s)", "fuzz.canaries:highest_id_wins_ties")
    is_replayed: bool = option("show findings' score strips on the page", True, "--replay")
    device: str = device_option(is_settled=False)
    target_names: tuple[str, ...] = target_option()

    def __post_init__(self) -> None:
        at_least("--minutes", self.minutes, 0)
        at_least("--shards", self.num_shards, 1)

    @cached_property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs to use, by their names in CUDA_VISIBLE_DEVICES."""
        return () if self.device == "cpu" else tuple(visible_gpus())

    @property
    def num_shards(self) -> int:
        """Processes."""
        return max(1, len(self.gpus)) if self.shards is None else self.shards

    @property
    def reproduce(self) -> str:
        """The command that runs the same night again."""
        words = ["--seed", str(self.seed), "--minutes", f"{self.minutes:g}", "--shards", str(self.num_shards)]
        words += ["--device", self.device, "--canary", self.canary, *named(self.target_names)]
        return again("nightly", *words)


def run(options: Options) -> int:
    """Run the night. Returns 0 all agreed and the canary died, 1 otherwise, 3 a target was judged by no case."""
    chosen((*options.target_names, options.canary), options.device)  # a name that is wrong ends the night at once
    options.folder.mkdir(parents=True, exist_ok=True)
    place = f"{len(options.gpus) or 'no'} GPUs"
    print(f"seed {options.seed}, {options.num_shards} shards for {options.minutes:g} minutes on {place}", flush=True)

    with ended_politely() as ending:
        canary = _canary(options)
        shards, lost = ([], ["interrupted before the first shard"]) if ending.is_asked else _shards(options)
    if not shards:
        print("\n".join(["no shard left a record", *lost]))
        return 1
    has_died = canary is not None and bool(canary.findings)
    verdict = _verdict_on_canary(canary, options.canary)
    merged = replace(merge(shards), command="nightly", reproduce=options.reproduce)
    merged.aborted = "; ".join(part for part in (merged.aborted, *lost, "" if has_died else verdict) if part)
    json, junit, html = (options.folder / f"report.{kind}" for kind in ("json", "xml", "html"))
    write_report(merged, shards, json, junit, html, options.is_replayed)
    print(verdict)
    print("\n".join([*head_lines(merged), *text_lines(merged)]))
    return merged.exit_status


def _canary(options: Options) -> Record | None:
    """Hunt the planted defect, in folders of its own."""
    words = ["--cases", str(CANARY_CASES), "--target", options.canary, "--shrink-seconds", "2", "--no-diagnose"]
    shard = _start(options, 0, options.folder / "canary.json", options.folder / "canary-findings", words)
    (record,) = _ended([shard], time.monotonic() + GRACE_SECONDS)
    return record


def _verdict_on_canary(canary: Record | None, name: str) -> str:
    if canary is None:
        return f"the canary {name} left no record: see canary.log"
    if not canary.findings:
        return f"the canary {name} lived through {canary.cases} cases: this night would have seen nothing"
    laws = ", ".join(dict.fromkeys(finding.law for finding in canary.findings))
    return f"the canary {name} died, by {laws}, as it has to"


def _shards(options: Options) -> tuple[list[Record], list[str]]:
    """Run all shards side by side. Returns their records, and a sentence about each that left none."""
    for path in options.folder.glob("shard-*.json"):  # those of an earlier night
        path.unlink()
    names = [f"{number}/{options.num_shards}" for number in range(options.num_shards)]
    shards = []
    for number, name in enumerate(names):
        words = ["--minutes", f"{options.minutes:g}", "--shard", name, *named(options.target_names)]
        shards.append(_start(options, number, options.folder / f"shard-{number}.json", options.findings, words))
        print(f"shard {name}: {shards[-1].log}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + 60.0 * options.minutes + GRACE_SECONDS
    records = _ended(shards, deadline)
    ended = list(zip(names, shards, records, strict=True))
    lost = [f"shard {name} {shard.loss}" for name, shard, record in ended if record is None]
    return [record for record in records if record is not None], lost


def _ended(shards: Sequence[Shard], deadline: float) -> list[Record | None]:
    """The records of shards that have ended. After an interrupt each is told to end, and reports what it judged."""
    try:
        return [shard.end(deadline) for shard in shards]
    except KeyboardInterrupt:
        return [shard.end(0.0) for shard in shards]


def _start(options: Options, number: int, path: Path, findings: Path, words: Sequence[str]) -> Shard:
    """Start one run, on the GPU of its number where there are any."""
    gpu = options.gpus[number % len(options.gpus)] if options.gpus else ""
    shared = ["--seed", str(options.seed), "--device", options.device, "--findings", str(findings)]
    return Shard([*shared, *words], gpu, path)

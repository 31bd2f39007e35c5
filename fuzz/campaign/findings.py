"""Findings: broken cases, one per signature, kept as JSON files that replay with one command."""

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fuzz.cases.case import Case
from fuzz.cases.codec import from_data, read_object, to_data
from fuzz.isolation.messages import Order
from fuzz.judge.run_laws import chapter_of
from fuzz.report.command_line import again, on_device
from fuzz.report.record import Breaks, FindingRecord
from msa_ref.config import require
from msa_ref.contract import Violation

FIXED = "fixed"
"""The folder, in that of findings, of those that agreed when they were judged again."""


@dataclass(frozen=True)
class Finding:
    """A finding's file: its fields are the keys.

    signature: see `signature`. environment: as `msa_fast.environment.stamp` gives it.
    fixed_since: the commit at which the case was seen not to fail any more; empty as long as it fails.
    breaks: how it was reproduced, see `fuzz.report.record.FindingRecord`.
    before: what its process had judged before; nothing if the case is known to break alone.
    """

    target: str
    law: str
    signature: str
    violation: Violation
    environment: dict[str, str]
    case: Case
    is_minimised: bool = False
    fixed_since: str = ""
    breaks: Breaks = "untried"
    before: Order = ()

    @property
    def is_of_cpu(self) -> bool:
        """True if it was found on a CPU, on the interpreter or a model; any that does not say counts as one."""
        return self.environment.get("device", "CPU").startswith("CPU")


def signature(target: str, violation: Violation, case: Case, architecture: str) -> str:
    """A text that two broken cases share if they look like the same finding from outside.

    Target, law (and how it failed to run), dtype, size class, split relation, device architecture.
    """
    how = f":{violation.how}" if violation.how else ""
    blocks = case.max_row_blocks
    size = "n<=K" if blocks <= case.config.topk_blocks else "n<=128" if blocks <= 128 else "n>128"
    splits = violation.num_splits
    relation = (
        "own splits" if not splits else "splits>n" if splits > blocks else "one split" if splits == 1 else "splits"
    )
    return f"{target} | {violation.law}{how} | {case.dtype} | {size} | {relation} | {architecture}"


class Findings:
    """The findings of one run: the first case of each signature, or a minimised one, and a count of the others.

    Files are named <target>-<law>-<hash of the case>.json.
    """

    def __init__(self, folder: Path, environment: dict[str, str], device: str) -> None:
        """device: `cpu` or `cuda`: what broke on the interpreter need not break on a GPU."""
        self._folder, self._environment, self._device = folder, environment, on_device(device)
        self._records: dict[str, FindingRecord] = {}
        self._kept: dict[str, Finding] = {}

    def is_new(self, target: str, violations: tuple[Violation, ...]) -> bool:
        """True if any of these violations is of a law that the target has not broken before."""
        known = {(finding.target, finding.law) for finding in self._records.values()}
        return any((target, violation.law) not in known for violation in violations)

    def add(
        self,
        target: str,
        case: Case,
        violations: tuple[Violation, ...],
        before: Order = (),
        is_minimised: bool = False,
    ) -> None:
        """Count a broken case; the first one of each signature is written, and a minimised one in its place.

        before: what its process had judged before.
        """
        first = {violation.law: violation for violation in reversed(violations)}
        for law in dict.fromkeys(violation.law for violation in violations):
            key = signature(target, first[law], case, self._environment.get("architecture", "unknown"))
            known = self._records.get(key)
            if known is None or (is_minimised and not known.is_minimised):
                if known is not None:
                    Path(known.path).unlink(missing_ok=True)
                found = Finding(target, law, key, first[law], self._environment, case, is_minimised, before=before)
                self._write(found)
            self._records[key] = replace(self._records[key], cases=1 + (known.cases if known else 0))

    def settle(self, target: str, case: Case, violations: tuple[Violation, ...], before: Order = ()) -> None:
        """Put a minimised case in the place of all larger ones that broke the same laws on the same target."""
        laws = {violation.law for violation in violations}
        counted = 0
        for key, known in list(self._records.items()):
            if known.target == target and known.law in laws and not known.is_minimised:
                Path(known.path).unlink(missing_ok=True)
                counted = max(counted, known.cases)
                del self._records[key], self._kept[key]
        self.add(target, case, violations, before, is_minimised=True)
        for key, known in self._records.items():
            if known.target == target and known.law in laws and self._kept[key].case == case:
                self._records[key] = replace(known, cases=max(known.cases, counted))

    def replace(self, finding: Finding) -> None:
        """Write a finding anew that says more of itself."""
        cases = self._records[finding.signature].cases
        self._write(finding)
        self._records[finding.signature] = replace(self._records[finding.signature], cases=cases)

    def kept(self) -> tuple[Finding, ...]:
        """The findings as their files have them, in the order of `records`."""
        return tuple(self._kept[key] for key in self._records)

    def case(self, finding: FindingRecord) -> Case:
        """The case that stands for a finding."""
        return self._kept[finding.signature].case

    def records(self) -> tuple[FindingRecord, ...]:
        """Every finding, in the order they were found."""
        return tuple(self._records.values())

    def _write(self, finding: Finding) -> None:
        case, text = finding.case, finding.case.to_json()
        name = "".join(letter if letter.isalnum() else "_" for letter in finding.target)
        path = self._folder / f"{name}-{finding.law}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_data(finding), indent=1) + "\n")
        (self._folder / FIXED / path.name).unlink(missing_ok=True)  # it was, and breaks again
        self._kept[finding.signature] = finding
        self._records[finding.signature] = FindingRecord(
            target=finding.target,
            law=finding.law,
            chapter=chapter_of(finding.law),
            signature=finding.signature,
            evidence=str(finding.violation),
            path=str(path),
            command=again("replay", str(path), "--target", finding.target, *self._device),
            requests=len(case.requests),
            blocks=case.max_row_blocks,
            is_minimised=finding.is_minimised,
            breaks=finding.breaks,
            before=len(finding.before),
        )


def stored(folder: Path, targets: set[str]) -> dict[Path, Finding]:
    """Path -> the findings of some targets that earlier runs left in a folder, the newest first; none that is fixed.

    Files that hold something else, as an earlier version of this program wrote, are passed over with a sentence.
    """
    found = {}
    for path in sorted(folder.glob("*.json"), key=_age):
        try:
            data = read_object(path)
            if data.get("target") in targets and not data.get("fixed_since"):
                found[path] = from_data(Finding, data, str(path))
        except ValueError as refusal:
            print(f"fuzz: passed over: {refusal}", file=sys.stderr)
    return found


def _age(path: Path) -> tuple[float, Path]:
    try:
        return -path.stat().st_mtime, path
    except OSError:  # another shard has set it aside
        return 0.0, path


def set_aside(path: Path, since: str) -> Path:
    """Move a stored finding to those that are fixed. since: the commit at which it was seen not to fail any more.

    Returns:
        Its new path.
    """
    there = path.parent / FIXED / path.name
    data = read_object(_where(path))
    there.parent.mkdir(exist_ok=True)
    there.write_text(json.dumps(data | {"fixed_since": since}, indent=1) + "\n")
    path.unlink(missing_ok=True)
    return there


def _where(path: Path) -> Path:
    """The path of a file: a command that was printed for a finding still shows it once it is fixed."""
    fixed = path.parent / FIXED / path.name
    return fixed if fixed.exists() and not path.exists() else path


def read_order(path: Path) -> Order:
    """The order of cases that the process of a finding in a file had judged before it; empty for any other file."""
    data = read_object(_where(path))
    return from_data(Order, data.get("before", []), f"{path}.before")


def read_case(path: Path) -> tuple[Case, str | None]:
    """The case in a file, which holds a case, a finding or a corpus entry, and the target that it names.

    Raises:
        ValueError: one sentence, if the file holds none of them.
    """
    data = read_object(_where(path))
    if "case" not in data:
        return from_data(Case, data, str(path)), None
    target = data.get("target")
    require(target is None or isinstance(target, str), f"{path}.target", "must be a name", repr(target))
    return from_data(Case, data["case"], f"{path}.case"), target

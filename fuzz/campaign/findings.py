"""Findings: what broke, once per signature, kept as JSON that replays with one command."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuzz.cases.case import Case, from_data
from fuzz.report.record import FindingRecord
from msa_ref.config import require
from msa_ref.contract import Violation


def signature(target: str, violation: Violation, case: Case, architecture: str) -> str:
    """What two broken cases share if they are the same finding, as far as anyone can tell from outside.

    Target, law (and how it failed to run), dtype, size class, split relation, device architecture.
    """
    how = f":{violation.how}" if violation.how else ""
    blocks = max(case.num_blocks(req) for req in range(len(case.requests)))
    size = "n<=K" if blocks <= case.config.topk_blocks else "n<=128" if blocks <= 128 else "n>128"
    splits = violation.num_splits
    relation = (
        "own splits" if not splits else "splits>n" if splits > blocks else "one split" if splits == 1 else "splits"
    )
    return f"{target} | {violation.law}{how} | {case.dtype} | {size} | {relation} | {architecture}"


@dataclass(frozen=True)
class Finding:
    """The case that stands for a signature, and the violation that it shows."""

    target: str
    law: str
    signature: str
    violation: Violation
    case: Case
    path: Path
    is_minimised: bool = False

    @property
    def command(self) -> str:
        """What to paste into a shell to see it again."""
        return f"python -m fuzz replay {self.path} --target {self.target}"

    def record(self, cases: int) -> FindingRecord:
        """The finding as part of a run's record. cases: how many had its signature."""
        return FindingRecord(
            self.target,
            self.law,
            self.signature,
            str(self.violation),
            str(self.path),
            self.command,
            cases,
            len(self.case.requests),
            max(self.case.num_blocks(req) for req in range(len(self.case.requests))),
            self.is_minimised,
        )


class Findings:
    """Keeps one case per signature and counts the others.

    Stored are files named <target>-<law>-<hash of the case>.json.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, Finding] = {}
        self._counts: dict[str, int] = {}

    def is_new(self, target: str, violations: tuple[Violation, ...]) -> bool:
        """Whether any of these violations is of a law that the target has not broken before."""
        known = {(finding.target, finding.law) for finding in self._found.values()}
        return any((target, violation.law) not in known for violation in violations)

    def add(
        self,
        target: str,
        case: Case,
        violations: tuple[Violation, ...],
        environment: dict[str, str],
        is_minimised: bool = False,
    ) -> None:
        """Record a broken case; one of every signature is written to the folder, a minimised one over others."""
        architecture = environment.get("architecture", "unknown")
        for law in {violation.law: None for violation in violations}:
            first = next(violation for violation in violations if violation.law == law)
            key = signature(target, first, case, architecture)
            self._counts[key] = self._counts.get(key, 0) + 1
            known = self._found.get(key)
            if known is not None and (known.is_minimised or not is_minimised):
                continue
            if known is not None:
                known.path.unlink(missing_ok=True)
            self._found[key] = self._write(target, law, key, first, case, environment, is_minimised)

    def settle(self, target: str, case: Case, violations: tuple[Violation, ...], environment: dict[str, str]) -> None:
        """Record a minimised case in the place of all larger ones that broke the same laws on the same target."""
        laws = {violation.law for violation in violations}
        counted = 0
        for key, finding in list(self._found.items()):
            if finding.target == target and finding.law in laws and not finding.is_minimised:
                finding.path.unlink(missing_ok=True)
                counted = max(counted, self._counts.pop(key))
                del self._found[key]
        self.add(target, case, violations, environment, is_minimised=True)
        for key, finding in self._found.items():
            if finding.target == target and finding.law in laws and finding.case == case:
                self._counts[key] = max(self._counts[key], counted)

    def _write(
        self,
        target: str,
        law: str,
        key: str,
        violation: Violation,
        case: Case,
        environment: dict[str, str],
        is_minimised: bool,
    ) -> Finding:
        text = case.to_json()
        name = "".join(letter if letter.isalnum() else "_" for letter in target)
        path = self._folder / f"{name}-{law}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        data = {
            "target": target,
            "law": law,
            "signature": key,
            "violation": asdict(violation),
            "is_minimised": is_minimised,
            "environment": environment,
            "case": json.loads(text),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n")
        return Finding(target, law, key, violation, case, path, is_minimised)

    def of(self, target: str) -> list[tuple[Finding, int]]:
        """(finding, number of cases) of one target, in the order they were found."""
        return [(finding, self._counts[key]) for key, finding in self._found.items() if finding.target == target]

    def all(self) -> list[Finding]:
        """Every finding, in the order they were found."""
        return list(self._found.values())

    def records(self) -> tuple[FindingRecord, ...]:
        """Every finding as part of a run's record."""
        return tuple(finding.record(self._counts[key]) for key, finding in self._found.items())


def stored(folder: Path, targets: set[str]) -> list[Finding]:
    """The findings of some targets that earlier runs left in a folder, those aside that are marked as fixed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        if data.get("target") in targets and "signature" in data and "fixed_since" not in data:
            violation = from_data(Violation, data["violation"], str(path))
            case = from_data(Case, data["case"], str(path))
            found.append(Finding(data["target"], data["law"], data["signature"], violation, case, path))
    return found


def mark_fixed(path: Path, since: str) -> None:
    """Write into a stored finding at which commit it was seen not to fail any more."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps({"fixed_since": since} | data, indent=1) + "\n")


def read_case(path: Path) -> tuple[Case, str | None]:
    """The case in a file, which is a case's own JSON, a finding's or a corpus entry's, and its target.

    Raises:
        ValueError: one sentence, if the file holds neither.
    """
    data: Any = json.loads(path.read_text())
    require(isinstance(data, dict), str(path), "must hold an object", type(data).__name__)
    if "case" in data:
        return Case.from_json(json.dumps(data["case"])), data.get("target")
    return Case.from_json(json.dumps(data)), None

"""Findings: what broke, once per (target, law), kept as JSON that replays with one command."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.case import Case
from fuzz.oracle import Breach
from msa_ref.config import require

DEFAULT_FOLDER = Path(".fuzz/findings")


@dataclass(frozen=True)
class Finding:
    """The first case in which a target broke a law, and how often it has broken it since."""

    target: str
    law: str
    breach: Breach
    case: Case
    path: Path

    @property
    def command(self) -> str:
        """What to paste into a shell to see it again."""
        return f"python -m fuzz replay {self.path} --target {self.target}"


class Findings:
    """Keeps the first case per (target, law) and counts the others.

    Stored are files named <target>-<law>-<hash of the case>.json.
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER) -> None:
        self._folder = folder
        self._found: dict[tuple[str, str], Finding] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def is_new(self, target: str, breaches: tuple[Breach, ...]) -> bool:
        """Whether any of these breaches is of a law that the target has not broken before."""
        return any((target, breach.law) not in self._found for breach in breaches)

    def add(self, target: str, case: Case, breaches: tuple[Breach, ...], environment: dict[str, str]) -> None:
        """Record a broken case; the first one of every (target, law) is written to the folder."""
        for law in {breach.law: None for breach in breaches}:
            self._counts[target, law] = self._counts.get((target, law), 0) + 1
            if (target, law) in self._found:
                continue
            first = next(breach for breach in breaches if breach.law == law)
            text = case.to_json()
            name = "".join(letter if letter.isalnum() else "_" for letter in target)
            path = self._folder / f"{name}-{law}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
            data = {
                "target": target,
                "law": law,
                "breach": asdict(first),
                "environment": environment,
                "case": json.loads(text),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(data, indent=1) + "\n")
            self._found[target, law] = Finding(target, law, first, case, path)

    def of(self, target: str) -> list[tuple[Finding, int]]:
        """(finding, number of cases) of one target, in the order they were found."""
        return [(finding, self._counts[key]) for key, finding in self._found.items() if key[0] == target]

    def all(self) -> list[Finding]:
        """Every finding, in the order they were found."""
        return list(self._found.values())


def read_case(path: Path) -> tuple[Case, str | None]:
    """The case in a file, which is a case's own JSON or a finding's, and the finding's target.

    Raises:
        ValueError: one sentence, if the file holds neither.
    """
    data = json.loads(path.read_text())
    require(isinstance(data, dict), str(path), "must hold an object", type(data).__name__)
    if "case" in data:
        return Case.from_json(json.dumps(data["case"])), data.get("target")
    return Case.from_json(json.dumps(data)), None

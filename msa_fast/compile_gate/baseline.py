"""Results of a whole run, how they are kept in the repository, and what changed since."""

import json
from dataclasses import dataclass
from pathlib import Path

import triton

from msa_fast.compile_gate.compiled import Measured
from msa_fast.compile_gate.configurations import Job
from msa_fast.compile_gate.rules import Violation, violations
from msa_fast.compile_gate.targets import TARGETS

KEPT = (
    "options",
    "matrix",
    "key_bytes",
    "registers",
    "spills",
    "loop_spills",
    "unjudged",
    "stack",
    "shared",
    "occupancy",
    "code_size",
    "error",
)
"""What of a configuration is recorded, in this order."""
CODE_SIZE_STEP = 0.1
"""Relative change of the code's size that is worth a line; any change of the others is."""


@dataclass(frozen=True)
class Row:
    """One configuration on one target, and the rules it breaks."""

    job: Job
    found: Measured

    @property
    def broken(self) -> list[Violation]:
        """Rules that it breaks."""
        return violations(self.found, TARGETS[self.job.target])

    def kept(self) -> list:
        """Its recorded values, KEPT in order."""
        values = vars(self.found) | {
            "matrix": matrix_text(self.found),
            "key_bytes": min(self.found.key_bytes, default=None),
        }
        return [values[name] for name in KEPT]


def matrix_text(found: Measured) -> str:
    """Matrix instructions, or how products are computed without."""
    text = " ".join(f"{name} x{count}" for name, count in sorted(found.matrix.items()))
    return text or ("fma" if found.products else "")


def record_path(folder: Path | None = None) -> Path:
    """Where results of this Triton version are kept."""
    return (folder or Path(__file__).parent) / f"recorded-{triton.__version__}.json"


def save(rows: list[Row], path: Path) -> None:
    """Write the recorded results, one configuration per line."""
    targets = []
    for target in dict.fromkeys(row.job.target for row in rows):
        mine = [row for row in rows if row.job.target == target]
        lines = [f"  {json.dumps(row.job.name)}: {json.dumps(row.kept())}" for row in mine]
        targets.append(f" {json.dumps(target)}: {{\n" + ",\n".join(lines) + "\n }")
    fields = f' "fields": {json.dumps(KEPT)}'
    path.write_text("{\n" + ",\n".join([fields, *targets]) + "\n}\n")


def changes(rows: list[Row], path: Path) -> list[str]:
    """What differs from the recorded results: one line per configuration."""
    if not path.exists():
        return [f"nothing is recorded for Triton {triton.__version__}; --record does it"]
    recorded = json.loads(path.read_text())
    fields = recorded.pop("fields")
    lines = []
    for target in dict.fromkeys(row.job.target for row in rows):
        before = {name: dict(zip(fields, values, strict=True)) for name, values in recorded.get(target, {}).items()}
        now = {row.job.name: dict(zip(KEPT, row.kept(), strict=True)) for row in rows if row.job.target == target}
        lines += [f"{target} {name}: new" for name in now if name not in before]
        lines += [f"{target} {name}: gone" for name in before if name not in now]
        for name in now:
            differing = _differing(before[name], now[name]) if name in before else ""
            if differing:
                lines.append(f"{target} {name}: {differing}")
    return lines


def _differing(before: dict, now: dict) -> str:
    parts = []
    for field, value in now.items():
        old = before.get(field)
        is_same = old == value
        if field == "code_size" and old and value:
            is_same = abs(value - old) <= CODE_SIZE_STEP * old
        if not is_same:
            parts.append(f"{field} {old} -> {value}")
    return ", ".join(parts)

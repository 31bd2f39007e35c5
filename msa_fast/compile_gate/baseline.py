"""Results of a run, the results recorded in the repository, and the changes between them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.configurations import Configuration
from msa_fast.compile_gate.rules import BrokenRule, broken_rules

RECORDED = (
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
"""Fields of a result that are recorded, in this order."""
CODE_SIZE_STEP = 0.1
"""Relative change of the code's size that is reported; of the other fields every change is."""


@dataclass(frozen=True)
class Result:
    """One configuration and what the compiler made of it."""

    configuration: Configuration
    compiled: Compiled

    @property
    def broken(self) -> list[BrokenRule]:
        """The rules that it breaks."""
        return broken_rules(self.compiled, ARCHITECTURES[self.configuration.architecture])

    def recorded(self) -> list[Any]:
        """The values of RECORDED, in its order."""
        values = vars(self.compiled) | {
            "matrix": matrix_text(self.compiled),
            "key_bytes": min(self.compiled.key_bytes, default=None),
        }
        return [values[name] for name in RECORDED]


def by_architecture(results: list[Result]) -> dict[str, list[Result]]:
    """Architecture -> its results, in their order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.configuration.architecture, []).append(result)
    return groups


def matrix_text(compiled: Compiled) -> str:
    """The matrix instructions with their counts, or "fma" for products computed without."""
    text = " ".join(f"{name} x{count}" for name, count in sorted(compiled.matrix.items()))
    return text or ("fma" if compiled.products else "")


def baseline_path() -> Path:
    """The file of results recorded with this version of Triton."""
    return Path(__file__).parent / f"recorded-{triton.__version__}.json"


def fragile() -> set[tuple[str, str]]:
    """(architecture, name) of every configuration that any recorded version of Triton failed or gave local memory."""
    found = set()
    for path in Path(__file__).parent.glob("recorded-*.json"):
        recorded = json.loads(path.read_text())
        fields = recorded.pop("fields")
        spills, error = fields.index("spills"), fields.index("error")
        for architecture, section in recorded.items():
            found |= {(architecture, name) for name, values in section.items() if values[spills] or values[error]}
    return found


def save(results: list[Result], path: Path) -> None:
    """Write the recorded fields of results, one configuration per line."""
    sections = [f' "fields": {json.dumps(RECORDED)}']
    for architecture, mine in by_architecture(results).items():
        lines = [f"  {json.dumps(result.configuration.name)}: {json.dumps(result.recorded())}" for result in mine]
        sections.append(f" {json.dumps(architecture)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(sections) + "\n}\n")


def changes(results: list[Result], path: Path, is_whole: bool = True) -> list[str]:
    """Differences from the recorded results, one line per configuration.

    is_whole: the results are of all configurations, so that a recorded one without a result is gone.
    """
    if not path.exists():
        return [f"nothing is recorded for Triton {triton.__version__}; --record does it"]
    recorded = json.loads(path.read_text())
    fields = recorded.pop("fields")
    lines = []
    for architecture, mine in by_architecture(results).items():
        section = recorded.get(architecture, {})
        before = {name: dict(zip(fields, values, strict=True)) for name, values in section.items()}
        now = {result.configuration.name: dict(zip(RECORDED, result.recorded(), strict=True)) for result in mine}
        lines += [f"{architecture} {name}: new" for name in now if name not in before]
        lines += [f"{architecture} {name}: gone" for name in before if is_whole and name not in now]
        for name in now:
            differing = _differing(before[name], now[name]) if name in before else ""
            if differing:
                lines.append(f"{architecture} {name}: {differing}")
    return lines


def _differing(before: dict[str, Any], now: dict[str, Any]) -> str:
    parts = []
    for field, value in now.items():
        old = before.get(field)
        is_same = old == value
        if field == "code_size" and old and value:
            is_same = abs(value - old) <= CODE_SIZE_STEP * old
        if not is_same:
            parts.append(f"{field} {old} -> {value}")
    return ", ".join(parts)

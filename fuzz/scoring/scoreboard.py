"""Fates of planted defects, tier by tier, as JSON and as text.

The file is written whenever a defect is done, so that a scoring that is cut short can be resumed, here or on
another machine. Scoring one tier leaves the others as they are.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fuzz.canaries import Defect
from fuzz.cases.codec import from_data, read_object
from msa_ref.config import require

SCHEMA = 2
STATUSES = ("survived", "unfinished", "not run", "equivalent", "killed")
MAX_EVIDENCE_LEN = 160
"""Characters of evidence that a file keeps of each defect."""


@dataclass(frozen=True)
class Fate:
    """The outcome of one planted defect's trial.

    kind: `canary`, `process` or `mutant`. defect: its row in the list of field defects.
    expected: the laws that name it.
    status: `killed`, `survived` all cases, `unfinished` (alive when its time was up), `equivalent`
        (proved so and not judged) or `not run` (it needs what this machine lacks).
    laws: the laws it broke, those of the case that killed it first. oracle: the oracle that found the first of them.
    cases: how many were judged until it died. case: the case that killed it, in words.
    is_equivalent: whether it is declared equivalent; killing it is then an error.
    commit: the commit at which it was judged.
    """

    name: str
    kind: str
    defect: str
    expected: tuple[str, ...]
    status: str
    laws: tuple[str, ...] = ()
    oracle: str = ""
    cases: int = 0
    seconds: float = 0.0
    case: str = ""
    evidence: str = ""
    is_equivalent: bool = False
    commit: str = ""

    def __post_init__(self) -> None:
        require(self.status in STATUSES, "status", f"must be one of {', '.join(STATUSES)}", repr(self.status))

    @staticmethod
    def of(defect: Defect, status: str, **more: Any) -> "Fate":
        """The fate of a planted defect. more: other fields of it."""
        fields = {"is_equivalent": bool(defect.equivalent)} | more
        return Fate(defect.name, defect.kind, defect.field_defect, defect.laws, status, **fields)

    @property
    def is_named(self) -> bool:
        """True if a law that names the defect killed it."""
        return bool(set(self.laws) & set(self.expected))

    @property
    def is_bad(self) -> bool:
        """True if a defect lives, or one died although it is declared equivalent."""
        if self.is_equivalent:
            return self.status == "killed"
        return self.status in ("survived", "unfinished")

    @property
    def is_judged(self) -> bool:
        """True if it counts in a score."""
        return not self.is_equivalent and self.status in ("killed", "survived", "unfinished")


@dataclass(frozen=True)
class TierScore:
    """The fates of one tier. run: the tier's settings. environment: the last machine that added to it.

    note: further facts that a reader needs; written by hand.
    """

    run: dict[str, str]
    environment: dict[str, str]
    fates: tuple[Fate, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Score:
    """The scores of all tiers, by name, in the order in which they were first judged."""

    schema: int
    tiers: dict[str, TierScore]

    def with_fates(self, name: str, run: dict[str, str], environment: dict[str, str], fates: Sequence[Fate]) -> "Score":
        """The same score with one tier's fates exchanged. A note stays while the tier's settings do."""
        old = self.tiers.get(name)
        note = old.note if old is not None and old.run == run else ""
        return replace(self, tiers=self.tiers | {name: TierScore(run, environment, tuple(fates), note)})

    def to_json(self) -> str:
        """JSON text with one fate a line."""
        tiers = []
        for name, tier in self.tiers.items():
            fates = [json.dumps(asdict(replace(one, evidence=one.evidence[:MAX_EVIDENCE_LEN]))) for one in tier.fates]
            settings = {"run": tier.run, "environment": tier.environment, "note": tier.note}
            head = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in settings.items())
            listed = ",\n".join(fates)
            tiers.append(f'{json.dumps(name)}: {{\n{head},\n"fates": [\n{listed}\n]}}')
        joined = ",\n".join(tiers)
        return f'{{"schema": {self.schema}, "tiers": {{\n{joined}\n}}}}\n'

    @staticmethod
    def read(path: Path) -> "Score":
        """The score in a file; an empty one if there is no file.

        Raises:
            ValueError: one sentence, if the file holds something else.
        """
        if not path.exists():
            return Score(SCHEMA, {})
        data = read_object(path)
        got = data.get("schema")
        require(got == SCHEMA, f"{path}: schema", f"must be {SCHEMA}", got)
        return from_data(Score, data, str(path))


KINDS = ("canary", "process", "mutant")


def text_lines(fates: Sequence[Fate], sentences: dict[str, str]) -> list[str]:
    """Print lines: one or two a defect, survivors first, then the score of each kind."""
    rows = []
    for fate in sorted(fates, key=lambda fate: (not fate.is_bad, STATUSES.index(fate.status))):
        status = "KILLED, but declared equivalent" if fate.is_bad and fate.laws else fate.status
        rows.append(f"{status:<10} {fate.name:<36} {fate.defect:<10} {sentences.get(fate.name, '')}")
        if fate.status == "killed":
            by = ", ".join(fate.laws) + ("" if fate.is_named else f", not by {' or '.join(fate.expected)}")
            oracle = f" ({fate.oracle})" if fate.oracle else ""
            rows.append(f"{'':<11}by {by}{oracle}, after {fate.cases} cases and {fate.seconds} s: {fate.case}")
        elif fate.status in ("survived", "unfinished"):
            rows.append(
                f"{'':<11}outlived {fate.cases} cases and {fate.seconds} s; expected {' or '.join(fate.expected)}"
            )
        elif fate.evidence:
            rows.append(f"{'':<11}{fate.evidence}")
    for kind in KINDS:
        of_kind = [fate for fate in fates if fate.kind == kind]
        if of_kind:
            rows.append(f"{kind:<7} {_score_words(of_kind)}")
    return rows


def _score_words(fates: Sequence[Fate]) -> str:
    killed, judged = tally(fates)
    count = Counter(fate.status for fate in fates)
    named = sum(fate.is_named for fate in fates)
    share = f"{100 * killed / judged:.1f} %" if judged else "none"
    return (
        f"killed {killed} of {judged} ({share}), {named} of them by a law that names it; "
        f"{count['equivalent']} equivalent, {count['not run']} not run"
    )


def tally(fates: Sequence[Fate]) -> tuple[int, int]:
    """(killed, judged), without those declared equivalent."""
    judged = [fate for fate in fates if fate.is_judged]
    return sum(fate.status == "killed" for fate in judged), len(judged)

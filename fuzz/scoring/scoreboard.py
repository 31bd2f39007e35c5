"""What became of planted defects, tier by tier: one JSON file, and the table that the README shows of it.

The file is rewritten whenever a defect is done, so that a scoring that is cut short can be resumed,
here or on another machine; a tier of the file leaves the others alone.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fuzz.cases.case import from_data
from msa_ref.config import require

SCORE = Path(__file__).parents[1] / "canaries" / "score.json"
"""The published score: what the README's table is made from."""

SCHEMA = 1
STATUSES = ("survived", "unfinished", "not run", "equivalent", "killed")
MOST_EVIDENCE = 160


@dataclass(frozen=True)
class Fate:
    """What became of one planted defect.

    kind: `canary`, `process` or `mutant`. defect: its row in the list of field defects. expected: laws that name it.
    status: `killed`, `survived` all cases, `unfinished` (alive when its time was up), `equivalent`
        (proved so and not judged) or `not run` (it needs what is not there).
    laws: that it broke, those of the case that killed it first. oracle: that told the first of them.
    is_named: whether a law that names it killed it. cases: judged until it died. case: the killer, in words.
    is_equivalent: whether it is said to be; then being killed is as bad as surviving otherwise.
    commit: at which it was judged.
    """

    name: str
    kind: str
    defect: str
    expected: tuple[str, ...]
    status: str
    laws: tuple[str, ...] = ()
    is_named: bool = False
    oracle: str = ""
    cases: int = 0
    seconds: float = 0.0
    case: str = ""
    evidence: str = ""
    is_equivalent: bool = False
    commit: str = ""

    def __post_init__(self) -> None:
        require(self.status in STATUSES, "status", f"must be one of {', '.join(STATUSES)}", repr(self.status))

    @property
    def is_bad(self) -> bool:
        """A defect that lives, or one that died although it is said to be equivalent."""
        if self.is_equivalent:
            return self.status == "killed"
        return self.status in ("survived", "unfinished")

    @property
    def is_judged(self) -> bool:
        """Whether it counts in a score, one way or the other."""
        return not self.is_equivalent and self.status in ("killed", "survived", "unfinished")


@dataclass(frozen=True)
class TierScore:
    """One tier's results. run: what it was judged with. environment: of the last machine that added to it."""

    run: dict[str, str]
    environment: dict[str, str]
    fates: tuple[Fate, ...] = ()


@dataclass(frozen=True)
class Score:
    """All tiers' results. tiers: by name, in the order in which they were first judged."""

    schema: int
    tiers: dict[str, TierScore]

    def with_tier(self, name: str, tier: TierScore) -> "Score":
        """The same with one tier exchanged."""
        return replace(self, tiers=self.tiers | {name: tier})

    def to_json(self) -> str:
        """As JSON text, a fate a line."""
        tiers = []
        for name, tier in self.tiers.items():
            fates = [json.dumps(asdict(replace(fate, evidence=fate.evidence[:MOST_EVIDENCE]))) for fate in tier.fates]
            head = f'"run": {json.dumps(tier.run)},\n"environment": {json.dumps(tier.environment)}'
            listed = ",\n".join(fates)
            tiers.append(f'{json.dumps(name)}: {{\n{head},\n"fates": [\n{listed}\n]}}')
        joined = ",\n".join(tiers)
        return f'{{"schema": {self.schema}, "tiers": {{\n{joined}\n}}}}\n'

    @staticmethod
    def read(path: Path) -> "Score":
        """The score that a file holds; an empty one if there is no file.

        Raises:
            ValueError: one sentence, if it holds something else.
        """
        if not path.exists():
            return Score(SCHEMA, {})
        data = json.loads(path.read_text())
        got = data.get("schema") if isinstance(data, dict) else type(data).__name__
        require(got == SCHEMA, f"{path}: schema", f"must be {SCHEMA}", got)
        return from_data(Score, data, str(path))


KINDS = {"canary": "canaries", "process": "process canaries", "mutant": "mutants"}


def text_lines(fates: Sequence[Fate], sentences: dict[str, str]) -> list[str]:
    """A line or two per defect, survivors first, and the score."""
    rows = []
    for fate in sorted(fates, key=lambda fate: (not fate.is_bad, STATUSES.index(fate.status))):
        status = "KILLED, but said to be equivalent" if fate.is_bad and fate.laws else fate.status
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
    """(killed, judged) of those that are no equivalents."""
    judged = [fate for fate in fates if fate.is_judged]
    return sum(fate.status == "killed" for fate in judged), len(judged)


def markdown(score: Score) -> str:
    """The table of the README: a row a tier, and the survivors by name."""
    lines = [
        "| tier | canaries | mutants | field defects | proved equivalent | not run | device | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, tier in score.tiers.items():
        cells = [
            _share([fate for fate in tier.fates if (fate.kind == "mutant") == is_mutant]) for is_mutant in (False, True)
        ]
        rows = {fate.defect for fate in tier.fates if fate.is_judged and fate.defect.startswith("D")}
        shown = {fate.defect for fate in tier.fates if fate.status == "killed"} & rows
        count = Counter(fate.status for fate in tier.fates)
        commits = ", ".join(dict.fromkeys(fate.commit for fate in tier.fates if fate.is_judged))
        cells += [f"{len(shown)} of {len(rows)}", str(count["equivalent"]), str(count["not run"])]
        lines.append(f"| {' | '.join([name, *cells, tier.environment.get('device', ''), commits])} |")
        alive = [f"`{fate.name}`" for fate in tier.fates if fate.is_bad]
        notes.append(f"Alive after the {name}: {', '.join(alive) or 'none'}.")
    return "\n".join([*lines, "", *notes])


def _share(fates: Sequence[Fate]) -> str:
    killed, judged = tally(fates)
    return f"{killed} of {judged} ({100 * killed / judged:.1f} %)" if judged else "none"

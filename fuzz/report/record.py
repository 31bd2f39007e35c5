"""The record of a run, as data: the one source of the text report, the JSON, the page and JUnit.

`gate` and `run` fill one record each, case by case, and write it with `--json FILE`. Reports are made
from records alone, so shards that ran on several GPUs or machines can be merged afterwards.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from fuzz.cases.codec import from_data, to_data
from fuzz.report.buckets import Coverage, unreached
from fuzz.report.statuses import AGREED, BROKE, THIN, UNJUDGED
from msa_ref.config import require

SCHEMA = 3
"""Version of the JSON. Raise it when a field changes its meaning or goes. 3: coverage counts judged cases alone."""

FIGURES = ("rows", "rows_per_second", "certified_share", "unreached", "verdicts", "exit_status")
"""Properties that the JSON repeats for other readers."""

MIN_JUDGED = 40
"""Cases that have to judge a target: 40 drawn ones kill 95 of 100 planted defects (30 kill 94, 20 kill 92)."""

MIN_JUDGED_SHARE = 8
"""The part of fewer than 320 cases that has to judge a target: an eighth replay something, which some need."""


Breaks = Literal["untried", "alone", "sometimes", "behind", "never"]
"""The ways in which a finding is reproduced, by a fresh process: see `FindingRecord.reproduction`."""


@dataclass(frozen=True)
class FindingRecord:
    """One finding: the first, or the smallest, broken case of a signature.

    signature: text that broken cases share if they are the same finding (`fuzz.campaign.findings.signature`).
    law: the law that broke. evidence: where and by which numbers, one sentence.
    path: the JSON file that holds the case. command: shows it again when pasted.
    cases: how many cases of the run had this signature. is_minimised: whether the case was shrunk.
    breaks: how it is reproduced. before: how many cases its file holds that its process had judged before.
    chapter: the text that explains the law, a path in the repository and a heading.
    """

    target: str
    law: str
    signature: str
    evidence: str
    path: str
    command: str
    cases: int = 1
    requests: int = 0
    blocks: int = 0
    is_minimised: bool = False
    breaks: Breaks = "untried"
    before: int = 0
    chapter: str = ""

    @property
    def reproduction(self) -> str:
        """How the command behind `again:` shows the finding; empty if it simply does."""
        cases = f"{self.before} other case{'' if self.before == 1 else 's'}"
        return {
            "untried": "not tried again",
            "alone": "",
            "sometimes": "its case breaks, and not every time",
            "behind": f"its case alone agrees, and breaks in a process that has judged {cases}, which the file holds",
            "never": f"did not break again, alone or in a process that has judged the {cases} before it",
        }[self.breaks]


@dataclass(frozen=True)
class FixedRecord:
    """An earlier finding that no longer fails. since: the commit at which that was seen."""

    target: str
    law: str
    path: str
    since: str


@dataclass(frozen=True)
class EarlierRecord:
    """An earlier finding that was judged again, and fails as it did."""

    target: str
    law: str
    path: str


@dataclass
class TargetRecord:
    """The results of one target; the counts grow while the run goes on.

    profile: the promises it is held to, in words. agreed, broke: cases.
    undefined: reason -> cases. rows: (head, token) rows judged, over all runs.
    certified_rows: those of them with exactly one admissible set. seconds: spent in judging it.
    coverage: of the cases that judged this target. largest: what -> the most of it that one of them had.
    calls: how often it was asked the same in a row, at most.
    left_out: names of kept and production cases whose point does not survive in what it promises.
    """

    name: str
    sentence: str
    profile: str
    agreed: int = 0
    broke: int = 0
    undefined: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    certified_rows: int = 0
    seconds: float = 0.0
    coverage: Coverage = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`broke`, `agreed`, `thin` where too few cases agreed, or `undefined` where no case said anything."""
        if self.broke:
            return "broke"
        if not self.agreed:
            return "undefined"
        return "thin" if self.agreed < self.min_judged else "agreed"

    @property
    def num_judged(self) -> int:
        """Cases that said something about the target."""
        return self.agreed + self.broke

    @property
    def num_undefined(self) -> int:
        """Cases that said nothing about the target."""
        return sum(self.undefined.values())

    @property
    def num_asked(self) -> int:
        """Cases that the target was given."""
        return self.num_judged + self.num_undefined

    @property
    def min_judged(self) -> int:
        """Cases that have to judge the target, or its verdict is `thin`."""
        return min(MIN_JUDGED, -(-self.num_asked // MIN_JUDGED_SHARE))

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """(reason of undefined, cases), the most frequent first."""
        return sorted(self.undefined.items(), key=lambda one: -one[1])

    @property
    def certified_share(self) -> float:
        """Share of its rows on which exactly one set was admissible; 1 for no rows."""
        return self.certified_rows / self.rows if self.rows else 1.0


@dataclass
class Record:
    """One run, filled while it goes on, or several merged.

    command: `gate` or `run`. reproduce: one command line that does the same again.
    shard: `i/n` of `run`; `0/1` for the whole.
    environment: as `msa_fast.environment.stamp` gives it.
    coverage: of the cases that judged a target, whichever it was.
    histograms: title -> class -> count of such cases, for what is counted beside dimensions.
    fixed, still_broken: findings of earlier runs that were judged again.
    aborted: why the run ended early, or failed although nothing broke; empty if neither.
    """

    command: str
    reproduce: str
    seed: int
    scale: str
    device: str
    environment: dict[str, str]
    shard: str = "0/1"
    schema: int = SCHEMA
    cases: int = 0
    seconds: float = 0.0
    coverage: Coverage = field(default_factory=dict)
    histograms: dict[str, dict[str, int]] = field(default_factory=dict)
    targets: tuple[TargetRecord, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    fixed: tuple[FixedRecord, ...] = ()
    still_broken: tuple[EarlierRecord, ...] = ()
    aborted: str = ""

    def target(self, name: str) -> TargetRecord:
        """The record of one target."""
        (found,) = (target for target in self.targets if target.name == name)
        return found

    @property
    def broke(self) -> int:
        """Cases that broke a law, counted once per target."""
        return sum(target.broke for target in self.targets)

    @property
    def exit_status(self) -> int:
        """The worst that `fuzz.report.statuses` has for any target, or for a run that was aborted."""
        verdicts = set(self.verdicts.values())
        if self.aborted or "broke" in verdicts:
            return BROKE
        return UNJUDGED if not verdicts or "undefined" in verdicts else THIN if "thin" in verdicts else AGREED

    @property
    def verdicts(self) -> dict[str, str]:
        """Target -> verdict."""
        return {target.name: target.verdict for target in self.targets}

    @property
    def rows(self) -> int:
        """(head, token) rows judged, over all targets and runs."""
        return sum(target.rows for target in self.targets)

    @property
    def rows_per_second(self) -> float:
        """Rows judged per second of the whole run."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def certified_share(self) -> float:
        """Share of rows on which exactly one set was admissible; 1 for no rows."""
        return sum(target.certified_rows for target in self.targets) / self.rows if self.rows else 1.0

    @property
    def unreached(self) -> list[str]:
        """`dimension: bucket, bucket` of everything that should have been reached and was not."""
        return unreached(self.coverage)

    def to_json(self) -> str:
        """The record as JSON text."""
        data = to_data(self) | {"figures": {name: getattr(self, name) for name in FIGURES}}
        return "{\n" + ",\n".join(f"{json.dumps(name)}: {_in_lines(value)}" for name, value in data.items()) + "\n}\n"

    @staticmethod
    def from_json(text: str) -> "Record":
        """The record that some JSON text holds.

        Raises:
            ValueError: one sentence, if it is of another schema or no record at all.
        """
        data = json.loads(text)
        require(isinstance(data, dict), "record", "must be an object", type(data).__name__)
        require(data.get("schema") == SCHEMA, "schema", f"must be {SCHEMA}", data.get("schema"))
        data.pop("figures", None)
        return from_data(Record, data, "record")


def _in_lines(value: Any) -> str:
    """JSON text of one field, with a line for each of its parts."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(part) for part in value) + "\n]"
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in value.items()) + "\n}"
    return json.dumps(value)

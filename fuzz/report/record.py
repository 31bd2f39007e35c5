"""What one run did, as data: the one schema behind the text report, the JSON, the HTML and JUnit.

`gate` and `run` write one record each (`--json FILE`), and reports are made from records alone, so
that shards of one run, on several GPUs or machines, can be merged afterwards.
"""

import dataclasses
import json
from dataclasses import dataclass, field

from fuzz.cases.case import from_data
from msa_ref.config import require

SCHEMA = 1
"""Raised by whoever changes the meaning of a field, or takes one away."""


@dataclass(frozen=True)
class FindingRecord:
    """One finding: a signature's first, or smallest, broken case.

    signature: what makes two broken cases the same finding, as text (`fuzz.campaign.findings.signature`).
    law: the law that broke. evidence: where and by which numbers, one sentence.
    path: the JSON file that holds the case. command: what to paste to see it again.
    cases: how many cases of the run had this signature. is_minimised: whether the case was shrunk.
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


@dataclass(frozen=True)
class FixedRecord:
    """An earlier finding that no longer fails. since: the commit at which that was seen."""

    target: str
    law: str
    path: str
    since: str


@dataclass(frozen=True)
class TargetRecord:
    """What became of one target.

    profile: the promises it is held to, in words. agreed, broke: cases.
    undefined: reason -> cases. rows: (head, token) rows judged, over all runs.
    certified_rows: those of them with exactly one admissible set. seconds: spent in judging it.
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

    @property
    def verdict(self) -> str:
        """`broke`, `agreed`, or `undefined` where no case said anything."""
        return "broke" if self.broke else "agreed" if self.agreed else "undefined"


@dataclass(frozen=True)
class Record:
    """One run, or several merged.

    command: `gate` or `run`. reproduce: one command line that does the same again.
    shard: `i/n` of `run`; `0/1` for the whole.
    environment: as `msa_fast.environment.stamp` gives it.
    coverage: dimension -> bucket -> cases; a bucket that was never reached counts 0.
    histograms: title -> class -> count, for what is counted beside dimensions (`tie classes of rows`, ...).
    aborted: why the run ended early; empty if it did not.
    exit_status: of the command: 0 agreed, 1 broke, 3 a target was judged by no case.
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
    coverage: dict[str, dict[str, int]] = field(default_factory=dict)
    histograms: dict[str, dict[str, int]] = field(default_factory=dict)
    targets: tuple[TargetRecord, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    fixed: tuple[FixedRecord, ...] = ()
    aborted: str = ""
    exit_status: int = 0

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
        """`dimension: bucket` of everything that should have been reached and was not."""
        return [
            f"{name}: {bucket}" for name, buckets in self.coverage.items() for bucket, n in buckets.items() if not n
        ]

    def to_json(self) -> str:
        """The record as JSON text; the figures that follow from others stand beside them, for other readers."""
        figures = ("rows", "rows_per_second", "certified_share", "unreached")
        data = dataclasses.asdict(self) | {"figures": {name: getattr(self, name) for name in figures}}
        return json.dumps(data, indent=1) + "\n"

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

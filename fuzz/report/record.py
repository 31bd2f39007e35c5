"""The record of a run, as data: the one source of the text report, the JSON, the page and JUnit.

`gate` and `run` fill one record each, case by case, and write it with `--json FILE`. Reports are made
from records alone, so shards that ran on several GPUs or machines can be merged afterwards.
"""

import json
from dataclasses import dataclass, field

from fuzz.cases.codec import from_data, to_data
from msa_ref.config import require

SCHEMA = 2
"""Version of the JSON. Raise it when a field changes its meaning or goes. 2: `exit_status` is a figure."""

FIGURES = ("rows", "rows_per_second", "certified_share", "unreached", "exit_status")
"""Properties that the JSON repeats for other readers."""


@dataclass(frozen=True)
class FindingRecord:
    """One finding: the first, or the smallest, broken case of a signature.

    signature: text that broken cases share if they are the same finding (`fuzz.campaign.findings.signature`).
    law: the law that broke. evidence: where and by which numbers, one sentence.
    path: the JSON file that holds the case. command: shows it again when pasted.
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


@dataclass
class TargetRecord:
    """The results of one target; the counts grow while the run goes on.

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

    @property
    def num_undefined(self) -> int:
        """Cases that said nothing about the target."""
        return sum(self.undefined.values())

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
    coverage: dimension -> bucket -> cases; a bucket that was never reached counts 0.
    histograms: title -> class -> count, for what is counted beside dimensions.
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
    coverage: dict[str, dict[str, int]] = field(default_factory=dict)
    histograms: dict[str, dict[str, int]] = field(default_factory=dict)
    targets: tuple[TargetRecord, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    fixed: tuple[FixedRecord, ...] = ()
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
        """0 all agreed, 1 a target broke a law or the run was aborted, 3 a target was judged by no case."""
        if self.aborted or self.broke:
            return 1
        return 0 if self.targets and all(target.agreed for target in self.targets) else 3

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
    def num_reached(self) -> int:
        """Buckets of all dimensions that some case reached."""
        return sum(count > 0 for buckets in self.coverage.values() for count in buckets.values())

    @property
    def unreached(self) -> list[str]:
        """`dimension: bucket` of everything that should have been reached and was not."""
        return [
            f"{name}: {bucket}" for name, buckets in self.coverage.items() for bucket, n in buckets.items() if not n
        ]

    def to_json(self) -> str:
        """The record as JSON text."""
        data = to_data(self) | {"figures": {name: getattr(self, name) for name in FIGURES}}
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

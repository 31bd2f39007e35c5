"""One replayed case, as data: the verdict of each target, the laws it broke, and score strips of broken rows.

`python -m fuzz replay` prints it, and writes it with `--json` for the page of a report.
"""

import json
from dataclasses import dataclass

from fuzz.cases.codec import from_data, to_data

VERDICTS = {"agreed": 0, "broke": 1, "undefined": 3}
"""Verdict of a replay -> exit status."""


@dataclass(frozen=True)
class StripRow:
    """One block of a broken row, or the line of the cut, or a gap where blocks are left out.

    kind: `block`, `cut` or `gap`; the last two have no other fields. rank: `forced`, or the place among the ranked.
    split: `-` where the split is not known. ulps: fp32 numbers between this score and the one ranked before it.
    is_in: whether the block belongs in. num_taken: how often the target took it.
    """

    kind: str
    rank: str = ""
    block: int = -1
    page: int = -1
    split: str = ""
    score: str = ""
    ulps: str = ""
    is_in: bool = False
    num_taken: int = 0

    @property
    def mark(self) -> str:
        """The mistake of the target about this block; empty if there is none."""
        if self.num_taken > 1:
            return f"taken {self.num_taken} times"
        if self.is_in == bool(self.num_taken):
            return ""
        return "wrongly taken" if self.num_taken else "wrongly left"


@dataclass(frozen=True)
class ScoreStrip:
    """The ranking of one broken row around the cut. title: the law that broke. heading: the row in words."""

    title: str
    heading: str
    answered: tuple[int, ...]
    expected: tuple[int, ...]
    rows: tuple[StripRow, ...]


@dataclass(frozen=True)
class Replayed:
    """One target on one case.

    verdict: `agreed`, `broke` or `undefined`. note: the reason of `undefined`, or the number of rows that agreed.
    steps: the replay script in words. violations: where and by which numbers laws broke, a sentence each.
    unexplained: why a strip is missing that should be here. reading: where the laws that broke are explained.
    """

    target: str
    verdict: str
    note: str = ""
    steps: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    strips: tuple[ScoreStrip, ...] = ()
    unexplained: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 agreed, 1 broke, 3 undefined."""
        return VERDICTS[self.verdict]


def to_json(replayed: list[Replayed]) -> str:
    """The targets of one case as JSON text."""
    return json.dumps(to_data(replayed), indent=1) + "\n"


def from_json(text: str) -> list[Replayed]:
    """The targets that some JSON text holds.

    Raises:
        ValueError: one sentence, if it holds anything else.
    """
    return from_data(list[Replayed], json.loads(text), "replayed")


def replayed_lines(replayed: Replayed) -> list[str]:
    """A replay as text for a terminal, the verdict first."""
    word = replayed.verdict if replayed.verdict == "agreed" else replayed.verdict.upper()
    note = f": {replayed.note}" if replayed.note else ""
    lines = [f"{word:<9} {replayed.target}{note}", *(f"  {one}" for one in (*replayed.violations, *replayed.steps))]
    for strip in replayed.strips:
        lines += ["", *strip_lines(strip)]
    return [*lines, *replayed.unexplained, *replayed.reading]


def strip_lines(strip: ScoreStrip) -> list[str]:
    """A score strip as a table for a terminal."""
    lines = [strip.title, strip.heading, f"answered {list(strip.answered)}", f"expected {list(strip.expected)}"]
    lines.append(f"{'rank':>6} {'block':>7} {'page':>7} {'split':>6} {'score':>16} {'ulps':>10}  in  taken")
    return [*lines, *(_row_line(row) for row in strip.rows)]


def _row_line(row: StripRow) -> str:
    if row.kind == "cut":
        return f"{'------':>6} the cut"
    if row.kind == "gap":
        return f"{'...':>6}"
    place = f"{row.rank:>6} {row.block:>7} {row.page:>7} {row.split:>6} {row.score:>16} {row.ulps:>10}"
    answer = f"{'yes' if row.is_in else 'no ':>3} {'yes' if row.num_taken else 'no ':>5}"
    return f"{place}  {answer}{f'  <-- {row.mark}' if row.mark else ''}"

"""The table of peers: what a record says of kernels that others ship, a row each, as text, Markdown or plain data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fuzz.report.record import FindingRecord, Record
from fuzz.report.text import many

HEADS = ("peer", "version", "promise", "judged", "agreed", "undefined", "laws broken", "smallest case")


@dataclass(frozen=True)
class PeerRow:
    """One peer, held to one promise.

    promise: `inside`, its own; or `outside`, where it is asked what it does beyond that.
    judged, agreed, undefined: cases. laws: those that it broke. smallest: the smallest broken case, in words.
    again: the command that shows that case; empty if nothing broke. reason: the most frequent reason why a case
        said nothing, where none was judged.
    """

    peer: str
    version: str
    promise: str
    judged: int
    agreed: int
    undefined: int
    laws: tuple[str, ...]
    smallest: str
    again: str
    reason: str


def peer_rows(record: Record, versions: Mapping[str, str], beyond: str) -> list[PeerRow]:
    """A row for each target of a record. versions: by peer. beyond: what the name of a peer asked beyond ends in."""
    rows = []
    for target in record.targets:
        peer = target.name.removesuffix(beyond)
        found = [finding for finding in record.findings if finding.target == target.name]
        smallest = min(found, key=lambda finding: (finding.blocks, finding.requests), default=None)
        row = PeerRow(
            peer=peer,
            version=versions[peer],
            promise="inside" if peer == target.name else "outside",
            judged=target.num_judged,
            agreed=target.agreed,
            undefined=target.num_undefined,
            laws=tuple(sorted({finding.law for finding in found})),
            smallest="" if smallest is None else _in_words(smallest),
            again="" if smallest is None else smallest.command,
            reason="" if target.num_judged or not target.reasons else target.reasons[0][0],
        )
        rows.append(row)
    return rows


def _in_words(finding: FindingRecord) -> str:
    return f"{many(finding.blocks, 'block')}, {many(finding.requests, 'request')}"


def table_lines(rows: Sequence[PeerRow]) -> Iterator[str]:
    """The table for a terminal, and below it the command that shows each smallest case again."""
    cells = [list(HEADS), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for row in rows:
        if row.again:
            yield f"{row.peer}, {row.promise} its promise, again: {row.again}"


def markdown_lines(rows: Sequence[PeerRow]) -> Iterator[str]:
    """The table as Markdown."""
    yield f"| {' | '.join(HEADS)} |"
    yield f"|{'---|' * len(HEADS)}"
    for row in rows:
        yield f"| {' | '.join(_cells(row))} |"


def _cells(row: PeerRow) -> list[str]:
    counts = [f"{row.judged:,}", f"{row.agreed:,}", f"{row.undefined:,}"]
    laws = ", ".join(row.laws) or (
        "none" if row.judged else f"not judged: {row.reason}" if row.reason else "not judged"
    )
    return [row.peer, row.version, row.promise, *counts, laws, row.smallest or "-"]

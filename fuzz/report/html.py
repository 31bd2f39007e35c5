"""A record as one HTML page that needs nothing else: no script, no font, no picture from outside.

The page is the template `report.html.j2`; here stand the figures that it does not find in the record.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fuzz.report.buckets import Coverage, num_buckets, num_reached, unreached
from fuzz.report.reading import reading_lines
from fuzz.report.record import Record, TargetRecord
from fuzz.report.replayed import Replayed
from fuzz.report.statuses import AGREED, BROKE
from fuzz.report.text import headline, left_out_in_words, many, percent

TONES = {"agreed": "good", "broke": "bad", "thin": "note", "undefined": "note"}
"""Verdict -> the class that colours it."""


def html_page(
    record: Record, shards: Sequence[Record] = (), replays: Mapping[str, Replayed | str] | None = None
) -> str:
    """The page.

    Args:
        shards: the records that were merged, for a table of them.
        replays: path of a finding's case -> its replay, or a sentence that says why there is none.
    """
    max_count = max((count for row in record.coverage.values() for count in row.values()), default=1)
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Never so dark that the text on it is hard to read, in light or dark.
    jinja.filters["warmth"] = lambda count: f"{0.06 + 0.52 * math.log1p(count) / math.log1p(max_count):.2f}"
    jinja.filters |= {"many": many, "percent": percent, "number": "{:,}".format}
    return jinja.get_template("report.html.j2").render(
        record=record,
        shards=shards,
        replays=replays or {},
        headline=headline(record),
        tone={AGREED: "good", BROKE: "bad"}.get(record.exit_status, "note"),
        tones=TONES,
        tiles=_tiles(record),
        reading=reading_lines((finding.law, finding.chapter) for finding in record.findings),
        fixed=[(one.target, one.law, one.path, one.since) for one in record.fixed],
        reasons=[(one.name, reason, f"{count:,}") for one in record.targets for reason, count in _reasons(one)],
        missed=[
            (one.name, _buckets(one.coverage), missed) for one in record.targets for missed in unreached(one.coverage)
        ],
        shard_rows=[_shard_row(shard) for shard in shards],
    )


def _tiles(record: Record) -> list[tuple[str, str]]:
    return [
        (f"{record.cases:,}", "cases"),
        (f"{record.rows:,}", "rows judged"),
        (f"{record.rows_per_second:,.0f}", "rows per second"),
        (percent(record.certified_share), "of rows certified"),
        (_buckets(record.coverage), "buckets reached"),
        (_duration(record.seconds), "of fuzzing"),
    ]


def _reasons(target: TargetRecord) -> list[tuple[str, int]]:
    """(why cases said nothing about a target, cases), the most frequent first."""
    left_out = [(left_out_in_words(target), len(target.left_out))] if target.left_out else []
    return target.reasons + left_out


def _buckets(coverage: Coverage) -> str:
    return f"{num_reached(coverage)} / {num_buckets(coverage)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shard_row(shard: Record) -> tuple[str, ...]:
    return (
        shard.command,
        shard.shard,
        str(shard.seed),
        shard.environment.get("device", shard.device),
        f"{shard.cases:,}",
        f"{shard.rows:,}",
        f"{shard.rows_per_second:,.0f}",
        f"{len(shard.findings):,}",
        f"{shard.seconds:,.1f}",
    )

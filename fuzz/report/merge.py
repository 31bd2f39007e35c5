"""Merging the records of shards into one: counts add up, findings of one signature become one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fuzz.report.buckets import Coverage
from fuzz.report.record import FindingRecord, Record, TargetRecord
from msa_ref.config import require


def merge(records: Sequence[Record]) -> Record:
    """One record of everything that some runs did.

    Shards of one run (same command and seed) count as having run side by side, so their seconds are
    the longest's; those of different runs add up.

    Raises:
        ValueError: one sentence, if there is none, or one shard comes twice.
    """
    require(len(records) > 0, "records", "must hold one", "none")
    shards = Counter((record.command, record.seed, record.shard, record.reproduce) for record in records)
    (_, seed, shard, _), count = shards.most_common(1)[0]
    require(count == 1, "records", f"must hold shard {shard} of seed {seed} once", count)
    first = records[0]
    return replace(
        first,
        command=_joined(record.command for record in records),
        reproduce=" && ".join(dict.fromkeys(record.reproduce for record in records)),
        scale=_joined(record.scale for record in records),
        device=_joined(record.device for record in records),
        shard=first.shard if len(records) == 1 else _joined(record.shard for record in records),
        environment={
            key: _joined(record.environment.get(key, "none") for record in records) for key in first.environment
        },
        cases=sum(record.cases for record in records),
        seconds=_seconds(records),
        coverage=_added(record.coverage for record in records),
        histograms=_added(record.histograms for record in records),
        targets=_targets(target for record in records for target in record.targets),
        findings=_findings(finding for record in records for finding in record.findings),
        still_broken=tuple({one.path: one for record in records for one in record.still_broken}.values()),
        fixed=tuple({fixed.path: fixed for record in records for fixed in record.fixed}.values()),
        aborted="; ".join(f"shard {record.shard}: {record.aborted}" for record in records if record.aborted),
    )


def _joined(words: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(words))


def _seconds(records: Sequence[Record]) -> float:
    longest: dict[tuple[str, int], float] = {}
    for record in records:
        key = (record.command, record.seed)
        longest[key] = max(record.seconds, longest.get(key, 0.0))
    return sum(longest.values())


def _added(tables: Iterable[Coverage]) -> Coverage:
    total: Coverage = {}
    for table in tables:
        for title, counts in table.items():
            row = total.setdefault(title, {})
            for name, count in counts.items():
                row[name] = row.get(name, 0) + count
    return total


def most(tables: Iterable[dict[str, int]]) -> dict[str, int]:
    """Name -> the greatest number that any of some tables has for it."""
    total: dict[str, int] = {}
    for table in tables:
        for name, number in table.items():
            total[name] = max(number, total.get(name, 0))
    return total


def _targets(parts: Iterable[TargetRecord]) -> tuple[TargetRecord, ...]:
    total: dict[str, TargetRecord] = {}
    for part in parts:
        known = total.get(part.name, TargetRecord(part.name, part.sentence, part.profile))
        total[part.name] = replace(
            known,
            undefined=dict(Counter(known.undefined) + Counter(part.undefined)),
            coverage=_added((known.coverage, part.coverage)),
            calls=max(known.calls, part.calls),
            largest=most((known.largest, part.largest)),
            left_out=tuple(dict.fromkeys((*known.left_out, *part.left_out))),
            **{
                name: getattr(known, name) + getattr(part, name)
                for name in ("agreed", "broke", "rows", "certified_rows", "seconds")
            },
        )
    return tuple(total.values())


def _findings(parts: Iterable[FindingRecord]) -> tuple[FindingRecord, ...]:
    """One per signature: the smallest case stays, minimised ones before others."""
    total: dict[tuple[str, str], FindingRecord] = {}
    for part in parts:
        key = (part.target, part.signature)
        known = total.get(key)
        if known is None:
            total[key] = part
            continue
        best = min(known, part, key=lambda one: (not one.is_minimised, one.blocks, one.requests))
        total[key] = replace(best, cases=known.cases + part.cases)
    return tuple(total.values())

"""A record, of one run or of merged ones, as text for a terminal."""

from collections.abc import Iterator

from fuzz.report.record import Record

MOST_SHOWN = 20
"""Findings that are printed; the JSON and the page have all of them."""


def headline(record: Record) -> str:
    """The verdict of a record, as one sentence."""
    if record.findings:
        laws = len({(finding.target, finding.law) for finding in record.findings})
        names = len({finding.target for finding in record.findings})
        return f"{_many(names, 'target')} broke {_many(laws, 'law')}: {_many(len(record.findings), 'finding')}"
    if record.aborted:
        return "aborted without a finding"
    return "all agreed" if record.exit_status == 0 else "some target was judged by no case"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def summary_lines(record: Record) -> Iterator[str]:
    """What ran, what it reached, a verdict per target, findings with commands, environment."""
    yield f"seed {record.seed}, {record.command} at scale {record.scale} on {record.device}, shards {record.shard}"
    for name, value in record.environment.items():
        yield f"  {name}: {value}"
    yield (
        f"ran {record.cases} cases, {record.rows} rows in {record.seconds:.1f} s, {record.rows_per_second:.0f} rows/s; "
        f"{100 * record.certified_share:.1f} % of rows certified"
    )
    reached = sum(count > 0 for buckets in record.coverage.values() for count in buckets.values())
    missed = record.unreached
    words = f"{len(missed)} ({'; '.join(missed)})" if missed else "none"
    yield f"dimension buckets reached: {reached}, not reached: {words}"
    for title, counts in record.histograms.items():
        yield f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.items())
    yield ""
    for target in record.targets:
        undefined = sum(target.undefined.values())
        word = target.verdict if target.verdict == "agreed" else target.verdict.upper()
        yield (
            f"{word:<9} {target.name:<14} {target.agreed} cases agreed, {target.broke} broke, {undefined} undefined; "
            f"{target.rows} rows in {target.seconds:.1f} s"
        )
    for finding in record.findings[:MOST_SHOWN]:
        yield f"  {finding.target}: {finding.evidence}"
        yield f"    in {_many(finding.cases, 'case')}; again: {finding.command}"
    if len(record.findings) > MOST_SHOWN:
        yield f"  and {len(record.findings) - MOST_SHOWN} more findings"
    for fixed in record.fixed:
        yield f"fixed since {fixed.since}: {fixed.target} broke {fixed.law} in {fixed.path}"
    if record.aborted:
        yield f"aborted: {record.aborted}"
    yield headline(record)
    yield f"again: {record.findings[0].command if record.findings else record.reproduce}"

"""A record as text for a terminal: of a gate, of a run, of a night, or of merged shards."""

from collections.abc import Iterator

from fuzz.report.buckets import Coverage, num_buckets, num_reached, unreached
from fuzz.report.reading import reading_lines
from fuzz.report.record import EarlierRecord, Record, TargetRecord

MAX_SHOWN = 12
"""Findings of one target, and reasons of its undefined cases, that are printed; the record and the page have all."""


def headline(record: Record) -> str:
    """The verdict of a record, as one sentence."""
    parts = []
    if record.findings:
        laws = len({(finding.target, finding.law) for finding in record.findings})
        names = len({finding.target for finding in record.findings})
        parts.append(f"{many(names, 'target')} broke {many(laws, 'law')}: {many(len(record.findings), 'finding')}")
    elif record.aborted:
        parts.append("ended early, without a finding")
    for verdict, words in (("undefined", "judged by no case"), ("thin", "thin")):
        lacking = [target for target in record.targets if target.verdict == verdict]
        if lacking and not record.aborted:
            why = "; ".join(f"{target.name}: {lack_in_words(target)}" for target in lacking)
            parts.append(f"{words}: {len(lacking)} of {many(len(record.targets), 'target')} ({why})")
    text = "; ".join(parts) or ("all agreed" if record.targets else "nothing to judge")
    earlier = len(still_broken(record))
    return text + (f"; {many(earlier, 'finding')} of earlier runs still break{'s' * (earlier == 1)}" if earlier else "")


def still_broken(record: Record) -> list[EarlierRecord]:
    """The findings of earlier runs that break as they did, and that this run has not found itself."""
    found = {finding.path for finding in record.findings}
    return [earlier for earlier in record.still_broken if earlier.path not in found]


def lack_in_words(target: TargetRecord) -> str:
    """The reason why a target was judged by no case, or by too few."""
    if not target.num_asked:
        return "it was given no case"
    judged = f"{target.num_judged or 'none'} of {many(target.num_asked, 'case')} judged it"
    bound = f", fewer than {target.min_judged}" if target.num_judged else ""
    reason = f"; most often {target.reasons[0][0]}" if target.reasons else ""
    return f"{judged}{bound}{reason}"


def left_out_in_words(target: TargetRecord) -> str:
    """The kept and production cases that a target was not given."""
    cases = many(len(target.left_out), "kept case")
    return f"outside of its promises, not asked: {cases} ({', '.join(target.left_out)})"


def many(count: int, what: str) -> str:
    """A count and its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """A share, never rounded up to the whole."""
    return f"{min(100 * share, 99.9) if share < 1 else 100:.1f} %"


def stamp_lines(environment: dict[str, str]) -> list[str]:
    """One line per thing that a figure depends on."""
    return [f"  {name}: {value}" for name, value in environment.items()]


def head_lines(record: Record) -> list[str]:
    """The run and its environment, for a report that is read without the run's own first lines."""
    where = f"at scale {record.scale} on {record.device}, shards {record.shard}"
    return [f"seed {record.seed}, {record.command} {where}", *stamp_lines(record.environment)]


def text_lines(record: Record, is_verbose: bool = False) -> Iterator[str]:
    """Coverage, a verdict per target, its findings with the commands that show them again, what to read, the headline.

    is_verbose: also print how many cases reached each bucket.
    """
    yield (
        f"ran {record.cases} cases, {record.rows} rows in {record.seconds:.1f} s, {record.rows_per_second:.0f} rows/s"
    )
    if is_verbose:
        for title, counts in (record.coverage | record.histograms).items():
            yield f"  {title}: " + ", ".join(f"{name} {count}" for name, count in counts.items())
    if _is_whole(record) and len(record.targets) > 1:
        yield f"all targets together {_coverage_line(record.coverage)}"
    if record.rows:
        yield f"rows with exactly one admissible set: {percent(record.certified_share)}"
    yield ""
    for target in record.targets:
        yield from _target_lines(record, target)
    for fixed in record.fixed:
        yield f"agrees now, at {fixed.since}: {fixed.target} broke {fixed.law} in {fixed.path}, which can go"
    for earlier in still_broken(record)[:MAX_SHOWN]:
        yield f"still breaks, found by an earlier run: {earlier.target} breaks {earlier.law} in {earlier.path}"
    if record.aborted:
        yield f"aborted: {record.aborted}"
    if record.command == "smoke":
        yield f"smoke: {record.cases} cases; not a gate"
    yield from reading_lines((finding.law, finding.chapter) for finding in record.findings)
    yield headline(record)
    yield f"again: {record.reproduce}"


def _is_whole(record: Record) -> bool:
    """True if a record says what was tried: neither a smoke test nor a run that ended early."""
    return record.command != "smoke" and not record.aborted


def _coverage_line(coverage: Coverage) -> str:
    missed = "; ".join(unreached(coverage))
    nothing = f", and had no case of these: {missed}" if missed else ""
    return f"had cases of {num_reached(coverage)} of {num_buckets(coverage)} kinds{nothing}"


def _target_lines(record: Record, target: TargetRecord) -> Iterator[str]:
    word = target.verdict if target.verdict == "agreed" else target.verdict.upper()
    cases = f"{target.agreed} cases agreed, {target.broke} broke, {target.num_undefined} undefined"
    share = f"{percent(target.certified_share)} certified, " if target.rows else ""
    yield f"{word:<9} {target.name:<14} {cases}; {target.rows} rows, {share}in {target.seconds:.1f} s"
    if target.verdict == "thin":
        yield f"          thin: {lack_in_words(target)}"
    # Shown for every target: a reader should see how much of a verdict was left open.
    for reason, count in target.reasons[:MAX_SHOWN]:
        yield f"          undefined: {reason}: {many(count, 'case')}"
    if len(target.reasons) > MAX_SHOWN:
        rest = sum(count for _, count in target.reasons[MAX_SHOWN:])
        yield f"          and {many(rest, 'case')} for {len(target.reasons) - MAX_SHOWN} more reasons: see the record"
    if target.left_out:
        yield f"          {left_out_in_words(target)}"
    if target.calls:
        yield f"          asked the same {many(target.calls, 'time')} in a row"
    if target.coverage and target.num_judged and _is_whole(record):
        yield f"          {_coverage_line(target.coverage)}"
    if target.largest and _is_whole(record):
        yield f"          the largest had {', '.join(f'{number:,} {what}' for what, number in target.largest.items())}"
    found = [finding for finding in record.findings if finding.target == target.name]
    for finding in found[:MAX_SHOWN]:
        yield f"    {finding.evidence}"
        if finding.reproduction:
            yield f"      {finding.reproduction}"
        yield f"      in {many(finding.cases, 'case')}; again: {finding.command}"
    if len(found) > MAX_SHOWN:
        yield f"    and {len(found) - MAX_SHOWN} more findings: see the record or the findings' folder"

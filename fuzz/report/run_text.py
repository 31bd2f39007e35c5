"""The report as text."""

from fuzz.campaign.pool import Results
from fuzz.targets import Target

MOST_SHOWN = 12
"""Findings of one target that are printed in full."""


def stamp_lines(environment: dict[str, str]) -> list[str]:
    """One line per thing that a figure depends on."""
    return [f"  {name}: {value}" for name, value in environment.items()]


def text_report(results: Results, targets: list[Target], is_verbose: bool) -> str:
    """What ran, a verdict per target, every finding with the command that shows it again."""
    rows = sum(outcome.rows for outcome in results.outcomes.values())
    rate = rows / results.seconds if results.seconds else 0.0
    lines = [f"ran {results.cases} cases, {rows} rows in {results.seconds:.1f} s, {rate:.0f} rows/s"]
    if is_verbose:
        lines += [f"  {line}" for line in results.coverage.lines()]
    unreached = results.coverage.unreached()
    reached = sum(len(names) for names in results.coverage.universe.values()) - len(unreached)
    lines.append(
        f"dimension buckets reached: {reached}, not reached: "
        + (f"{len(unreached)} ({'; '.join(unreached)})" if unreached else "none")
    )
    share = 100.0 * sum(outcome.certified for outcome in results.outcomes.values()) / rows if rows else 100.0
    lines.append(f"rows with one admissible set: {share:.1f} %")
    lines += [f"fixed since {one.since}: {one.target} broke {one.law} in {one.path}" for one in results.fixed]
    lines.append("")
    for target in targets:
        lines += _verdict(results, target)
    if results.aborted:
        lines.append(f"aborted: {results.aborted}")
    lines.append(_last(results))
    return "\n".join(lines)


def _verdict(results: Results, target: Target) -> list[str]:
    outcome = results.outcomes[target.name]
    undefined = sum(outcome.undefined.values())
    word = "BROKE" if outcome.broke else "agreed" if outcome.agreed else "UNDEFINED"
    lines = [
        f"{word:<9} {target.name:<14} {outcome.agreed} cases agreed, {outcome.broke} broke, {undefined} undefined; "
        f"{outcome.rows} rows in {outcome.seconds:.1f} s"
    ]
    if not outcome.agreed and not outcome.broke:
        lines += [f"          {reason}: {count} cases" for reason, count in outcome.undefined.items()]
    found = results.findings.of(target.name)
    for finding, count in found[:MOST_SHOWN]:
        lines.append(f"    {finding.violation}")
        lines.append(f"      in {count} cases; again: {finding.command}")
    if len(found) > MOST_SHOWN:
        lines.append(f"    and {len(found) - MOST_SHOWN} more signatures: see the record or the findings' folder")
    return lines


def _last(results: Results) -> str:
    status = results.exit_status
    if status == 0:
        return "all agreed"
    if status == 3:
        return "nothing to judge: some target agreed on no case and broke none"
    found = results.findings.all()
    return f"{len(found)} findings, the first again: {found[0].command}" if found else "aborted without a finding"

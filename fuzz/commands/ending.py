"""The end of a gate or a run: shrink what broke, print the report, write the record."""

import time
from dataclasses import replace
from pathlib import Path

from fuzz.campaign.findings import Findings
from fuzz.campaign.pool import Outcome, Results
from fuzz.cases.case import Case
from fuzz.cases.coverage import Coverage
from fuzz.cases.simplify import minimise
from fuzz.commands.options import CampaignOptions
from fuzz.isolation.worker import Worker
from fuzz.report.junit import junit_xml
from fuzz.report.run_text import text_report
from fuzz.targets import Target
from msa_fast import environment


def new_results(options: CampaignOptions, chosen: list[Target]) -> Results:
    """Nothing judged yet."""
    outcomes = {target.name: Outcome() for target in chosen}
    return Results(outcomes, Coverage(options.scale), Findings(options.findings), environment.stamp(options.device))


def shrink_findings(results: Results, options: CampaignOptions) -> None:
    """Minimise the first finding of every target and law, each within so many seconds."""
    first = {(finding.target, finding.law): finding for finding in reversed(results.findings.all())}
    settled: set[tuple[str, str]] = set()
    with Worker(options.hangs_after) as worker:
        for (target, law), finding in reversed(first.items()):
            if (target, law) in settled:
                continue
            deadline = time.perf_counter() + options.shrink_seconds

            def still_breaks(case: Case, target: str = target, law: str = law) -> bool:
                return law in {violation.law for violation in worker.violations(case, target, options.device)}

            case = minimise(finding.case, still_breaks, lambda deadline=deadline: time.perf_counter() > deadline)  # type: ignore[misc]
            found = worker.violations(case, target, options.device)
            if found:
                results.findings.settle(target, case, found, results.environment)
                settled |= {(target, violation.law) for violation in found}


def finish(
    results: Results, chosen: list[Target], command: str, reproduce: str, options: CampaignOptions, shard: str = "0/1"
) -> int:
    """Print the report, write the record where it is wanted, and return the exit status."""
    record = results.record(command, reproduce, options.seed, options.device, chosen)
    record = replace(record, shard=shard)
    print(text_report(results, chosen, options.is_verbose))
    if options.json:
        _write(options.json, record.to_json())
    if options.junit:
        _write(options.junit, junit_xml(record))
    print(f"again: {reproduce}")
    return results.exit_status


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

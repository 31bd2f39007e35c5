"""The two ends of a gate or a run: an empty record, and the report of a full one."""

from collections.abc import Sequence

from fuzz.campaign.results import Results
from fuzz.cases.inside import inside
from fuzz.commands.options import CampaignOptions
from fuzz.report.files import write
from fuzz.report.junit import junit_xml
from fuzz.report.record import Record, TargetRecord
from fuzz.report.text import text_lines
from fuzz.targets import Target
from fuzz.targets.profiles import promises_in_words
from fuzz.targets.stamp import stamp


def new_results(
    command: str, reproduce: str, options: CampaignOptions, targets: Sequence[Target], shard: str = "0/1"
) -> Results:
    """Nothing judged yet."""
    record = Record(
        command=command,
        reproduce=reproduce,
        seed=options.seed,
        scale=options.scale.name,
        device=options.device,
        environment=stamp(options.device, [target.name for target in targets]),
        shard=shard,
        targets=tuple(
            TargetRecord(target.name, target.sentence, promises_in_words(target.profile)) for target in targets
        ),
    )
    scales = {target.name: inside(options.scale, target.domain) for target in targets}
    return Results(record, options.scale, options.findings, scales)


def report(record: Record, options: CampaignOptions) -> int:
    """Print the report, write the files that are asked for. Returns the exit status."""
    print("\n".join(text_lines(record, options.is_verbose)))
    if options.json:
        write(options.json, record.to_json())
    if options.junit:
        write(options.junit, junit_xml(record))
    return record.exit_status

"""`python -m fuzz run`: random cases for some minutes or a number of cases, with shrinking."""

import argparse
import sys
from dataclasses import dataclass

from fuzz.campaign.hypothesis_profile import nightly_profile
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.random_rounds import Budget, RandomRounds
from fuzz.campaign.recheck import look_back
from fuzz.commands.options import CampaignOptions, add_campaign, at_least, campaign_options
from fuzz.commands.reporting import new_results, report
from fuzz.isolation.worker import HarnessError
from fuzz.report.record import Record
from fuzz.report.text import stamp_lines

DEFAULT_RANDOM_CASES = 200
"""Cases of a run that is given neither --minutes nor --cases."""


@dataclass(frozen=True)
class Options:
    """minutes, num_cases: how long; None where the other one says it. shard: (i, n), the part of the run to do."""

    campaign: CampaignOptions
    minutes: float | None
    num_cases: int | None
    shard: tuple[int, int]

    @property
    def budget(self) -> str:
        """How long, in words."""
        return f"{self.num_cases} cases" if self.num_cases is not None else f"{self.minutes:g} minutes"

    @property
    def shard_in_words(self) -> str:
        """The shard as a user writes it."""
        return f"{self.shard[0]}/{self.shard[1]}"

    @property
    def reproduce(self) -> str:
        """The command that draws the same cases again."""
        cases, minutes = ("--cases", str(self.num_cases)), ("--minutes", f"{self.minutes or 0.0:g}")
        length = cases if self.num_cases is not None else minutes
        return self.campaign.command_line("run", length, "--shard", self.shard_in_words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seed", type=int, help="of everything drawn (default: a fresh one, which is printed)")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument(
        "--cases", type=int, help=f"how many cases (default {DEFAULT_RANDOM_CASES}, if --minutes is not given either)"
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="the part of the run to do (default all of it)")
    add_campaign(parser, shrink_seconds=60.0)


def parse(parsed: argparse.Namespace) -> Options:
    """The options, checked."""
    at_least("--minutes", parsed.minutes or 0, 0)
    at_least("--cases", parsed.cases or 0, 0)
    is_open = parsed.cases is None and parsed.minutes is None
    num_cases = DEFAULT_RANDOM_CASES if is_open else parsed.cases
    return Options(campaign_options(parsed), parsed.minutes, num_cases, shard_of(parsed.shard))


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`.

    Raises:
        ValueError: one sentence, if the text is no such pair.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ValueError(f"--shard must be i/n with 0 <= i < n; got {text}")
    return int(number), int(count)


def run(options: Options) -> int:
    """Fuzz targets at random. Returns the exit status."""
    campaign, device = options.campaign, options.campaign.device
    chosen = campaign.targets()
    results = new_results("run", options.reproduce, campaign, chosen, options.shard_in_words)
    record = results.record
    where = f"at scale {campaign.scale.name}, shard {options.shard_in_words}, on {device}"
    print(f"seed {campaign.seed}, {options.budget} {where}")
    print("\n".join(stamp_lines(record.environment)), flush=True)

    seconds = None if options.minutes is None else 60.0 * options.minutes
    budget = Budget(seconds, options.num_cases, campaign.shrink_seconds)
    names = tuple(target.name for target in chosen)
    profile = nightly_profile(campaign.findings.parent / "examples")
    with Pool(1, campaign.hangs_after) as pool:
        look_back(results, campaign.findings, device, pool)
        with ended_politely() as ending, pool.worker() as worker:
            rounds = RandomRounds(
                results, worker, names, device, budget, campaign.is_diagnosed, lambda: ending.is_asked
            )
            try:
                rounds.run(campaign.seed, campaign.scale, options.shard, profile, lambda number: _tell(number, record))
            except HarnessError as error:
                record.aborted = f"the harness failed on case number {record.cases}: {error}"
            except KeyboardInterrupt:
                record.aborted = f"interrupted after {record.cases} cases of {options.budget}"
    return report(record, campaign)


def _tell(number: int, record: Record) -> None:
    """Print how far the run is, beside the report."""
    text = f"{record.cases} cases, {record.rows} rows, {len(record.findings)} findings in {record.seconds:.0f} s"
    print(f"round {number}: {text}", file=sys.stderr, flush=True)

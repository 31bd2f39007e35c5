"""`python -m fuzz run`: random cases for some minutes or a number of cases, with shrinking."""

import sys
from dataclasses import dataclass

from fuzz.campaign.hypothesis_profile import nightly_profile
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.random_rounds import Budget, RandomRounds
from fuzz.campaign.recheck import look_back
from fuzz.campaign.tried_again import try_again
from fuzz.commands.declared import option
from fuzz.commands.options import CampaignOptions, at_least, seed_or_fresh
from fuzz.commands.reporting import new_results, report
from fuzz.isolation.worker import HarnessError
from fuzz.report.record import Record
from fuzz.report.text import stamp_lines

DEFAULT_RANDOM_CASES = 200
"""Cases of a run that is given neither --minutes nor --cases."""


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`.

    Raises:
        ValueError: one sentence, if the text is no such pair.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ValueError(f"--shard must be i/n with 0 <= i < n; got {text}")
    return int(number), int(count)


@dataclass(frozen=True, kw_only=True)
class Options(CampaignOptions):
    """The length of a run, its shard as (i, n), and the options of a campaign."""

    seed: int = option("seed of all draws (default: a fresh one, which is printed)", None, settle=seed_or_fresh)
    minutes: float | None = option("minutes to run", None)
    cases: int | None = option(
        f"how many cases (default {DEFAULT_RANDOM_CASES}, if --minutes is not given either)", None
    )
    shard: tuple[int, int] = option(
        "the part of the run to do (default all of it)", "0/1", settle=shard_of, type=str, metavar="I/N"
    )
    shrink_seconds: float = option("seconds to shrink each finding (default %(default)g)", 60.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("--minutes", self.minutes or 0, 0)
        at_least("--cases", self.cases or 0, 0)

    @property
    def num_cases(self) -> int | None:
        """Cases to judge; None if only the minutes limit the run."""
        return DEFAULT_RANDOM_CASES if self.cases is None and self.minutes is None else self.cases

    @property
    def budget(self) -> str:
        """The length of the run in words."""
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
        return self.command_line("run", length, "--shard", self.shard_in_words)


def run(options: Options) -> int:
    """Fuzz targets at random. Returns the exit status."""
    device = options.device
    chosen = options.targets()
    results = new_results("run", options.reproduce, options, chosen, options.shard_in_words)
    record = results.record
    where = f"at scale {options.scale.name}, shard {options.shard_in_words}, on {device}"
    print(f"seed {options.seed}, {options.budget} {where}")
    print("\n".join(stamp_lines(record.environment)), flush=True)

    seconds = None if options.minutes is None else 60.0 * options.minutes
    budget = Budget(seconds, options.num_cases, options.shrink_seconds)
    profile = nightly_profile(options.findings.parent / "examples")
    with ended_politely() as ending, Pool(1, options.hangs_after) as pool:
        look_back(results, options.findings, device, pool)
        with pool.worker() as worker:
            rounds = RandomRounds(
                results,
                worker,
                chosen,
                device,
                budget,
                options.is_diagnosed,
                lambda: ending.is_asked,
                options.is_first_only,
            )
            try:
                if not record.aborted:
                    rounds.run(
                        options.seed, options.scale, options.shard, profile, lambda number: _tell(number, record)
                    )
                if options.is_first_only and record.findings:
                    record.aborted = f"stopped at the first finding, after {record.cases} cases"
            except HarnessError as error:
                record.aborted = f"the harness failed on case number {record.cases}: {error}"
            except KeyboardInterrupt:
                done = f"{record.cases} cases" if options.num_cases is None else str(record.cases)
                record.aborted = f"ended after {done} of {options.budget}"
        if options.is_first_only or not record.aborted:
            try_again(results, device, options.hangs_after)
        return report(record, options)  # before the pool's children are waited for


def _tell(number: int, record: Record) -> None:
    """Print how far the run is, beside the report."""
    text = f"{record.cases} cases, {record.rows} rows, {len(record.findings)} findings in {record.seconds:.0f} s"
    print(f"round {number}: {text}", file=sys.stderr, flush=True)

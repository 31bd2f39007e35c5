"""`python -m fuzz run`: random cases for so many minutes or so many cases, with shrinking."""

import argparse
import os

from fuzz.campaign.judging import (
    at_least,
    choose,
    command_line,
    ended_politely,
    finish,
    look_back,
    new_results,
    say,
    scale_of,
)
from fuzz.campaign.random_rounds import Hunt, Limits, nightly_profile
from fuzz.isolation.worker import HarnessError, Worker
from fuzz.report.run_text import stamp_lines

DEFAULT_CASES = 200
"""Where neither --minutes nor --cases says how long."""


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`.

    Raises:
        ValueError: one sentence, if it is no such thing.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ValueError(f"--shard must be i/n with 0 <= i < n; got {text}")
    return int(number), int(count)


def run(options: argparse.Namespace, device: str) -> int:
    """Fuzz targets at random. Returns the exit status."""
    for name in ("minutes", "cases"):
        if getattr(options, name) is not None:
            at_least(f"--{name}", getattr(options, name), 0)
    at_least("--hangs-after", options.hangs_after, 1)
    shard = shard_of(options.shard)
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4))
    cases = DEFAULT_CASES if options.cases is None and options.minutes is None else options.cases
    scale, chosen = scale_of(options, device), choose(options, device)
    results = new_results(options, chosen, scale, device)
    budget = f"{cases} cases" if cases is not None else f"{options.minutes:g} minutes"
    print(f"seed {options.seed}, {budget} at scale {scale.name}, shard {options.shard}, on {device}")
    print("\n".join(stamp_lines(results.environment)), flush=True)

    look_back(results, options.findings, device, options.hangs_after)
    seconds = None if options.minutes is None else 60.0 * options.minutes
    limits = Limits(seconds, cases, options.shrink_seconds)
    names = tuple(target.name for target in chosen)

    def tell(number: int) -> None:
        rows = sum(outcome.rows for outcome in results.outcomes.values())
        found = len(results.findings.all())
        say(f"round {number}: {results.cases} cases, {rows} rows, {found} findings in {results.seconds:.0f} s")

    with ended_politely() as ending, Worker(options.hangs_after) as worker:
        hunt = Hunt(results, worker, names, device, limits, options.diagnose, lambda: ending.is_asked)
        try:
            hunt.rounds(options.seed, scale, shard, nightly_profile(options.findings.parent / "examples"), tell)
        except HarnessError as error:
            results.aborted = f"the harness failed on case number {results.cases}: {error}"
        except KeyboardInterrupt:
            results.aborted = f"interrupted after {results.cases} cases of {budget}"
    length = ["--cases", str(cases)] if cases is not None else ["--minutes", f"{options.minutes:g}"]
    words = [*length, "--scale", scale.name, "--device", device, "--shard", options.shard]
    return finish(results, chosen, "run", command_line("run", options, *words), options, device)

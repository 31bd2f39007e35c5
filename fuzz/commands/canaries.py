"""`python -m fuzz canaries`: judge the suite by the defects planted in it, and keep the score."""

import argparse
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from fuzz.campaign.interrupts import ended_politely
from fuzz.canaries import Defect
from fuzz.cases.chooser import SeededChooser
from fuzz.commands.device import add_device, settle
from fuzz.commands.options import (
    DEFAULT_CASES,
    DEFAULT_CASES_IN_WORDS,
    DEFAULT_SEED,
    add_switch,
    at_least,
    default_jobs,
)
from fuzz.report.text import stamp_lines
from fuzz.scoring.published import PUBLISHED, published_text, read_published
from fuzz.scoring.score_page import score_page
from fuzz.scoring.scoreboard import SCHEMA, Fate, Score, text_lines
from fuzz.scoring.tier import Tier
from fuzz.scoring.trial import Patience
from fuzz.scoring.trials import fates, planted
from msa_fast import environment

HANGS_AFTER = {"cuda": 60.0, "cpu": 90.0}
"""Seconds that a defect has for one case, by device."""


@dataclass(frozen=True)
class Options:
    """What to judge, and how.

    only, kinds, sample: which planted defects. json: the file for the whole score, with cases and evidence.
    publish: the published score, which gets the fates. into: the file for its page.
    """

    tier: Tier
    patience: Patience
    with_equivalents: bool
    jobs: int
    only: tuple[str, ...]
    kinds: tuple[str, ...]
    sample: int | None
    json: Path | None
    publish: Path | None
    is_resumed: bool
    is_markdown: bool
    into: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_device(parser)
    parser.add_argument("--tier", choices=("gate", "fuzz"), default="gate", help="the gate's cases, or random ones")
    parser.add_argument("--seconds", type=float, default=60.0, help="of random cases a defect (default %(default)g)")
    parser.add_argument(
        "--processes", type=int, help="worker processes; a defect gets the sum of their time (default: as `run`)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="names; may be repeated")
    parser.add_argument(
        "--kind", action="append", default=[], choices=("canary", "process", "mutant"), help="may be repeated"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="judge N defects, sampled by the seed")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything drawn (default %(default)s)")
    parser.add_argument("--cases", type=int, help=f"the gate's lattice cases ({DEFAULT_CASES_IN_WORDS})")
    add_switch(parser, "--corpus", "kept cases too")
    add_switch(parser, "--production", "shapes of traffic too")
    parser.add_argument("--equivalents", action="store_true", help="also judge those proved equivalent; slow")
    parser.add_argument("--first-kill", action="store_true", help="do not wait for a law that names the defect")
    parser.add_argument("--give-up-after", type=float, default=0.0, help="seconds of the gate's cases a defect has")
    parser.add_argument("--hangs-after", type=float, help="seconds a defect has for one case")
    parser.add_argument("--shrink-seconds", type=float, default=0.0, help="to make each killing case smaller")
    parser.add_argument("--jobs", type=int, help="defects judged at once (default one per core)")
    parser.add_argument("--json", type=Path, help="file to keep the score in, with cases and evidence")
    parser.add_argument(
        "--publish",
        type=Path,
        nargs="?",
        const=PUBLISHED,
        metavar="FILE",
        help="also put the fates into the published score (or into FILE of its kind)",
    )
    parser.add_argument("--resume", action="store_true", help="keep what the files have of this tier, judge the rest")
    parser.add_argument("--markdown", action="store_true", help="only print the page of the published score")
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="write that page into a file")


def parse(parsed: argparse.Namespace) -> Options:
    """The options, checked."""
    device = settle(parsed.device)
    num_cases = DEFAULT_CASES[device] if parsed.cases is None else parsed.cases
    jobs = (os.cpu_count() or 1) if parsed.jobs is None else parsed.jobs
    processes = default_jobs(device) if parsed.processes is None else parsed.processes
    hangs_after = HANGS_AFTER[device] if parsed.hangs_after is None else parsed.hangs_after
    for name, value, bound in (
        ("--cases", num_cases, 0),
        ("--jobs", jobs, 1),
        ("--seconds", parsed.seconds, 1),
        ("--processes", processes, 1),
        ("--hangs-after", hangs_after, 1),
        ("--give-up-after", parsed.give_up_after, 0),
        ("--sample", 1 if parsed.sample is None else parsed.sample, 1),
    ):
        at_least(name, value, bound)
    scale = "large" if device == "cuda" else "small"
    tier = Tier(device, parsed.seed, scale, num_cases, parsed.corpus, parsed.production)
    if parsed.tier == "fuzz":
        tier = replace(tier, seconds=parsed.seconds, processes=processes)
    return Options(
        tier=tier,
        patience=Patience(hangs_after, parsed.give_up_after, parsed.first_kill, parsed.shrink_seconds),
        with_equivalents=parsed.equivalents,
        jobs=jobs,
        only=tuple(parsed.only),
        kinds=tuple(parsed.kind),
        sample=parsed.sample,
        json=parsed.json,
        publish=parsed.publish,
        is_resumed=parsed.resume,
        is_markdown=parsed.markdown,
        into=parsed.into,
    )


def run(options: Options) -> int:
    """Score the suite, or print the page of the published score. Returns the exit status."""
    return show_markdown(options) if options.is_markdown else canaries(options)


def show_markdown(options: Options) -> int:
    """Print the page of the published score, or write it into a file where one is named."""
    page = score_page(read_published(options.publish or PUBLISHED, planted()))
    if options.into:
        options.into.write_text(page)
    else:
        print(page, end="")
    return 0


def canaries(options: Options) -> int:
    """Judge planted defects, all or some, afresh or from where an earlier scoring ended. Returns the exit status."""
    tier, device = options.tier, options.tier.device
    table = _chosen(options)
    stamp = environment.stamp(device)
    run = {name: str(value) for name, value in asdict(tier).items()}
    score = Score.read(options.json) if options.json else Score(SCHEMA, {})
    published = read_published(options.publish, planted()) if options.publish else Score(SCHEMA, {})
    _require_whole(published, tier.name, run, is_whole=len(table) == len(planted()))
    known = _known(published, tier.name, run) | _known(score, tier.name, run)
    before = {name: fate for name, fate in known.items() if fate.status in ("killed", "survived", "equivalent")}
    rest = [one for one in table if not options.is_resumed or one.name not in before]
    print(f"seed {tier.seed}, {tier.name} at scale {tier.scale} against {len(table)} planted defects, on {device}")
    print("\n".join(stamp_lines(stamp)))
    print(f"{len(table) - len(rest)} were judged before, {len(rest)} are left", flush=True)
    line = tqdm(total=len(rest), unit=" defects", leave=False, disable=None)
    done = {name: fate for name, fate in before.items() if name not in {one.name for one in rest}}

    def keep(fate: Fate) -> None:
        done[fate.name] = replace(fate, commit=stamp["commit"])
        line.set_postfix_str(f"{sum(one.is_bad for one in done.values())} to look at", refresh=False)
        line.update()
        latest = known | done  # defects that are not judged now keep their fates
        kept = [latest[one.name] for one in planted() if one.name in latest]
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(score.with_fates(tier.name, run, stamp, kept).to_json())
        if options.publish:
            options.publish.write_text(published_text(published.with_fates(tier.name, run, stamp, kept)))

    is_interrupted = False
    with ended_politely():
        try:
            fates(rest, tier, options.patience, options.jobs, keep, options.with_equivalents)
        except KeyboardInterrupt:
            is_interrupted = True
    line.close()
    reported = [done[one.name] for one in table if one.name in done]
    print("\n".join(text_lines(reported, {one.name: one.sentence for one in table})))
    if is_interrupted:
        print(f"interrupted after {len(reported)} of {len(table)} defects: --resume goes on")
    return 1 if is_interrupted or any(fate.is_bad for fate in reported) else 0


def _chosen(options: Options) -> list[Defect]:
    """The planted defects that --only, --kind and --sample leave."""
    table = [one for one in planted(options.only) if not options.kinds or one.kind in options.kinds]
    if options.sample is not None:
        chooser, rest, taken = SeededChooser(options.tier.seed, "sample"), list(table), set[str]()
        while rest and len(taken) < options.sample:
            taken.add(rest.pop(chooser.integer(0, len(rest) - 1)).name)
        table = [one for one in table if one.name in taken]
    return table


def _require_whole(published: Score, tier: str, run: dict[str, str], is_whole: bool) -> None:
    """Refuse to publish some defects with other settings than the tier's: the others' fates would be lost.

    Raises:
        ValueError: one sentence.
    """
    old = published.tiers[tier].run if tier in published.tiers else run
    other = ", ".join(f"{key} {run.get(key)} instead of {old.get(key)}" for key in run if run[key] != old.get(key))
    if other and not is_whole:
        raise ValueError(f"--publish must be with the {tier}'s published settings, or of all defects; got {other}")


def _known(score: Score, tier: str, run: dict[str, str]) -> dict[str, Fate]:
    """The fates in a score of the same tier with the same cases, of defects that are still planted."""
    if tier not in score.tiers or score.tiers[tier].run != run:
        return {}
    now = {one.name: bool(one.equivalent) for one in planted()}
    return {fate.name: fate for fate in score.tiers[tier].fates if now.get(fate.name) == fate.is_equivalent}

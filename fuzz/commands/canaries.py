"""`python -m fuzz canaries`: judge the suite by the defects planted in it, and keep the score."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from fuzz.campaign.interrupts import ended_politely
from fuzz.canaries import Defect
from fuzz.cases.chooser import SeededChooser
from fuzz.commands.declared import option
from fuzz.commands.device import device_option
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_CASES_IN_WORDS, DEFAULT_SEED, at_least, jobs_or_cores
from fuzz.commands.places import file_option
from fuzz.isolation.jobs import default_jobs
from fuzz.report.files import write
from fuzz.report.text import stamp_lines
from fuzz.scoring.published import PUBLISHED, published_text, read_published
from fuzz.scoring.score_page import score_page
from fuzz.scoring.scoreboard import SCHEMA, Fate, Score, text_lines
from fuzz.scoring.tier import TWIN_FOLDERS, Tier
from fuzz.scoring.trial import Patience
from fuzz.scoring.trials import fates, planted
from fuzz.targets.profiles import read_profile
from fuzz.targets.stamp import stamp
from msa_fast.ops.checks import check_interpreter

HANGS_AFTER = {"cuda": 60.0, "cpu": 90.0}
"""Seconds that a defect has for one case, by device."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The planted defects to judge, the way to judge them, and the files for their fates."""

    device: str = device_option()
    tier_name: str = option(
        "the gate's cases, random ones, or those of the twin", "gate", "--tier", choices=("gate", "fuzz", "twin")
    )
    architecture: str = option(
        "GPU that the twin stands in for (default %(default)s)", "sm_90", "--arch", choices=tuple(TWIN_FOLDERS)
    )
    seconds: float = option("seconds of random cases per defect (default %(default)g)", 60.0)
    processes: int | None = option("worker processes; a defect gets the sum of their time (default: as `run`)", None)
    only: tuple[str, ...] = option("names of defects; may be repeated", (), metavar="PATTERN")
    kinds: tuple[str, ...] = option("may be repeated", (), "--kind", choices=("canary", "process", "mutant"))
    profile: Path | None = option(
        "promises to hold canaries to: only those that can show inside of them are judged, on cases drawn inside",
        None,
        metavar="FILE",
    )
    sample: int | None = option("judge N defects, sampled by the seed", None, metavar="N")
    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    cases: int | None = option(f"the gate's lattice cases ({DEFAULT_CASES_IN_WORDS})", None)
    has_corpus: bool = option("judge kept cases too", True, "--corpus")
    has_production: bool = option("judge production shapes too", True, "--production")
    with_equivalents: bool = option("also judge defects that are proved equivalent; slow", False, "--equivalents")
    first_kill: bool = option("do not wait for a law that names the defect", False)
    give_up_after: float = option("seconds of the gate's cases per defect (default: no limit)", 0.0)
    hangs_after: float | None = option("seconds that a defect has for one case", None)
    shrink_seconds: float = option("seconds to shrink each killing case (default 0)", 0.0)
    jobs: int | None = option("defects judged at once (default one per core)", None)
    json: Path | None = file_option("file to keep the score in, with cases and evidence")
    publish: Path | None = file_option(
        "also put the fates into the published score (or into FILE of its kind)",
        nargs="?",
        const=PUBLISHED,
        metavar="FILE",
    )
    is_resumed: bool = option("judge what this tier's fates in the files do not call killed", False, "--resume")
    is_markdown: bool = option("only print the page of the published score", False, "--markdown")
    into: Path | None = file_option("write that page into a file", metavar="FILE.md")

    def __post_init__(self) -> None:
        for name, value, bound in (
            ("--cases", self.tier.cases, 0),
            ("--jobs", self.num_jobs, 1),
            ("--seconds", self.seconds, 1),
            ("--processes", 1 if self.processes is None else self.processes, 1),
            ("--hangs-after", self.patience.hangs_after, 1),
            ("--give-up-after", self.give_up_after, 0),
            ("--sample", 1 if self.sample is None else self.sample, 1),
        ):
            at_least(name, value, bound)

    @cached_property
    def tier(self) -> Tier:
        """The cases that judge each defect."""
        num_cases = DEFAULT_CASES[self.device] if self.cases is None else self.cases
        scale = "large" if self.device == "cuda" else "small"
        tier = Tier(self.device, self.seed, scale, num_cases, self.has_corpus, self.has_production)
        if self.profile is not None:
            tier = replace(tier, profile=str(self.profile))
        if self.tier_name == "gate":
            return tier
        if self.tier_name == "twin":
            return tier.on_twin(f"twin-{self.architecture}+source")
        processes = default_jobs(self.device) if self.processes is None else self.processes
        return replace(tier, seconds=self.seconds, processes=processes)

    @property
    def patience(self) -> Patience:
        """The time that each defect has."""
        hangs_after = HANGS_AFTER[self.device] if self.hangs_after is None else self.hangs_after
        is_first_enough = self.first_kill or bool(self.tier.twin)  # a race is told before the answer is looked at
        return Patience(hangs_after, self.give_up_after, is_first_enough, self.shrink_seconds)

    @property
    def num_jobs(self) -> int:
        """Defects judged at once."""
        return jobs_or_cores(self.jobs)


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
    if device == "cpu" and not tier.twin and any(one.target.is_kernel for one in table):
        check_interpreter()
    where = stamp(device, [f"{tier.twin}/"] if tier.twin else [])
    run = tier.settings
    score = Score.read(options.json) if options.json else Score(SCHEMA, {})
    published = read_published(options.publish, planted()) if options.publish else Score(SCHEMA, {})
    _require_whole(published, tier.name, run, is_whole=len(table) == len([*filter(tier.judges, planted())]))
    known = _known(published, tier.name, run) | _known(score, tier.name, run)
    # What survived is asked again: kept and drawn cases have become more since.
    before = {name: fate for name, fate in known.items() if fate.status in ("killed", "equivalent")}
    rest = [one for one in table if not options.is_resumed or one.name not in before]
    print(f"seed {tier.seed}, {tier.name} at scale {tier.scale} against {len(table)} planted defects, on {device}")
    print("\n".join(stamp_lines(where)))
    print(f"{len(table) - len(rest)} were judged before, {len(rest)} are left", flush=True)
    line = tqdm(total=len(rest), unit=" defects", leave=False, disable=None)
    done = {name: fate for name, fate in before.items() if name not in {one.name for one in rest}}

    def keep(fate: Fate) -> None:
        done[fate.name] = replace(fate, commit=where["commit"])
        line.set_postfix_str(f"{sum(one.is_bad for one in done.values())} to look at", refresh=False)
        line.update()
        write_all()

    def write_all() -> None:
        latest = known | done  # defects that are not judged now keep their fates
        kept = [latest[one.name] for one in planted() if one.name in latest]
        if options.json:
            write(options.json, score.with_fates(tier.name, run, where, kept).to_json())
        if options.publish:
            options.publish.write_text(published_text(published.with_fates(tier.name, run, where, kept)))

    is_interrupted = False
    with ended_politely():
        try:
            fates(rest, tier, options.patience, options.num_jobs, keep, options.with_equivalents)
        except KeyboardInterrupt:
            is_interrupted = True
    line.close()
    if not rest:
        write_all()  # what an earlier scoring kept may not be published yet
    reported = [done[one.name] for one in table if one.name in done]
    print("\n".join(text_lines(reported, {one.name: one.sentence for one in table})))
    if is_interrupted:
        print(f"interrupted after {len(reported)} of {len(table)} defects: --resume goes on")
    return 1 if is_interrupted or any(fate.is_bad for fate in reported) else 0


def _chosen(options: Options) -> list[Defect]:
    """The planted defects that --only, --kind and --sample leave."""
    planted_here = filter(options.tier.judges, planted(options.only))
    table = [one for one in planted_here if not options.kinds or one.kind in options.kinds]
    if options.profile is not None:
        profile = read_profile(options.profile)
        table = [one for one in table if one.kind == "canary" and one.shows_in(profile)]
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

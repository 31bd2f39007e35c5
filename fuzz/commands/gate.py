"""`python -m fuzz gate`: seeded cases, the corpus and production shapes, the same on every run.

`--smoke` judges a handful of cases instead, in seconds, for the developer who has just saved a file.
"""

import argparse
from dataclasses import dataclass

from fuzz import corpus
from fuzz.campaign.fixed_list import judge_all
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.recheck import look_back
from fuzz.campaign.shrink import shrink_findings
from fuzz.cases import generate
from fuzz.cases.production import production_cases
from fuzz.cases.smoke import smoke_cases
from fuzz.commands.options import (
    DEFAULT_CASES,
    DEFAULT_CASES_IN_WORDS,
    DEFAULT_SEED,
    CampaignOptions,
    add_campaign,
    add_switch,
    at_least,
    campaign_options,
    default_jobs,
)
from fuzz.commands.reporting import new_results, report
from fuzz.isolation.messages import Task
from fuzz.report.text import stamp_lines
from fuzz.targets import Target


@dataclass(frozen=True)
class Options:
    """The cases of a gate.

    num_cases: lattice cases. has_corpus, has_production: whether these are judged, too.
    is_smoke: judge the smoke cases in the place of all others. jobs: child processes.
    """

    campaign: CampaignOptions
    num_cases: int
    has_corpus: bool
    has_production: bool
    is_smoke: bool
    jobs: int

    @property
    def reproduce(self) -> str:
        """The command that judges the same cases again."""
        if self.is_smoke:
            return self.campaign.command_line("gate", ("--smoke",))
        switches = [("--no-corpus", self.has_corpus), ("--no-production", self.has_production)]
        words = [word for word, is_on in switches if not is_on]
        return self.campaign.command_line("gate", ("--cases", str(self.num_cases)), *words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything drawn (default %(default)s)")
    parser.add_argument("--cases", type=int, help=f"lattice cases ({DEFAULT_CASES_IN_WORDS})")
    add_switch(parser, "--corpus", "kept cases too")
    add_switch(parser, "--production", "production shapes too")
    parser.add_argument("--smoke", action="store_true", help="judge a handful of cases alone, in seconds: not a gate")
    parser.add_argument("--jobs", type=int, help="child processes (default up to 8 on a GPU, else one per core)")
    add_campaign(parser, shrink_seconds=0.0)


def parse(parsed: argparse.Namespace) -> Options:
    """The options, checked."""
    campaign = campaign_options(parsed)
    num_cases = DEFAULT_CASES[campaign.device] if parsed.cases is None else parsed.cases
    jobs = default_jobs(campaign.device) if parsed.jobs is None else parsed.jobs
    at_least("--cases", num_cases, 0)
    at_least("--jobs", jobs, 1)
    if parsed.smoke and parsed.cases is not None:
        raise ValueError(f"--smoke must come without --cases, as it has cases of its own; got --cases {parsed.cases}")
    return Options(campaign, num_cases, parsed.corpus, parsed.production, parsed.smoke, jobs)


def run(options: Options) -> int:
    """Judge targets on a fixed list of cases. Returns the exit status."""
    campaign, device = options.campaign, options.campaign.device
    chosen = campaign.targets()
    results = new_results("smoke" if options.is_smoke else "gate", options.reproduce, campaign, chosen)
    size = f"smoke: {len(smoke_cases(campaign.seed))} cases" if options.is_smoke else f"{options.num_cases} cases"
    print(f"seed {campaign.seed}, {size} at scale {campaign.scale.name}, on {device}")
    print("\n".join(stamp_lines(results.record.environment)), flush=True)

    tasks = _smoke_tasks(options, chosen) if options.is_smoke else _tasks(options, chosen)
    with Pool(options.jobs, campaign.hangs_after) as pool:
        if not options.is_smoke:
            look_back(results, campaign.findings, device, pool)
        with ended_politely():
            judge_all(tasks, len(tasks), results, pool, campaign.is_diagnosed)
        if campaign.shrink_seconds > 0:
            with pool.worker() as worker:
                shrink_findings(results, worker, device, campaign.shrink_seconds)
    return report(results.record, campaign)


def _smoke_tasks(options: Options, chosen: list[Target]) -> list[Task]:
    """The smoke cases on every target."""
    campaign, names = options.campaign, tuple(target.name for target in chosen)
    return [Task(case, names, campaign.device) for case in smoke_cases(campaign.seed)]


def _tasks(options: Options, chosen: list[Target]) -> list[Task]:
    """All tasks, the kept cases first: a gate that is cut short has judged what broke something before."""
    campaign, device = options.campaign, options.campaign.device
    names = tuple(target.name for target in chosen)
    tasks = _corpus_tasks(names, device) if options.has_corpus else []
    if options.has_production:
        tasks += _production_tasks(chosen, device, campaign.seed)
    seeded = generate.gate_cases(campaign.seed, options.num_cases, campaign.scale)
    return tasks + [Task(case, names, device) for case in seeded]


def _corpus_tasks(names: tuple[str, ...], device: str) -> list[Task]:
    """Every kept case on every target; far pages only where there is memory for them."""
    kept = [entry.case for entry in corpus.entries().values()]
    return [Task(case, names, device) for case in kept if device != "cpu" or not case.pages.is_far]


def _production_tasks(chosen: list[Target], device: str, seed: int) -> list[Task]:
    """Production shapes, each on the targets of its kind and on foreign ones."""
    return [
        Task(case, tuple(target.name for target in chosen if target.kind in (kind, "foreign")), device)
        for case, kind in production_cases(device == "cuda", seed)
    ]

"""`python -m fuzz gate`: seeded cases, the corpus and production shapes, the same on every run.

`--smoke` judges a handful of cases instead, in seconds, for the developer who has just saved a file.
"""

from dataclasses import dataclass

from fuzz.campaign.fixed_list import judge_all
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.recheck import MAX_RECHECKED, look_back
from fuzz.campaign.results import Results
from fuzz.campaign.schedule import in_turn
from fuzz.campaign.shrink import shrink_findings
from fuzz.campaign.tried_again import try_again
from fuzz.cases.smoke import smoke_cases
from fuzz.commands.declared import option
from fuzz.commands.gate_tasks import GateTasks
from fuzz.commands.options import (
    DEFAULT_CASES,
    DEFAULT_CASES_IN_WORDS,
    DEFAULT_SEED,
    CampaignOptions,
    at_least,
)
from fuzz.commands.reporting import new_results, report
from fuzz.isolation.jobs import default_jobs
from fuzz.isolation.messages import Task
from fuzz.report.text import stamp_lines
from fuzz.targets import Target

SMOKE_RECHECKED = 4
"""Bound on the earlier findings that a smoke test judges again, which takes seconds."""
MAX_CASES = 100_000
"""Bound on a gate's drawn cases, which are all drawn before the first is judged."""


@dataclass(frozen=True, kw_only=True)
class Options(CampaignOptions):
    """The cases of a gate, and all that a campaign has."""

    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    cases: int | None = option(f"drawn cases for each target ({DEFAULT_CASES_IN_WORDS})", None)
    has_corpus: bool = option("judge kept cases too", True, "--corpus")
    has_production: bool = option("judge production shapes too", True, "--production")
    is_smoke: bool = option("judge a handful of cases alone, in seconds: not a gate", False, "--smoke")
    jobs: int | None = option("child processes (default one per core; on a GPU as many as its memory holds)", None)
    shrink_seconds: float = option("seconds to shrink each finding (default %(default)g)", 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("--cases", self.num_cases, 0)
        if self.num_cases > MAX_CASES:
            raise ValueError(f"--cases must be <= {MAX_CASES:,} in a gate; got {self.num_cases:,}: `run` has no bound")
        at_least("--jobs", self.num_jobs, 1)
        if self.is_smoke and self.cases is not None:
            raise ValueError(f"--smoke must come without --cases, as it has cases of its own; got --cases {self.cases}")

    @property
    def num_cases(self) -> int:
        """Lattice cases."""
        return DEFAULT_CASES[self.device] if self.cases is None else self.cases

    @property
    def num_jobs(self) -> int:
        """Child processes."""
        return default_jobs(self.device) if self.jobs is None else self.jobs

    @property
    def reproduce(self) -> str:
        """The command that judges the same cases again."""
        if self.is_smoke:
            return self.command_line("gate", ("--smoke",))
        switches = [("--no-corpus", self.has_corpus), ("--no-production", self.has_production)]
        words = [word for word, is_on in switches if not is_on]
        return self.command_line("gate", ("--cases", str(self.num_cases)), *words)


def run(options: Options) -> int:
    """Judge targets on a fixed list of cases. Returns the exit status."""
    device = options.device
    chosen = options.targets()
    results = new_results("smoke" if options.is_smoke else "gate", options.reproduce, options, chosen)
    size = f"smoke: {len(smoke_cases(options.seed))} cases" if options.is_smoke else f"{options.num_cases} cases"
    print(f"seed {options.seed}, {size} at scale {options.scale.name}, on {device}")
    print("\n".join(stamp_lines(results.record.environment)), flush=True)

    tasks = _tasks(options, chosen, results)
    with ended_politely(), Pool(options.num_jobs, options.hangs_after) as pool:
        look_back(results, options.findings, device, pool, SMOKE_RECHECKED if options.is_smoke else MAX_RECHECKED)
        turns = list(enumerate(tasks)) if options.is_first_only else in_turn(tasks, device == "cuda")
        judge_all(turns, len(tasks), results, pool, options.is_diagnosed, options.is_first_only)
        if options.shrink_seconds > 0:
            with pool.worker() as worker:
                shrink_findings(results, worker, device, options.shrink_seconds)
        if options.is_first_only or not results.record.aborted:
            try_again(results, device, options.hangs_after)
        return report(results.record, options)  # before the pool's children are waited for


def _tasks(options: Options, chosen: list[Target], results: Results) -> list[Task]:
    """All tasks, the kept cases first, because they broke something before and a gate may be cut short."""
    tasks = GateTasks(chosen, options.device)
    if options.is_smoke:
        tasks.give_smoke(options.seed, options.scale)
        return tasks.as_list()
    if options.has_corpus:
        tasks.give_kept()
    if options.has_production:
        tasks.give_production(options.seed)
        tasks.give_large(options.seed)
    else:
        tasks.give_to_twins(options.seed)
    tasks.give_drawn(options.seed, options.num_cases, options.scale)
    for name, left_out in tasks.left_out.items():
        results.record.target(name).left_out = tuple(left_out)
    return tasks.as_list()

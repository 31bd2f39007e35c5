"""`python -m fuzz gate`: seeded cases, the corpus and production shapes, the same on every run.

`--smoke` judges a handful of cases instead, in seconds, for the developer who has just saved a file.
"""

from dataclasses import dataclass

from fuzz import corpus
from fuzz.campaign.fixed_list import judge_all
from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.campaign.recheck import look_back
from fuzz.campaign.shrink import shrink_findings
from fuzz.cases import generate
from fuzz.cases.case import Case
from fuzz.cases.inside import inside
from fuzz.cases.production import production_cases
from fuzz.cases.smoke import smoke_cases
from fuzz.commands.declared import option
from fuzz.commands.options import (
    DEFAULT_CASES,
    DEFAULT_CASES_IN_WORDS,
    DEFAULT_SEED,
    CampaignOptions,
    at_least,
    default_jobs,
)
from fuzz.commands.reporting import new_results, report
from fuzz.isolation.messages import Task
from fuzz.report.text import stamp_lines
from fuzz.targets import Target

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
    jobs: int | None = option("child processes (default up to 8 on a GPU, else one per core)", None)
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

    tasks = _smoke_tasks(options, chosen) if options.is_smoke else _tasks(options, chosen)
    with ended_politely(), Pool(options.num_jobs, options.hangs_after) as pool:
        if not options.is_smoke:
            look_back(results, options.findings, device, pool)
        judge_all(tasks, len(tasks), results, pool, options.is_diagnosed)
        if options.shrink_seconds > 0:
            with pool.worker() as worker:
                shrink_findings(results, worker, device, options.shrink_seconds)
        return report(results.record, options)  # before the pool's children are waited for


def _smoke_tasks(options: Options, chosen: list[Target]) -> list[Task]:
    """The smoke cases on every target."""
    names = tuple(target.name for target in chosen)
    return [Task(case, names, options.device) for case in smoke_cases(options.seed)]


def _tasks(options: Options, chosen: list[Target]) -> list[Task]:
    """All tasks, the kept cases first, because they broke something before and a gate may be cut short."""
    device = options.device
    names = tuple(target.name for target in chosen)
    tasks = _corpus_tasks(names, device) if options.has_corpus else []
    if options.has_production:
        tasks += _production_tasks(chosen, device, options.seed)
    return tasks + _drawn_tasks(options, chosen)


def _drawn_tasks(options: Options, chosen: list[Target]) -> list[Task]:
    """Drawn cases, as many for each target: those that it takes, shared with other targets that take them, too."""
    takers: dict[Case, list[str]] = {}
    for scale in dict.fromkeys(inside(options.scale, target.domain) for target in chosen):
        owners = [target for target in chosen if inside(options.scale, target.domain) == scale]
        for case in generate.gate_cases(options.seed, options.num_cases, scale):
            takers.setdefault(case, []).extend(target.name for target in owners if target.is_run_by(case))
    return [Task(case, tuple(names), options.device) for case, names in takers.items() if names]


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

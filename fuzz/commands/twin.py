"""`python -m fuzz twin`: a gate for GPUs that are not there, whose kernels run on a model of the GPU, on a CPU.

Any target has a twin. The command names them (`twin-sm_100/decode`, see `fuzz.targets.twins`) and judges them as a
gate does, so findings, records and `replay` are those of a gate. `--schedules N` tries moments instead of cases.
"""

from dataclasses import dataclass
from pathlib import Path

from fuzz.commands import gate
from fuzz.commands.declared import option
from fuzz.commands.options import DEFAULT_SEED, FINDINGS, at_least, first_only_option, target_option
from fuzz.commands.twin_schedules import STAGES as SCHEDULED
from fuzz.commands.twin_schedules import Place, run_schedules
from fuzz.isolation.jobs import default_jobs
from fuzz.isolation.worker import HANGS_AFTER
from fuzz.targets.twins import Twin
from fuzz.twin.options import ARCHITECTURES, LEVELS, POLICIES, Level, Policy

DEFAULT_CASES = 24
"""Drawn cases for each target. One takes a second or a few."""
STAGES = ("decode", "prefill", "prefill-apart", "decode-topk")
"""The built-in targets that launch every kernel of the suite, and the scorers of prefill as a selection of vectors asks
for scores, and as a caller's own matrices do."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The GPUs, what runs on them, and the cases."""

    architectures: tuple[str, ...] = option(
        "GPU to stand in for; may be repeated (default all)", (), "--arch", choices=ARCHITECTURES
    )
    target_names: tuple[str, ...] = target_option()
    level: Level | None = option(
        "`source`: as the front end leaves kernels; `compiled`: with what this release of Triton adds "
        "(default compiled, where the release shows it)",
        None,
        choices=LEVELS,
        type=str,
    )
    policy: Policy = option(
        "when what is in flight is done (default %(default)s)", "random", choices=POLICIES, type=str
    )
    has_bits: bool = option("multiply as the matrix unit does, bit for bit, and slowly", False, "--bits")
    seed: int = option("seed of all draws (default %(default)s)", DEFAULT_SEED)
    cases: int = option("drawn cases for each target (default %(default)s)", DEFAULT_CASES)
    num_schedules: int = option(
        "in place of cases: at least so many small launches, each at random moments of its own",
        0,
        "--schedules",
    )
    has_corpus: bool = option("judge kept cases too", False, "--corpus")
    jobs: int | None = option("child processes (default one per core)", None)
    hangs_after: float = option("seconds that a target has for one case (default %(default)g)", HANGS_AFTER)
    is_first_only: bool = first_only_option()
    findings: Path = option("folder for what broke (default %(default)s)", FINDINGS)
    json: Path | None = option("file for the record of the run", None)
    is_verbose: bool = option("print how often each bucket was reached", False, "--verbose")

    def __post_init__(self) -> None:
        at_least("--cases", self.cases, 0)
        at_least("--schedules", self.num_schedules, 0)
        at_least("--jobs", 1 if self.jobs is None else self.jobs, 1)
        at_least("--hangs-after", self.hangs_after, 1)
        if self.num_schedules and (self.policy != "random" or self.has_corpus or self.json):
            raise ValueError("--schedules must come without --policy, --corpus and --json, which it has no use for")

    @property
    def places(self) -> list[Place]:
        """The twins, and the targets whose schedules run on them."""
        twins = [Twin(name, self.level, has_bits=self.has_bits) for name in self.architectures or ARCHITECTURES]
        return [Place(twin, name) for twin in twins for name in self.target_names or SCHEDULED]

    @property
    def twins(self) -> tuple[str, ...]:
        """The names of the targets to judge."""
        return tuple(
            Twin(architecture, self.level, self.policy, self.has_bits).prefix + name
            for architecture in self.architectures or ARCHITECTURES
            for name in self.target_names or STAGES
        )


def run(options: Options) -> int:
    """Judge targets on the twin. Returns the exit status."""
    if options.num_schedules:
        jobs = default_jobs("cpu") if options.jobs is None else options.jobs
        return run_schedules(options.places, options.num_schedules, options.seed, jobs, options.hangs_after)
    return gate.run(
        gate.Options(
            target_names=options.twins,
            device="cpu",
            seed=options.seed,
            cases=options.cases,
            has_corpus=options.has_corpus,
            has_production=False,
            jobs=options.jobs,
            hangs_after=options.hangs_after,
            is_first_only=options.is_first_only,
            findings=options.findings,
            json=options.json,
            is_verbose=options.is_verbose,
        )
    )

"""`python -m fuzz trace`: one program of each kernel on the twin, moment by moment: copies, products and waits."""

from dataclasses import dataclass
from pathlib import Path

from fuzz.campaign.findings import read_case
from fuzz.cases.case import Case, Request
from fuzz.commands.declared import option
from fuzz.commands.options import at_least
from fuzz.isolation.messages import Watched
from fuzz.isolation.worker import HANGS_AFTER, Worker
from fuzz.judge.traced import Traced
from fuzz.targets.twins import Twin
from fuzz.twin.options import ARCHITECTURES, LEVELS, POLICIES, Level, Policy
from fuzz.twin.timeline_pictures import timeline_drawing, timeline_lines
from msa_ref import IndexerConfig
from msa_ref.contract import Violation

CASES = {
    "decode": Case(IndexerConfig(), (Request(1, 128 * 30), Request(1, 128 * 24 + 5)), num_splits=(2,)),
    "prefill": Case(IndexerConfig(), (Request(64, 128 * 20 + 64),), num_splits=(1,)),
}
"""The case that shows a stage, where no file is named."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The GPU, the target, the case, and the program to look at."""

    architecture: str = option("GPU to stand in for", "sm_90", "--arch", choices=ARCHITECTURES)
    target: str = option("a target, as of a gate (default %(default)s)", "prefill-apart")
    case: Path | None = option("JSON of a case (default: a short one of MiniMax-M3's)", None)
    program: int = option("number of the program to look at, among each kernel's (default %(default)s)", 0)
    first: int = option("the first moment to print (default %(default)s)", 0)
    level: Level = option("`source` or `compiled` (default %(default)s)", "source", choices=LEVELS, type=str)
    policy: Policy = option("when what is in flight is done (default %(default)s)", "late", choices=POLICIES, type=str)
    hangs_after: float = option("seconds that the target has (default %(default)g)", HANGS_AFTER)
    svg: Path | None = option("folder for a picture of each kernel", None)

    def __post_init__(self) -> None:
        at_least("--program", self.program, 0)
        at_least("--first", self.first, 0)
        at_least("--hangs-after", self.hangs_after, 1)


def run(options: Options) -> int:
    """Print the timelines. Returns 0, or 1 where the twin finds a mistake in the kernel."""
    case = CASES["decode" if "decode" in options.target else "prefill"]
    if options.case is not None:
        case, _ = read_case(options.case)
    twin = Twin(options.architecture, options.level, options.policy)
    with Worker(options.hangs_after) as worker:
        traced = worker.on_twin(Watched(twin.prefix + options.target, case, options.program))
    if isinstance(traced, Violation):
        traced = Traced({}, f"{traced.how}: {traced.evidence}")
    assert isinstance(traced, Traced)
    if traced.reason:
        raise ValueError(traced.reason)
    for kernel, timeline in traced.timelines.items():
        where = f"{kernel}, program {options.program}, on {options.architecture}"
        print("\n".join([where, *timeline_lines(timeline.spans, timeline.moments, options.first), ""]))
        if options.svg:
            options.svg.mkdir(parents=True, exist_ok=True)
            picture = timeline_drawing(timeline.spans, timeline.moments, f"Timeline of {where}")
            (options.svg / f"{kernel}.svg").write_text(picture.svg())
    if not traced.timelines and not traced.found:
        print("nothing in these kernels is asynchronous")
    if traced.found:
        print(traced.found)
    return 1 if traced.found else 0

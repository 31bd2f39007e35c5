"""`python -m fuzz trace`: one program of each kernel on the twin, moment by moment: copies, products and waits."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from fuzz.campaign.findings import read_case
from fuzz.cases.case import Case, Request
from fuzz.commands.declared import option
from fuzz.commands.options import at_least
from fuzz.isolation.twin_child import compiles_kernels, fresh
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.machine.timeline import Timeline
from fuzz.twin.options import ARCHITECTURES, LEVELS, POLICIES, Level, Policy
from msa_ref import IndexerConfig

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
    svg: Path | None = option("folder for a picture of each kernel", None)

    def __post_init__(self) -> None:
        at_least("--program", self.program, 0)
        at_least("--first", self.first, 0)


def run(options: Options) -> int:
    """Print the timelines. Returns 0, or 1 where the twin finds a mistake in the kernel."""
    case = CASES["decode" if "decode" in options.target else "prefill"]
    if options.case is not None:
        case, _ = read_case(options.case)
    with ProcessPoolExecutor(1, fresh(), compiles_kernels) as pool:
        found, timelines = pool.submit(_traced, options, case).result()
    from fuzz.twin.timeline_pictures import timeline_drawing, timeline_lines

    for kernel, timeline in timelines.items():
        where = f"{kernel}, program {options.program}, on {options.architecture}"
        print("\n".join([where, *timeline_lines(timeline.spans, timeline.moments, options.first), ""]))
        if options.svg:
            options.svg.mkdir(parents=True, exist_ok=True)
            picture = timeline_drawing(timeline.spans, timeline.moments, f"Timeline of {where}")
            (options.svg / f"{kernel}.svg").write_text(picture.svg())
    if not timelines:
        print("nothing in these kernels is asynchronous")
    if found:
        print(found)
    return 1 if found else 0


def _traced(options: Options, case: Case) -> tuple[str, dict[str, Timeline]]:
    """The finding that ended the run, if any, and the timelines, in a process of their own."""
    from fuzz.inputs.scene import Scene
    from fuzz.targets import find
    from fuzz.twin.world import world

    twin = replace(
        world(options.architecture, options.level, options.policy, case.seed, False), watched=options.program
    )
    scene, found = Scene(case, "cpu"), ""
    scene.apply(0)
    scene.new_out()
    with twin.installed():
        try:
            find(options.target).open(scene, case.num_splits[0])()
        except Finding as finding:
            found = f"{finding.kind}: {finding}"
        except NotModelled as unknown:
            raise ValueError(str(unknown)) from None
    return found, {kernel: timeline for kernel, timeline in twin.timelines.items() if timeline.spans}

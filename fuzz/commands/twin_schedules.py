"""`python -m fuzz twin --schedules N`: small launches again and again on the twin, each with moments of its own.

A schedule is one launch of one kernel, in which what happens next was chosen at random at least once. Its cases fill
every ring of buffers more than twice, and its answer is held to the laws of a gate.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan
from fuzz.cases.production import is_given
from fuzz.cases.project import project
from fuzz.inputs.scene import Scene
from fuzz.isolation.twin_child import compiles_kernels, fresh
from fuzz.judge.judged_run import RunJudge
from fuzz.judge.truth import Truth
from fuzz.report.command_line import again
from fuzz.report.statuses import AGREED, BROKE, UNJUDGED
from fuzz.targets import NotApplicable, Target, find
from fuzz.targets.twins import Twin
from fuzz.twin.finding import NotModelled
from msa_ref import IndexerConfig

STAGES = ("decode", "prefill-apart")
"""The built-in targets whose kernels leave something to chance."""
FORMATS = ("bfloat16", "float8_e4m3fn", "bfloat16/float8_e4m3fn")
"""Formats of queries and keys, of which each has a scorer of its own somewhere."""
BATCHES = {
    "decode": (2, tuple(Request(1, 128 * blocks - blocks % 2) for blocks in (5, 6, 5, 3, 7, 5, 6))),
    "prefill": (4, (Request(33, 128 * 13 + 60),)),
}
"""Kind -> heads and requests. A decode is one program's, of 34 pages and six requests that are scored; a prefill has
rows for both of a tile's halves on Blackwell, 13 pages whole, and one in part."""
NUM_CASES = len(BATCHES) * len(FORMATS)
EACH = 25
"""Schedules that one task is to reach, and seeds that it may take for them."""


@dataclass(frozen=True)
class Place:
    """A target on a twin. Its name is that of the target alone."""

    twin: Twin
    name: str

    def command_line(self, seed: int) -> str:
        """The command that runs one seed again."""
        level = ("--level", self.twin.level) if self.twin.level else ()
        words = ("--arch", self.twin.architecture, *level, *["--bits"] * self.twin.has_bits, "--target", self.name)
        return again("twin", "--schedules", "1", "--seed", str(seed), *words)


@dataclass(frozen=True)
class Task:
    """Schedules to reach at a place, from one seed on.

    One seed is run after the other: no more of them than schedules, or than there are cases, if that is more.
    """

    place: Place
    seed: int
    num_schedules: int


@dataclass
class Done:
    """The outcome of schedules.

    orders: (architecture, kernel) -> the order of each launch, as one number. found: a finding -> the command that
        shows it again. reasons: why places have no verdict. seconds: of processors.
    """

    orders: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, None] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Schedules."""
        return sum(map(len, self.orders.values()))

    def add(self, other: "Done") -> None:
        """Add the outcome of others."""
        for kernel, orders in other.orders.items():
            self.orders.setdefault(kernel, []).extend(orders)
        self.found |= other.found
        self.reasons |= other.reasons
        self.seconds += other.seconds


def run_schedules(places: Sequence[Place], num_schedules: int, seed: int, jobs: int) -> int:
    """Run at least so many schedules, shared out among the places, and print what came of them.

    The first seeds show which places have any: the others have but one order.

    Returns:
        The exit status.
    """
    start, done, some = time.monotonic(), Done(), list[Place]()
    with ProcessPoolExecutor(jobs, fresh(), compiles_kernels) as pool:
        for place, came in zip(places, pool.map(run_task, [Task(place, seed, 1) for place in places]), strict=True):
            done.add(came)
            some += [place] * bool(came.count)
        num_tasks = -(-(num_schedules - done.count) // EACH) if some and not done.found else 0
        first, turns = seed + NUM_CASES, [divmod(number, len(some)) for number in range(num_tasks)]
        for came in pool.map(run_task, [Task(some[i], first + turn * EACH, EACH) for turn, i in turns]):
            done.add(came)
            if done.found:
                break
        pool.shutdown(cancel_futures=True)
    print("\n".join(_lines(done, time.monotonic() - start)))
    return BROKE if done.found else AGREED if done.count else UNJUDGED


def _lines(done: Done, seconds: float) -> Iterator[str]:
    """The report."""
    num_distinct = sum(len(set(orders)) for orders in done.orders.values())
    for (architecture, kernel), orders in sorted(done.orders.items()):
        yield f"{architecture:>8} {kernel:<36} {len(orders):>7,}"
    yield from done.reasons
    each = f", {done.seconds / done.count:.3f} each" if done.count else ""
    yield f"{done.count:,} schedules, {num_distinct:,} of them distinct: {len(done.found) or 'no'} findings"
    yield f"{done.seconds:.0f} s of processors{each}; {seconds:.0f} s in all"
    for finding, command in done.found.items():
        yield f"{finding}\n    {command}"


def run_task(task: Task) -> Done:
    """The outcome of a task, in a process of its own."""
    start, done = time.process_time(), Done()
    for seed in range(task.seed, task.seed + max(task.num_schedules, NUM_CASES)):
        if done.count < task.num_schedules and not done.found:
            _run_seed(task.place, seed, done)
    done.seconds = time.process_time() - start
    return done


def _run_seed(place: Place, seed: int, done: Done) -> None:
    """Run a place's target once, on the case that the seed's number chooses, and add what came of it."""
    # Triton reads TRITON_INTERPRET when it is first imported, so the twin is imported where it runs.
    from fuzz.twin.world import world

    target, scenes = _prepared(place.name)
    if not scenes:
        done.reasons[f"{place.name} takes none of these cases"] = None
        return
    scene, truths = scenes[seed % len(scenes)]
    twin = world(place.twin.architecture, place.twin.level, "random", seed, place.twin.has_bits)
    judge = RunJudge(scene, truths)
    where = f"{place.twin.prefix}{place.name}"
    try:
        with twin.installed():
            act = target.open(scene, 1, judge.show)
            _, broken = judge.run(act, target, 1)
    except (NotModelled, NotApplicable) as unknown:
        done.reasons[f"{where}: {unknown}"] = None
        return
    except Exception as error:  # whatever it is, it is the target's
        broken = [judge.failure(error, target, 1)]
    for kernel, order in twin.schedules:
        done.orders.setdefault((place.twin.architecture, kernel), []).append(order)
    if not twin.schedules and not broken:
        done.reasons[f"{where}: launches with one order alone"] = None
    for violation in broken[:1]:
        done.found[f"{where}, seed {seed}: {violation.law}: {violation.evidence}"] = place.command_line(seed)


@cache
def _prepared(name: str) -> tuple[Target, list[tuple[Scene, dict[tuple[int, bool], Truth]]]]:
    """A target, and the scenes that it takes, each with room for its right answers."""
    target = find(name)
    scenes = list[tuple[Scene, dict[tuple[int, bool], Truth]]]()
    for kind, (heads, requests) in BATCHES.items():
        for dtype in FORMATS:
            case = Case(
                IndexerConfig(heads, topk_blocks=4),
                requests,
                seed=len(scenes),
                dtype=dtype,
                values=ValuePlan("few_values"),
                pages=PagePlan(spare_pages=3, tail="bait"),
                num_splits=(1,),
            )
            with suppress(ValueError):  # it takes no such case
                if is_given(kind, target.kind, target.takes_score):
                    scene = Scene(project(case, target.domain), "cpu")
                    scene.apply(0)
                    scenes.append((scene, {}))
    return target, scenes

"""Small launches on the twin, each with moments of its own, held to the laws of a run.

A schedule is one launch of one kernel, in which what happens next was chosen at random at least once. Its cases fill
every ring of buffers more than twice.
"""

import time
from contextlib import suppress
from dataclasses import dataclass

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan
from fuzz.cases.production import is_given
from fuzz.cases.project import project
from fuzz.inputs.scene import Scene
from fuzz.judge.judged_run import RunJudge
from fuzz.judge.surroundings import Surroundings
from fuzz.judge.truth import Truth
from fuzz.targets import NotApplicable, Target, find
from fuzz.targets.twins import parsed
from fuzz.twin.finding import NotModelled
from msa_ref import IndexerConfig
from msa_ref.contract import Violation

FORMATS = ("bfloat16", "float8_e4m3fn", "bfloat16/float8_e4m3fn")
"""Formats of queries and keys, of which each has a scorer of its own somewhere."""
BATCHES = (
    (
        "decode",
        IndexerConfig(2, topk_blocks=4),
        tuple(Request(1, 128 * blocks - blocks % 2) for blocks in (5, 6, 5, 3, 7, 5, 6)),
    ),
    (
        "decode",
        IndexerConfig(1, topk_blocks=1, local_blocks=0),
        tuple(Request(1, 128 * blocks - blocks % 2) for blocks in (2, 2, 2, 2, 2, 2, 14, 14)),
    ),
    ("prefill", IndexerConfig(4, topk_blocks=4), (Request(33, 128 * 13 + 60),)),
)
"""(kind, config, requests) each. The first decode is one program's, of 34 pages and six requests that are scored; of
the second a program has four pages of as many requests. The prefill has rows for both of a tile's halves on Blackwell,
13 pages whole, and one in part."""
NUM_CASES = len(BATCHES) * len(FORMATS)
"""Bound on the cases that a target takes: seeds in a row have them in turn."""


@dataclass(frozen=True)
class Scheduled:
    """The outcome of one seed.

    orders: (kernel, the order that was chosen, as one number) of each schedule. found: the first law that broke.
    reason: why there is nothing to judge; empty if there is. seconds: of a processor.
    """

    orders: tuple[tuple[str, int], ...] = ()
    found: Violation | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass
class Prepared:
    """A case's scene, room for its right answers, and a target that tells of its first calls on it."""

    scene: Scene
    truths: dict[tuple[int, bool], Truth]
    target: Target


class ScheduleJudge:
    """Runs one target on the twin again and again, on cases that are made once."""

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        """name: of a target on a twin, whose policy is not looked at.

        Raises:
            ValueError: one sentence, if there is no such target.
        """
        self._twin, inner = parsed(name)
        with surroundings.of(name, is_first=False):
            self._target = find(inner)
        scenes = _scenes(self._target, surroundings)
        self._cases = [Prepared(scene, {}, surroundings.around(self._target)) for scene in scenes]

    def run(self, seed: int) -> Scheduled:
        """Run the target once, on the case that the seed's number chooses."""
        if not self._cases:
            return Scheduled(reason=f"{self._target.name} takes none of these cases")
        start = time.process_time()
        # Triton reads TRITON_INTERPRET when it is first imported, so the twin is imported where it runs.
        from fuzz.twin.world import world

        case, twin = self._cases[seed % len(self._cases)], self._twin
        made = world(twin.architecture, twin.level, "random", seed, twin.has_bits)
        judge = RunJudge(case.scene, case.truths)
        case.scene.apply(0)
        where = f"{twin.prefix}{self._target.name}"
        try:
            with made.installed():
                act = case.target.open(case.scene, 1, judge.show)
                _, broken = judge.run(act, case.target, 1)
        except (NotModelled, NotApplicable) as unknown:
            return Scheduled(reason=f"{where}: {unknown}", seconds=time.process_time() - start)
        except Exception as error:  # whatever it is, it is the target's
            broken = [judge.failure(error, self._target, 1)]
        reason = "" if made.schedules or broken else f"{where}: launches with one order alone"
        found = next(iter(broken), None)
        return Scheduled(tuple(made.schedules), found, reason, time.process_time() - start)


def _scenes(target: Target, surroundings: Surroundings) -> list[Scene]:
    """The scenes that a target takes."""
    scenes = list[Scene]()
    for kind, config, requests in BATCHES:
        for dtype in FORMATS:
            case = Case(
                config,
                requests,
                seed=len(scenes),
                dtype=dtype,
                values=ValuePlan("few_values"),
                pages=PagePlan(spare_pages=3, tail="bait"),
                num_splits=(1,),
            )
            with suppress(ValueError):  # it takes no such case
                if is_given(kind, target.kind, target.takes_score):
                    scenes.append(Scene(project(case, target.domain), "cpu", surroundings.apart))
    return scenes

"""`python -m fuzz twin --schedules N`: small launches again and again on the twin, each with moments of its own.

See `fuzz.judge.schedules`. A launch that does not end, or ends its process, is a finding like any other.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fuzz.campaign.interrupts import ended_politely
from fuzz.campaign.pool import Pool
from fuzz.isolation.messages import Moments
from fuzz.isolation.worker import Worker
from fuzz.judge.schedules import NUM_CASES, Scheduled
from fuzz.judge.traced import Traced
from fuzz.report.command_line import again
from fuzz.report.statuses import AGREED, BROKE, INTERRUPTED, UNJUDGED
from fuzz.targets.twins import Twin
from msa_ref.contract import Violation

STAGES = ("decode", "prefill-apart")
"""The built-in targets whose kernels leave something to chance."""
EACH = 25
"""Schedules that one task is to reach, and seeds that it may take for them."""


@dataclass(frozen=True)
class Place:
    """A target on a twin. Its name is that of the target alone."""

    twin: Twin
    name: str

    @property
    def target(self) -> str:
        """The name of the target on the twin."""
        return f"{self.twin.prefix}{self.name}"

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

    def enter(self, place: Place, seed: int, came: Scheduled | Violation) -> None:
        """Enter the outcome of one seed; a violation is how it ended its process."""
        found = came if isinstance(came, Violation) else came.found
        if found is not None:
            self.found[f"{place.target}, seed {seed}: {found.law}: {found.evidence}"] = place.command_line(seed)
        if isinstance(came, Scheduled):
            for kernel, order in came.orders:
                self.orders.setdefault((place.twin.architecture, kernel), []).append(order)
            if came.reason:
                self.reasons[came.reason] = None
            self.seconds += came.seconds

    def add(self, other: "Done") -> None:
        """Add the outcome of others."""
        for kernel, orders in other.orders.items():
            self.orders.setdefault(kernel, []).extend(orders)
        self.found |= other.found
        self.reasons |= other.reasons
        self.seconds += other.seconds


def run_schedules(places: Sequence[Place], num_schedules: int, seed: int, jobs: int, hangs_after: float) -> int:
    """Run at least so many schedules, shared out among the places, and print what came of them.

    The first seeds show which places have any: the others have but one order. An interrupt, or the first finding, ends
    it early.

    Args:
        hangs_after: seconds that a launch may take, as for `fuzz.isolation.worker.Worker`.

    Returns:
        The exit status.

    Raises:
        ValueError: one sentence, if there is no such target.
    """
    start, done, is_ended = time.monotonic(), Done(), False
    with ended_politely(), Pool(jobs, hangs_after) as pool:
        try:
            for came in _tasks_done(pool, places, num_schedules, seed):
                done.add(came)
                if done.found:
                    break
        except KeyboardInterrupt:
            is_ended = True
        print("\n".join(_lines(done, time.monotonic() - start, is_ended)))
    if is_ended:
        return BROKE if done.count else INTERRUPTED
    return BROKE if done.found else AGREED if done.count else UNJUDGED


def _tasks_done(pool: Pool, places: Sequence[Place], num_schedules: int, seed: int) -> Iterator[Done]:
    """The outcomes of tasks, until there are enough schedules."""
    some, left = list[Place](), num_schedules
    first = [Task(place, seed, 1) for place in places]
    for place, came in zip(places, pool.each(run_task, first), strict=True):
        some += [place] * bool(came.count)
        left -= came.count
        yield came
    num_tasks = -(-left // EACH) if some else 0
    turns = [divmod(number, len(some)) for number in range(num_tasks)]
    yield from pool.each(run_task, [Task(some[i], seed + NUM_CASES + turn * EACH, EACH) for turn, i in turns])


def _lines(done: Done, seconds: float, is_ended: bool) -> Iterator[str]:
    """The report. is_ended: whether an interrupt ended the run."""
    if is_ended:
        yield "ended early"
    num_distinct = sum(len(set(orders)) for orders in done.orders.values())
    for (architecture, kernel), orders in sorted(done.orders.items()):
        yield f"{architecture:>8} {kernel:<36} {len(orders):>7,}"
    yield from done.reasons
    each = f", {done.seconds / done.count:.3f} each" if done.count else ""
    yield f"{done.count:,} schedules, {num_distinct:,} of them distinct: {len(done.found) or 'no'} findings"
    yield f"{done.seconds:.0f} s of processors{each}; {seconds:.0f} s in all"
    for finding, command in done.found.items():
        yield f"{finding}\n    {command}"


def run_task(worker: Worker, task: Task) -> Done:
    """The outcome of a task, in a worker's child."""
    done = Done()
    for seed in range(task.seed, task.seed + max(task.num_schedules, NUM_CASES)):
        if done.count < task.num_schedules and not done.found:
            came = worker.on_twin(Moments(task.place.target, seed))
            assert not isinstance(came, Traced)
            done.enter(task.place, seed, came)
    return done

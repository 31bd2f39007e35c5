"""Messages between a worker and its child, and what comes of a task."""

from dataclasses import dataclass, field

from fuzz.cases.case import Case
from fuzz.judge.memory_lack import HARNESS_LACKS
from fuzz.judge.schedules import Scheduled
from fuzz.judge.traced import Traced
from fuzz.judge.verdict import Undefined, Verdict
from fuzz.targets import Target
from msa_ref.contract import Violation


@dataclass(frozen=True)
class Task:
    """One case and the names of the targets to judge on it. The child answers by a scene's message, then verdicts."""

    case: Case
    targets: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class Question:
    """A request to say why a target broke a law on a case. The child answers by `Reasons`."""

    case: Case
    target: str
    device: str
    violation: Violation


@dataclass(frozen=True)
class Moments:
    """A request to run a target on the twin at the random moments of one seed.

    The child answers by `SceneMade` once its cases are there, then by `Scheduled`.
    """

    target: str
    seed: int


@dataclass(frozen=True)
class Watched:
    """A request to run a target on the twin once, and to write the timeline of one program of each kernel.

    The child answers by `SceneMade` once there is such a target, then by `Traced`.
    """

    target: str
    case: Case
    program: int


@dataclass(frozen=True)
class SceneMade:
    """The case's tensors are made: the child goes on to the first target."""


@dataclass(frozen=True)
class FirstCall:
    """A target's first call of its kind begins, in which it may compile, or is over."""

    is_over: bool


@dataclass(frozen=True)
class Apart:
    """The judge's own work between a target's calls begins, or is over: the target's clock stands meanwhile."""

    is_over: bool


@dataclass(frozen=True)
class SceneFailed:
    """The case's tensors could not be made: no verdict follows."""

    reason: str
    is_out_of_memory: bool = False


@dataclass(frozen=True)
class Spoilt:
    """The child is of no more use: before the next target ran, a CUDA error of what ran earlier surfaced.

    No verdict follows: what is left of the task is for a fresh child.
    """

    violation: Violation


@dataclass(frozen=True)
class Reasons:
    """Further laws that a target breaks, asked of one that broke a law."""

    violations: tuple[Violation, ...]


@dataclass(frozen=True)
class Introduction:
    """Is there a target of this name? The child answers by `Introduced` or `Refused`."""

    target: str


@dataclass(frozen=True)
class Introduced:
    """A target without its code, which stays in children: it can be asked for its properties, and not run."""

    target: Target


@dataclass(frozen=True)
class Refused:
    """One sentence: why there is no such target."""

    reason: str


Answer = Verdict | Reasons | Introduced | Refused | Scheduled | Traced
FromChild = SceneMade | SceneFailed | FirstCall | Apart | Spoilt | Answer


@dataclass(frozen=True)
class Earlier:
    """One case that a process judged before, on these targets, in their order."""

    case: Case
    targets: tuple[str, ...]


Order = tuple[Earlier, ...]
"""The cases that a process judged, from its start."""


@dataclass(frozen=True)
class Judged:
    """The outcome of a task: (target, verdict, seconds) each.

    orders: a target that broke -> what its process had judged before.
    """

    task: Task
    verdicts: tuple[tuple[str, Verdict, float], ...]
    orders: dict[str, Order] = field(default_factory=dict)


DOES_NOT_FIT = Undefined(HARNESS_LACKS, lacks_memory=True)
"""The verdict on every target of a case that is too large for the free memory: no pass, and nobody's fault."""

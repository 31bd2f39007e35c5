"""The operations that order what happens, each taken out in turn: is it noticed, or is it not needed?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fuzz.twin.finding import Finding
from fuzz.twin.library import Dropped, Library
from fuzz.twin.options import POLICIES, Level
from fuzz.twin.world import World
from msa_fast.compile_gate.architectures import ARCHITECTURES


@dataclass(frozen=True)
class Outcome:
    """One operation taken out. what: itself in words. noticed: the finding, or `wrong answer`; empty if neither."""

    kernel: str
    number: int
    what: str
    noticed: str


def necessity(architecture: str, level: Level, act: Callable[[], bool]) -> Iterator[Outcome]:
    """The outcome for every such operation of every kernel that an act launches.

    act: launches kernels and says whether the answer is right. It must pass as it is.

    Raises:
        Finding: if the act fails with nothing taken out.
    """
    whole = Library(ARCHITECTURES[architecture], level)
    for policy in POLICIES:
        with World(whole, policy).installed():
            if not act():
                raise Finding("arithmetic", "the answer is wrong with nothing taken out")
    for kernel, count in whole.num_synchronising.items():
        for number in range(count):
            library = Library(whole.architecture, level, Dropped(kernel, number))
            noticed = next(filter(None, (_noticed(World(library, policy), act) for policy in POLICIES)), "")
            yield Outcome(kernel, number, library.dropped, noticed)


def _noticed(world: World, act: Callable[[], bool]) -> str:
    try:
        with world.installed():
            return "" if act() else "wrong answer"
    except Finding as finding:
        return f"{finding.kind}: {finding}"

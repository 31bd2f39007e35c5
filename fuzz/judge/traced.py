"""One run of a target on the twin, in which one program of each kernel is watched, moment by moment."""

from dataclasses import dataclass, replace

from fuzz.cases.case import Case
from fuzz.inputs.scene import Scene
from fuzz.targets import NotApplicable, find
from fuzz.targets.places import place_of_error
from fuzz.targets.twins import parsed
from fuzz.twin.finding import Finding, NotModelled
from fuzz.twin.machine.timeline import Timeline


@dataclass(frozen=True)
class Traced:
    """The timeline of each kernel in which something is asynchronous.

    found: the mistake that ended the run; empty if there is none. reason: why there is no run; empty if there is one.
    """

    timelines: dict[str, Timeline]
    found: str = ""
    reason: str = ""


class Tracer:
    """Runs a target on the twin."""

    def __init__(self, name: str) -> None:
        """name: of a target on a twin.

        Raises:
            ValueError: one sentence, if there is no such target.
        """
        self._twin, inner = parsed(name)
        self._target = find(inner)

    def traced(self, case: Case, program: int) -> Traced:
        """The timelines of one run of a case. program: number of the watched one among each kernel's."""
        # Triton reads TRITON_INTERPRET when it is first imported, so the twin is imported where it runs.
        from fuzz.twin.world import world

        twin = self._twin
        made = world(twin.architecture, twin.level, twin.policy, case.seed, twin.has_bits)
        made, found = replace(made, watched=program), ""
        scene = Scene(case, "cpu")
        scene.apply(0)
        scene.new_out()
        with made.installed():
            try:
                self._target.open(scene, case.num_splits[0])()
            except Finding as finding:
                found = f"{finding.kind}: {finding}"
            except (NotModelled, NotApplicable) as unknown:
                return Traced({}, reason=str(unknown))
            except Exception as error:  # whatever it is, it is the target's
                found = f"{type(error).__name__}: {error}{place_of_error(self._target.run, error)}"
        return Traced({kernel: timeline for kernel, timeline in made.timelines.items() if timeline.spans}, found)

"""The tasks of a gate: kept, production and drawn cases, each for the targets that take it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fuzz import corpus
from fuzz.cases.case import Case
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import inside
from fuzz.cases.large import large_cases
from fuzz.cases.production import is_given, production_cases, shapes_for_twins
from fuzz.cases.project import project
from fuzz.cases.scale import Scale
from fuzz.cases.smoke import smoke_cases
from fuzz.isolation.messages import Task
from fuzz.targets import Target
from fuzz.targets.share import is_given_drawn, is_given_kept, is_given_large, is_given_production
from fuzz.targets.twins import is_twin


@dataclass
class GateTasks:
    """Cases and their targets. Each case is made once, whichever targets it is for.

    left_out: target -> names of what it was not given, as its point does not survive in the target's promises.
    """

    targets: Sequence[Target]
    device: str
    takers: dict[Case, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def as_list(self) -> list[Task]:
        """The tasks, in the order in which their cases came."""
        return [Task(case, tuple(names), self.device) for case, names in self.takers.items() if names]

    def give_kept(self) -> None:
        """The corpus, projected into each target's promises; a share of it, where another target has all.

        What is asked thousands of times comes first: a thread that is to be found late has nothing else to do yet.
        """
        kept = sorted(enumerate(corpus.entries().items()), key=lambda one: -one[1][1].case.repeats)
        for number, (stem, entry) in kept:
            for target in self.targets:
                if is_given_kept(number, entry.case, target):
                    self._give_projected(stem, entry.case, target)

    def give_production(self, seed: int) -> None:
        """Production shapes, projected, each to the targets of its kind and to foreign ones; see `is_given`.

        On a CPU those that share kernels with another target get a share of them, too.
        """
        for number, (case, kind) in enumerate(production_cases(self.device == "cuda", seed)):
            for target in self.targets:
                if is_given_production(number, target, self.device) and is_given(kind, target.kind, target.takes_score):
                    self._give_projected(f"production {kind}", case, target)

    def give_large(self, seed: int) -> None:
        """Large cases, each inside a target's promises, to those that may answer them in seconds."""
        for target in self.targets:
            if is_given_large(target, self.device):
                for case in large_cases(seed, target.domain):
                    self._give(case, target)

    def give_to_twins(self, seed: int) -> None:
        """The shapes beside traffic that a model of a GPU runs in seconds, each to the twins of its kind."""
        for case, kind in shapes_for_twins(seed):
            for target in self.targets:
                if is_twin(target.name) and is_given(kind, target.kind, target.takes_score):
                    self._give_projected(kind, case, target)

    def give_smoke(self, seed: int, scale: Scale) -> None:
        """The smoke cases, projected, and drawn ones in the place of those that cannot be."""
        for target in self.targets:
            for number, case in enumerate(smoke_cases(seed)):
                self._give_projected(f"smoke {number}", case, target)
            for case in gate_cases(seed, len(self.left_out.pop(target.name, ())), inside(scale, target.domain)):
                self._give(case, target)

    def give_drawn(self, seed: int, count: int, scale: Scale) -> None:
        """Cases drawn inside each target's promises, as many for each; targets share those that they both take."""
        scales = {target.name: inside(scale, target.domain) for target in self.targets}
        for inner in dict.fromkeys(scales.values()):
            for number, case in enumerate(gate_cases(seed, count, inner)):
                for target in self.targets:
                    if scales[target.name] == inner and is_given_drawn(number, len(inner.kinds), target):
                        self._give(case, target)

    def _give_projected(self, name: str, case: Case, target: Target) -> None:
        try:
            self._give(project(case, target.domain), target)
        except ValueError:
            left_out = self.left_out.setdefault(target.name, [])
            if name not in left_out:
                left_out.append(name)

    def _give(self, case: Case, target: Target) -> None:
        if target.is_run_by(case, self.device) and target.name not in self.takers.setdefault(case, []):
            self.takers[case].append(target.name)

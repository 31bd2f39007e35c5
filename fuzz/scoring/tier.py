"""Tiers of judging: the cases that a planted defect has to outlive, and their order.

The order changes how soon a defect dies, but not the verdict. Where cases are expensive, small ones come first. Where
kernels are compiled, compilations cost most, so cases of one specialization come side by side.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain, count
from pathlib import Path

import torch
from triton.experimental import gluon

from fuzz import corpus
from fuzz.canaries import Defect, Mutant
from fuzz.cases.case import Case
from fuzz.cases.chooser import SeededChooser
from fuzz.cases.generate import NUM_SPECIALIZATIONS, by_specialization, draw_case
from fuzz.cases.inside import Domain, inside
from fuzz.cases.large import large_cases
from fuzz.cases.production import is_given, many_rows, production_cases, shapes_for_twins
from fuzz.cases.project import project
from fuzz.cases.scale import SCALES, Scale
from fuzz.cases.specialization import Specialization, draw_specializations
from fuzz.targets import Target
from fuzz.targets.profiles import read_profile
from fuzz.targets.share import is_given_drawn, is_given_kept, is_given_large, is_given_production
from fuzz.targets.twins import on_twin, parsed
from fuzz.values.families import DRAWN_FAMILIES
from msa_ref.profile import CONTRACT, Dtypes

INFORMATIVE_COST = 2**16
"""Cost of an informative case that is cheap next to a compilation: dozens of rows of dozens of blocks."""
MAX_NAIVE_COST = 2**22
"""Bound on the cost of a case for a naive indexer, which takes blocks one by one: more would look like a hang."""
SPECIALIZATIONS_PER_ROUND = 6
"""Specializations that random fuzzing compiles before it draws others."""
TWIN_FOLDERS = {"sm_90": ("ops/hopper/", "ops/nvidia/"), "sm_100": ("ops/blackwell/", "ops/nvidia/")}
"""Architecture -> folders of the kernels whose mutants are judged on its twin: no interpreter runs them."""
_SIXTEEN_BITS_AND_E4M3 = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, (torch.bfloat16, torch.float8_e4m3fn))
TWIN_DTYPES: dict[str, tuple[Dtypes, ...]] = {"sm_90": _SIXTEEN_BITS_AND_E4M3, "sm_100": _SIXTEEN_BITS_AND_E4M3}
"""Architecture -> the element formats that those kernels serve."""
DRAWN_EACH = 16
"""Random cases of one specialization side by side: about as many as a round of `run` has."""


Numbered = tuple[int, Case]
"""A case, and its number among those that a gate has of its kind."""


@dataclass(frozen=True)
class Tier:
    """The settings that planted defects are judged with.

    device: `cpu` or `cuda`. seconds: 0 for the gate's own cases, else how long random ones are drawn.
    profile: a file with the promises that each defect is held to, and that cases are drawn inside; empty for its own.
    processes: how many processes of `run` the time stands for; a defect runs in one process for the time of all.
    twin: the twin that mutants of an architecture's own kernels run on (`fuzz.targets.twins`); empty for none.
    cases: the number of the gate's lattice cases. has_corpus, has_production: the gate's other cases.
    """

    device: str
    seed: int
    scale: str
    cases: int = 0
    has_corpus: bool = True
    has_production: bool = True
    seconds: float = 0.0
    processes: int = 1
    profile: str = ""
    twin: str = ""

    def on_twin(self, twin: str) -> "Tier":
        """The same for what runs on a twin, where small cases alone are quick enough."""
        return replace(self, device="cpu", scale="small", has_production=False, twin=twin)

    @property
    def settings(self) -> dict[str, str]:
        """The settings in words, by name; what is not set is left out."""
        return {name: str(value) for name, value in asdict(self).items() if value != ""}

    @property
    def name(self) -> str:
        """Its name in the score."""
        if self.twin:
            return f"{parsed(f'{self.twin}/')[0].architecture} on the twin"
        place = "CPU" if self.device == "cpu" else "GPU"
        return f"{self.seconds:g} s of {place} fuzzing" if self.seconds else f"{place} gate"

    @property
    def budget(self) -> float:
        """Seconds of random cases for one defect; 0 for the gate's own cases."""
        return self.seconds * self.processes

    @property
    def present(self) -> set[str]:
        """The requirements of defects (`Defect.needs`) that the tier's machine has."""
        if self.device == "cuda":
            return {"gpu", "graph", "far memory", *_gpu_words(torch.cuda.get_device_capability()[0])}
        if self.twin:
            architecture = parsed(f"{self.twin}/")[0].architecture
            return {"gpu", "twin", "fence", *_gpu_words(int(architecture.removeprefix("sm_")) // 10)}
        is_gate = self.has_production and not self.seconds
        return {"fence", "far memory", "far rows", "tiles of rows", *(["large cases"] if is_gate else [])}

    def judges(self, defect: Defect) -> bool:
        """True if the tier is for a defect.

        A twin's is for mutants of its architecture's own kernels, and for those of no architecture's that need a twin.
        What shows in an engine's classes alone needs no twin, and none runs them.
        """
        if not self.twin:
            return True
        if not isinstance(defect, Mutant) or defect.target.start is not None:
            return False
        path, own = defect.fragment.path, TWIN_FOLDERS[parsed(f"{self.twin}/")[0].architecture]
        is_anyone_s = not path.startswith(tuple(chain(*TWIN_FOLDERS.values())))
        return path.startswith(own) or (is_anyone_s and "twin" in defect.needs)

    def name_of(self, defect: Defect) -> str:
        """The name of a defect as a target of the tier."""
        held_to = f"@{self.profile}" if self.profile else ""
        return "/".join(filter(None, (self.twin, f"{defect.target_name}{held_to}")))

    def held(self, target: Target) -> Target:
        """The target, held to the tier's promises where there are any."""
        if self.twin:
            twin = parsed(f"{self.twin}/")[0]
            dtypes = TWIN_DTYPES[twin.architecture]
            shape = replace(CONTRACT, index_head_dims=(128,), block_sizes=(128,), dtypes=dtypes)
            return replace(on_twin(twin, target), profile=shape)
        return replace(target, profile=read_profile(Path(self.profile))) if self.profile else target

    def cases_for(self, target: Target, needs: tuple[str, ...] = ()) -> Iterator[Case]:
        """The cases that a gate gives to one target, likely killers first. needs: see `Defect.needs`."""
        if self.seconds:
            yield from self._drawn(target)
            return
        target = self.held(target)
        scale = inside(SCALES[self.scale], target.domain)
        with _DRAWING:
            numbered, all_kept, all_production = _gate(self, scale)
        groups = [
            [case for number, case in group if is_given_drawn(number, len(scale.kinds), target)] for group in numbered
        ]
        kept = list(_projected((case for number, case in all_kept if is_given_kept(number, case, target)), target))
        production = (
            case
            for number, case, kind in all_production
            if is_given_production(number, target, self.device) and is_given(kind, target.kind, target.takes_score)
        )
        more = list(_projected(production, target))
        if self.has_production and not self.twin and is_given_large(target, self.device):
            more += large_cases(self.seed, target.domain)
        if target.is_kernel and (self.device == "cuda" or self.twin):  # each specialization is compiled
            groups = [_most_informative_first(group) for group in groups]
            first, rest = groups[:NUM_SPECIALIZATIONS], groups[NUM_SPECIALIZATIONS:]
            drawn = [*chain(*first), *sorted(kept, key=cost), *chain(*rest)]
            cases = [*more, *drawn] if self.twin else [*drawn, *more]
        else:
            cases = [*sorted(kept, key=cost), *sorted(chain(*groups), key=cost), *more]
        cases = [case for case in dict.fromkeys(cases) if _is_informative(case, target, self.device)]
        if {"far memory", "far rows"} & set(needs):
            cases.sort(key=lambda case: -max(_score_elements(case), 2**31 * case.pages.is_far))
        yield from cases

    def _drawn(self, target: Target) -> Iterator[Case]:
        """Random cases without end, as `run` draws them."""
        target = self.held(target)
        scale = inside(SCALES[self.scale], target.domain)
        drawn: list[Specialization] = []
        for number in count():
            round_number, i = divmod(number, SPECIALIZATIONS_PER_ROUND * DRAWN_EACH)
            if i == 0:
                # The word "forms" is part of what a seed means.
                chooser = SeededChooser(self.seed, f"fuzz forms {scale.name} {round_number}")
                drawn = draw_specializations(chooser, scale, SPECIALIZATIONS_PER_ROUND)
            chooser = SeededChooser(self.seed, f"fuzz case {scale.name} {number}")
            case = draw_case(chooser, scale, drawn[i // DRAWN_EACH], DRAWN_FAMILIES)
            if _is_informative(case, target, self.device):
                yield case


def _gpu_words(generation: int) -> Iterator[str]:
    """The words for a GPU of a generation (9 of sm_90), and for the Triton that compiles for it."""
    yield from {9: ["Hopper"], 10: ["Blackwell"]}.get(generation, [])
    if hasattr(gluon.language, "thread_barrier"):
        yield "early Gluon"


_DRAWING = threading.Lock()
"""Lock around drawing a gate's cases, so that trials side by side draw them once."""


@cache
def _gate(tier: Tier, scale: Scale) -> tuple[list[list[Numbered]], list[Numbered], list[tuple[int, Case, str]]]:
    """A gate's drawn cases by specialization, the corpus's, and production's with the kind of target for each.

    Each has its number, by which targets get their shares; those for twins have 0, of which everyone has a share.
    """
    drawn = by_specialization(tier.seed, tier.cases, scale)
    kept = list(enumerate(entry.case for entry in corpus.entries().values())) if tier.has_corpus else []
    shapes = production_cases(tier.device == "cuda", tier.seed) if tier.has_production else ()
    production = [(number, case, kind) for number, (case, kind) in enumerate(shapes)]
    if tier.twin:
        production += [(0, case, kind) for case, kind in shapes_for_twins(tier.seed)]
        production.append((0, many_rows(tier.seed), "selection"))
    return drawn, kept, production


def _projected(cases: Iterable[Case], target: Target) -> Iterator[Case]:
    """Cases projected into the promises of a target; not those whose point does not survive."""
    yield from filter(None, (_projection(case, target.domain) for case in cases))


@cache  # many defects have one domain
def _projection(case: Case, domain: Domain) -> Case | None:
    with suppress(ValueError):
        return project(case, domain)
    return None


def _is_informative(case: Case, target: Target, device: str) -> bool:
    """True if a case, as far as its data tell, is within the limits of a target and a device, and not too expensive."""
    if not target.is_kernel and cost(case) > MAX_NAIVE_COST:
        return False
    return target.limits(case, device) is None


def _score_elements(case: Case) -> int:
    return case.config.num_index_heads * case.total_q * case.max_blocks


def cost(case: Case) -> int:
    """The cost of judging a case: about the number of block scores of all rows over all runs."""
    cells = sum(
        (1 + case.config.num_index_heads * request.query_len) * (1 + case.config.num_blocks(request.seq_len))
        for state in case.states
        for request in state.requests
    )
    return cells * len(case.num_splits) * (1 + case.repeats) * int(math.sqrt(case.config.index_head_dim))


def _most_informative_first(cases: list[Case]) -> list[Case]:
    """Cases of one specialization, those of the best size first."""
    return sorted(cases, key=lambda case: abs(math.log2(cost(case) / INFORMATIVE_COST)))

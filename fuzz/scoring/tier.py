"""Tiers of judging: which cases a planted defect has to outlive, and in which order they come.

A tier's verdict does not depend on the order; how soon a defect dies does. Small cases come first
where cases are dear. Where kernels are compiled, a compilation is dearest: cases of one form come
side by side.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count

from fuzz import corpus
from fuzz.cases.case import Case
from fuzz.cases.chooser import SeededChooser
from fuzz.cases.generate import ALL_FAMILIES, NUM_SPECIALIZATIONS, by_specialization, draw_case, gate_cases
from fuzz.cases.production import production_cases
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN, SCALES
from fuzz.cases.specialization import Specialization, draw_specializations
from fuzz.targets import Target

TELLING_COST = 2**16
"""Of a case that shows much and, beside a compilation, costs nothing: dozens of rows of dozens of blocks."""
MOST_NAIVE_COST = 2**22
"""Of a case for a naive indexer, which takes its blocks one by one: more would look like a hang."""
FORMS_OF_A_ROUND = 4
"""Forms that random fuzzing compiles before it draws others."""
DRAWN_OF_A_FORM = 16
"""Random cases of one form side by side: about as many as a round of `run` has."""


@dataclass(frozen=True)
class Tier:
    """What planted defects are judged with.

    device: `cpu` or `cuda`. seconds: 0 for the gate's own cases, else how long random ones are drawn.
    processes: that draw random ones side by side, as those of `run` do. A defect lives in one, and gets
        the time of all.
    cases: the gate's lattice cases. has_corpus, has_production: the gate's other cases.
    """

    device: str
    seed: int
    scale: str
    cases: int = 0
    has_corpus: bool = True
    has_production: bool = True
    seconds: float = 0.0
    processes: int = 1

    @property
    def name(self) -> str:
        """What the table calls it."""
        place = "CPU" if self.device == "cpu" else "GPU"
        return f"{self.seconds:g} s of {place} fuzzing" if self.seconds else f"{place} gate"

    @property
    def budget(self) -> float:
        """Seconds of random cases for one process that does the work of all; 0 for the gate's own cases."""
        return self.seconds * self.processes

    def cases_for(self, target: Target, needs: tuple[str, ...] = ()) -> Iterator[Case]:
        """The cases that one target has to agree on, likely killers first. needs: what the defect needs to show."""
        if self.seconds:
            yield from self._drawn(target)
            return
        gate = list(gate_cases(self.seed, self.cases, SCALES[self.scale]))
        kept = [entry.case for entry in corpus.entries().values()] if self.has_corpus else []
        production = [
            case
            for case, kind in (production_cases(self.device == "cuda", self.seed) if self.has_production else ())
            if target.kind in (kind, "foreign")
        ]
        is_compiled = target.is_kernel and self.device == "cuda"
        if is_compiled:
            forms = [_tell_first(form) for form in by_specialization(gate)]
            first, rest = forms[:NUM_SPECIALIZATIONS], forms[NUM_SPECIALIZATIONS:]
            cases = [*chain(*first), *sorted(kept, key=cost), *chain(*rest), *production]
        else:
            cases = [*sorted(kept, key=cost), *sorted(gate, key=cost), *production]
        cases = [case for case in dict.fromkeys(cases) if _says_something(case, target, self.device)]
        if "large memory" in needs:
            cases.sort(key=lambda case: -max(_score_elements(case), 2**31 * case.pages.is_far))
        yield from cases

    def _drawn(self, target: Target) -> Iterator[Case]:
        """Random cases without end, as `run` draws them."""
        scale = SCALES[self.scale]
        forms: list[Specialization] = []
        for number in count():
            round_number, i = divmod(number, FORMS_OF_A_ROUND * DRAWN_OF_A_FORM)
            if i == 0:
                chooser = SeededChooser(self.seed, f"fuzz forms {scale.name} {round_number}")
                forms = draw_specializations(chooser, scale, FORMS_OF_A_ROUND)
            chooser = SeededChooser(self.seed, f"fuzz case {scale.name} {number}")
            case = draw_case(chooser, scale, forms[i // DRAWN_OF_A_FORM], ALL_FAMILIES)
            if _says_something(case, target, self.device):
                yield case


def _says_something(case: Case, target: Target, device: str) -> bool:
    """Whether a case is within a target's limits and the device's, and of its size, as far as the case shows it."""
    if case.pages.is_far and device == "cpu":
        return False
    if target.bind is not None and not case.replay:
        return False
    if not target.is_kernel and cost(case) > MOST_NAIVE_COST:
        return False
    return target.kind != "decode" or case.decode_query_len <= MAX_DECODE_QUERY_LEN


def _score_elements(case: Case) -> int:
    return case.config.num_index_heads * case.total_q * case.max_blocks


def cost(case: Case) -> int:
    """About how much there is to do: block scores of all rows, over all runs."""
    cells = sum(
        (1 + case.config.num_index_heads * request.query_len) * (1 + case.config.num_blocks(request.seq_len))
        for state in case.states
        for request in state.requests
    )
    return cells * len(case.num_splits) * (1 + case.repeats) * int(math.sqrt(case.config.index_head_dim))


def _tell_first(form: list[Case]) -> list[Case]:
    """The cases of one form, those of a telling size first."""
    return sorted(form, key=lambda case: abs(math.log2(cost(case) / TELLING_COST)))

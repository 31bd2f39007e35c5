"""Tiers of judging: which cases a planted defect has to outlive, and in which order they come.

A tier's verdict does not depend on the order; how soon a defect dies does. Small cases come first
where cases are dear. Where kernels are compiled, a compilation is dearest: cases of one form come
side by side, a few of every form first.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from fuzz import corpus
from fuzz.case import Case
from fuzz.chooser import SeededChooser
from fuzz.generate import ALL_FAMILIES, NUM_FORMS, draw_case, draw_forms, gate_cases
from fuzz.production import production_cases
from fuzz.scale import SCALES
from fuzz.script import MAX_DECODE_QUERY_LEN
from fuzz.targets import Target

CASES_OF_A_FORM = 8
"""Cases of one form before the next one is compiled."""
TELLING_COST = 2**16
"""Of a case that shows much and, beside a compilation, costs nothing: dozens of rows of dozens of blocks."""
MOST_NAIVE_COST = 2**22
"""Of a case for a naive indexer, which takes its blocks one by one: more would look like a hang."""
FORMS_OF_A_ROUND = 4
"""Forms that random fuzzing compiles before it draws others."""


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
            first, *rest = _by_form(gate)
            cases = [*first, *sorted(kept, key=cost), *chain(*rest), *production]
        else:
            cases = [*sorted(kept, key=cost), *sorted(gate, key=cost), *production]
        cases = [case for case in dict.fromkeys(cases) if _says_something(case, target, self.device)]
        if "large memory" in needs:
            cases.sort(key=lambda case: -max(_score_elements(case), 2**31 * case.pages.is_far))
        yield from cases

    def _drawn(self, target: Target) -> Iterator[Case]:
        """Random cases without end, as `run` draws them."""
        scale, number = SCALES[self.scale], 0
        while True:
            round_number, i = divmod(number, FORMS_OF_A_ROUND * CASES_OF_A_FORM)
            forms = draw_forms(
                SeededChooser(self.seed, f"fuzz forms {scale.name} {round_number}"), scale, FORMS_OF_A_ROUND
            )
            chooser = SeededChooser(self.seed, f"fuzz case {scale.name} {number}")
            case = draw_case(chooser, scale, forms[i // CASES_OF_A_FORM], ALL_FAMILIES)
            number += 1
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


def _by_form(cases: Iterable[Case]) -> list[list[Case]]:
    """The gate's cases in rounds, a few of one form after a few of another.

    Each form's of a telling size come first, with one of the dearest in every round.
    """
    forms: list[list[Case]] = [[] for _ in range(NUM_FORMS)]
    for number, case in enumerate(cases):
        forms[number % NUM_FORMS].append(case)
    for form in forms:
        form.sort(key=lambda case: abs(math.log2(cost(case) / TELLING_COST)))
    rounds: list[list[Case]] = [[]]
    while any(forms):
        for form in forms:
            few = CASES_OF_A_FORM - 1
            rounds[-1] += form[:few] + form[few:][-1:]
            del form[:few], form[-1:]
        rounds.append([])
    return rounds

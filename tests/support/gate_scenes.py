"""The scenes of a foreign target's CPU gate, made once a process and when they are asked for.

Those that are soon judged come first, because one that shows a defect is enough.
"""

from collections.abc import Iterator
from functools import cache

from fuzz import corpus
from fuzz.cases.case import Case
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.scale import SMALL
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner

NOT_DRAWN = {
    "shared_slot",
    "infinity_corrupts_neighbour",
    "padding_unwritten",
    "padding_of_the_last_request",
    "needs_a_page",
    "needs_a_request",
    "queries_as_if_contiguous",
    "subnormal_queries_are_zero",
    "subnormal_sums_are_zero",
}
"""Canaries that kept cases alone show. Drawn cases show every other one."""


@cache
def drawn_cases() -> list[Case]:
    """The gate's drawn cases, as they are drawn."""
    scale = inside(SMALL, Domain(has_odd_sizes=True))
    return list(gate_cases(DEFAULT_SEED, DEFAULT_CASES["cpu"], scale))


@cache
def kept_cases() -> list[Case]:
    """The kept cases, as they are listed."""
    return [entry.case for entry in corpus.entries().values()]


def scenes_for(canary: str) -> Iterator[Scene]:
    """The scenes that show a canary."""
    return map(scene_of, sorted(kept_cases() if canary in NOT_DRAWN else drawn_cases(), key=work))


@cache
def scene_of(case: Case) -> Scene:
    """The scene of a case."""
    return Scene(case, "cpu")


@cache
def examiner_of(scene: Scene) -> Examiner:
    """The examiner of a scene."""
    return Examiner(scene)


def work(case: Case) -> int:
    """Blocks that a naive indexer scores."""
    config, num_runs = case.config, len(case.num_splits) + case.repeats
    each = [
        request.query_len * (1 + config.num_blocks(request.seq_len))
        for step in case.states
        for request in step.requests
    ]
    return config.num_index_heads * num_runs * sum(each)

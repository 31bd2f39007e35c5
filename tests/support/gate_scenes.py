"""The scenes of a foreign target's CPU gate: those of drawn cases, and those of kept ones."""

from fuzz import corpus
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.scale import SMALL
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene

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


def drawn_scenes() -> list[Scene]:
    """The scenes of the gate's drawn cases."""
    scale = inside(SMALL, Domain(has_odd_sizes=True))
    return [Scene(case, "cpu") for case in gate_cases(DEFAULT_SEED, DEFAULT_CASES["cpu"], scale)]


def kept_scenes() -> list[Scene]:
    """The scenes of the kept cases."""
    return [Scene(entry.case, "cpu") for entry in corpus.entries().values()]

"""Planted defects: each is a class of bug that shipped somewhere, and names the laws that must catch it.

A canary is a naive indexer with one piece broken; a mutant is the real kernels with one fragment of
their source exchanged. As a target the name of either is `fuzz.canaries:<name>`. A gate that lets
one of these pass is worth nothing.
"""

from fuzz.canaries import graphs, lengths, memory, ranking  # noqa: F401  (importing them fills the table)
from fuzz.canaries.kernels import MUTANTS, Mutant
from fuzz.canaries.process import PROCESS_CANARIES
from fuzz.canaries.table import CANARIES, Canary
from fuzz.targets import Target

__all__ = ["CANARIES", "MUTANTS", "PROCESS_CANARIES", "Canary", "Mutant"]


def __getattr__(name: str) -> Target:
    """`fuzz.canaries:<name>` finds the target of a canary or a mutant."""
    if name in CANARIES:
        return CANARIES[name].target
    if name in MUTANTS:
        return MUTANTS[name].as_target
    if name in PROCESS_CANARIES:
        return PROCESS_CANARIES[name][0]
    raise AttributeError(name)

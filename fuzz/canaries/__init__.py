"""Planted defects: each is a class of bug that shipped somewhere, and names the laws that must catch it.

A canary is a naive indexer with one piece broken; a process canary ends or holds its process; a mutant
is the real kernels with one fragment of their source exchanged. As a target, a defect's name is
`fuzz.canaries:<name>`. A gate that lets one of them pass is worth nothing.

To add a canary, write one class in the module that fits (`ranking`, `narrow_keys`, `lengths`, `memory`, `neighbours`,
`sharing`, `padding`, `company`, `kept`, `large`, `graphs`, `cheats`, `habits`, `formats`): it overrides one method of
`NaiveIndexer`, and its docstring says in one sentence what is broken. The decorator names its row in `field_defects`,
the laws that must catch it alone, and what a target must promise for it to show (`asks`):

    @canary("D03", "Best")
    class HighestIdWinsTies(NaiveIndexer):
        "Breaks ties towards the higher block id."

        def order(self, candidate: Candidate) -> tuple[float, ...]:
            return (-candidate[0], -candidate[1])

To add a mutant, write one entry in the table of `kernels/` that quotes the kernel's file: name, sentence,
the fragment as it stands, the fragment broken, and the laws of which at least one must catch it:

    _mutant("plan_bound_one_short", "A tile's blocks are bounded one token short.",
        "seq_len - query_len + last_token + 1", "seq_len - query_len + last_token", ("Best", "Runs"), defect="D11"),

Either way `python -m fuzz canaries --device cpu --only NAME` must say "killed", by a law that is named.
"""

from fuzz.canaries import (  # noqa: F401 - importing them fills the table
    cheats,
    company,
    formats,
    graphs,
    habits,
    kept,
    large,
    lengths,
    memory,
    narrow_keys,
    neighbours,
    padding,
    ranking,
    sharing,
)
from fuzz.canaries.defect import Defect
from fuzz.canaries.kernels import MUTANTS, Mutant
from fuzz.canaries.process import PROCESS_CANARIES
from fuzz.canaries.table import CANARIES
from fuzz.targets import Target

__all__ = ["CANARIES", "DEFECTS", "MUTANTS", "PROCESS_CANARIES", "Defect", "Mutant"]

DEFECTS: dict[str, Defect] = {**CANARIES, **PROCESS_CANARIES, **MUTANTS}
"""Name -> planted defect, of every kind."""


# `targets.find` looks up `module:name` as an attribute, and knows no canaries: rooms import only what is below them.
def __getattr__(name: str) -> Target:
    """The target of a defect, as the attribute `name` of this module."""
    if name in DEFECTS:
        return DEFECTS[name].target
    raise AttributeError(name)

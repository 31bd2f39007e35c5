"""Planted defects in the real kernels: each is one fragment of `msa_fast`, exchanged for another.

The kernels themselves know nothing of it. `mutant` says how a mutant is made; the tables beside it
hold the mutants by what they break. As a target a mutant's name is `fuzz.canaries:<id>`.
"""

from fuzz.canaries.kernels import decode, plan, score, selection
from fuzz.canaries.kernels.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: dict[str, Mutant] = {
    mutant.id: mutant for table in (score.MUTANTS, decode.MUTANTS, selection.MUTANTS, plan.MUTANTS) for mutant in table
}
"""Id -> mutant."""

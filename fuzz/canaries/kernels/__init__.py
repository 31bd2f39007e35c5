"""Planted defects in the real kernels: each is one fragment of `msa_fast`, exchanged for another.

The kernels themselves know nothing of it. `mutant` says how a mutant is made; the tables beside it
hold the mutants by what they break. As a target a mutant's name is `fuzz.canaries:<id>`.
"""

from fuzz.canaries.kernels import (
    decode,
    decode_addresses,
    decode_sm90,
    plan,
    ranking,
    rounds,
    score,
    score_addresses,
    score_sm90,
    search,
    selection,
    topk_sm90,
    votes_sm90,
)
from fuzz.canaries.kernels.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

_TABLES = (
    score,
    score_addresses,
    score_sm90,
    decode,
    decode_addresses,
    decode_sm90,
    search,
    ranking,
    selection,
    topk_sm90,
    votes_sm90,
    rounds,
    plan,
)

MUTANTS: dict[str, Mutant] = {mutant.id: mutant for table in _TABLES for mutant in table.MUTANTS}
"""Id -> mutant."""

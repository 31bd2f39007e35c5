"""Planted defects in the real kernels: each is one fragment of `msa_fast`, exchanged for another.

The kernels themselves know nothing of it. `mutant` says how a mutant is made; every other module of
this folder is a table of them. As a target a mutant's name is `fuzz.canaries:<name>`.
"""

from importlib import import_module
from pkgutil import iter_modules

from fuzz.canaries.kernels.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

_TABLES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__) if module.name != "mutant"]

MUTANTS: dict[str, Mutant] = {mutant.name: mutant for table in _TABLES for mutant in table.MUTANTS}
"""Name -> mutant."""

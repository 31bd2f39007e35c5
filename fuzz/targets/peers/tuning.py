"""The tuner of a foreign Triton kernel, settled on one of its own configurations: a run is quick, and repeats."""

import os
from types import ModuleType

VARIABLE = "PEERS_TUNING"
"""Environment variable: `own` leaves every tuner alone; a number chooses another of its configurations."""


def settle_tuning(module: ModuleType, *names: str) -> None:
    """Leave each named kernel's tuner one configuration, the last unless another is asked for.

    A tuner times every configuration for every new signature, minutes of compiling, and what it chooses depends on
    the machine. Any of them may be chosen, so a kernel must be right with each; the interpreter has nothing to time.
    The last ones have the smallest tiles: quick to compile and to interpret, and rows soon need several.
    """
    choice = os.environ.get(VARIABLE, "last")
    if choice == "own":
        return
    for name in names:
        kernel = getattr(module, name, None)
        while kernel is not None and not hasattr(kernel, "configs"):
            kernel = getattr(kernel, "fn", None)
        if kernel is not None and len(kernel.configs) > 1:
            last = len(kernel.configs) - 1
            kernel.configs = [kernel.configs[last if choice == "last" else min(int(choice), last)]]

"""The tuner of a foreign Triton kernel, settled on one of its own configurations: a run is quick, and repeats."""

import os
from types import ModuleType

VARIABLE = "PEERS_TUNING"
"""Environment variable: `own` leaves every tuner alone; a number chooses another of its configurations."""


def settle_tuning(module: ModuleType, *names: str, default: int = 2) -> None:
    """Leave each named kernel's tuner one configuration: by number, the last one if it has fewer.

    A tuner times every configuration for every new signature, minutes of compiling, and what it chooses depends on
    the machine. Any of them may be chosen, so a kernel must be right with each; the interpreter has nothing to time.
    """
    choice = os.environ.get(VARIABLE, str(default))
    if choice == "own":
        return
    for name in names:
        kernel = getattr(module, name, None)
        while kernel is not None and not hasattr(kernel, "configs"):
            kernel = getattr(kernel, "fn", None)
        if kernel is not None and len(kernel.configs) > 1:
            kernel.configs = [kernel.configs[min(int(choice), len(kernel.configs) - 1)]]

"""Verdicts: a target agreed on a case, broke laws, or the case says nothing about it."""

import re
from dataclasses import dataclass

import torch

from msa_ref.contract import Violation


@dataclass(frozen=True)
class Agreed:
    """Every law held. rows: how many (head, token) rows were judged, over all runs.

    certified: those of them with exactly one admissible set.
    """

    rows: int
    certified: int = 0


@dataclass(frozen=True)
class Broke:
    """At least one law was broken. rows, certified: as in `Agreed`."""

    violations: tuple[Violation, ...]
    rows: int
    certified: int = 0


@dataclass(frozen=True)
class Undefined:
    """The case says nothing about the target: outside its profile, or needs what is not here."""

    reason: str


Verdict = Agreed | Broke | Undefined


def is_poisoned(verdict: Verdict) -> bool:
    """True if the process that came to this verdict is of no more use."""
    return isinstance(verdict, Broke) and any(violation.has_ended_process for violation in verdict.violations)


def lacks_memory(error: BaseException) -> bool:
    """True if an exception says that the host's or the device's memory is used up.

    CUDA says so in an error of its own where no allocator of torch's asked: torch's AcceleratorError, or Triton's.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and re.search(r"CUDA.*: out of memory", str(error)) is not None


def is_out_of_memory(verdict: Verdict) -> bool:
    """True if the target lacked memory, of the host or of the device."""
    return isinstance(verdict, Broke) and any(violation.how == "memory" for violation in verdict.violations)

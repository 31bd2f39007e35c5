"""Verdicts: a target agreed on a case, broke laws, or the case says nothing about it."""

from dataclasses import dataclass

from msa_ref.contract import Violation


@dataclass(frozen=True)
class Agreed:
    """Every law held. rows: how many (head, token) rows were judged, over all runs.

    certified: those of them with exactly one admissible set. calls: how often the same was asked in a row.
    """

    rows: int
    certified: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Broke:
    """At least one law was broken. rows, certified: as in `Agreed`."""

    violations: tuple[Violation, ...]
    rows: int
    certified: int = 0


@dataclass(frozen=True)
class Undefined:
    """The case says nothing about the target: outside its profile, or needs what is not here.

    lacks_memory: whether it is memory that is not here, which another child may have held.
    """

    reason: str
    lacks_memory: bool = False


Verdict = Agreed | Broke | Undefined


def is_poisoned(verdict: Verdict) -> bool:
    """True if the process that came to this verdict is of no more use."""
    return isinstance(verdict, Broke) and any(violation.has_ended_process for violation in verdict.violations)


def is_out_of_memory(verdict: Verdict) -> bool:
    """True if memory was lacking, of the host or of the device, whoever held it."""
    if isinstance(verdict, Undefined):
        return verdict.lacks_memory
    return isinstance(verdict, Broke) and any(violation.how == "memory" for violation in verdict.violations)

"""The share of a gate's cases that a target gets, where other targets try most of the same (`Target.drawn_each`)."""

from fuzz.cases.case import Case, EnginePlan
from fuzz.targets.target import Target
from fuzz.targets.twins import is_twin

MANY_TOKENS = 1_024
"""Query tokens of a batch that take an interpreter, and a twin the more, a while."""
MANY_BLOCKS = 10_000
"""Blocks of a row whose keys take an interpreter minutes."""


def is_given_kept(number: int, case: Case, target: Target) -> bool:
    """True if a gate judges a target by a kept case: every one of them, but for the classes of engines.

    Of an engine's own cases those get every one; what is about kernels alone needs no engine every time. A case of
    many tokens goes to one target of those that try most of the same, and to no twin; one of many blocks to those that
    are given scores.
    """
    if case.total_q > MANY_TOKENS and (target.drawn_each > 1 or is_twin(target.name)):
        return False
    if case.max_row_blocks > MANY_BLOCKS and (not target.takes_score or is_twin(target.name)):
        return False
    is_own = target.kind == "step" and case.engine != EnginePlan()
    return target.kind != "step" or is_own or number % target.drawn_each == 0


def is_given_production(number: int, target: Target, device: str) -> bool:
    """True if a gate judges a target by a production case of its kind: on a CPU by a share of them."""
    return device != "cpu" or number % target.drawn_each == 0


def is_given_drawn(number: int, num_kinds: int, target: Target) -> bool:
    """True if a gate judges a target by a drawn case. num_kinds: of the scale, so that each share has all kinds."""
    return number // num_kinds % target.drawn_each == 0


def is_given_large(target: Target, device: str) -> bool:
    """True if a gate judges a target by large cases: on a CPU, and no kernel of the suite's own.

    Those would take an interpreter minutes.
    """
    is_own = target.is_kernel or target.is_checked or is_twin(target.name)
    return device == "cpu" and not is_own and not target.takes_score and target.kind != "step"

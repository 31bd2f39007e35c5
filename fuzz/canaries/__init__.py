"""Planted defects: each is a class of bug that shipped somewhere, and names the laws that must catch it.

A canary is the naive indexer with one piece broken. As a target its name is `fuzz.canaries:<name>`.
A gate that lets one of these pass is worth nothing.
"""

from fuzz.canaries import lengths, memory, ranking  # noqa: F401  (importing them fills the table)
from fuzz.canaries.table import CANARIES, Canary
from fuzz.targets import Target

__all__ = ["CANARIES", "Canary"]


def __getattr__(name: str) -> Target:
    """`fuzz.canaries:<name>` finds a canary's target."""
    if name in CANARIES:
        return CANARIES[name].target
    raise AttributeError(name)

"""The table of canaries, and the decorator that enters one."""

from collections.abc import Callable
from typing import TypeVar

import torch

from fuzz.canaries.defect import Defect
from fuzz.canaries.naive import NaiveIndexer
from fuzz.targets import Call, Target
from msa_ref.profile import CONTRACT, Profile

CANARIES: dict[str, Defect] = {}
"""Name -> canary."""


def snake_case(name: str) -> str:
    """A class's name as a canary's."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)[1:]


def words_of(indexer: type[NaiveIndexer]) -> tuple[str, str]:
    """A canary's name and sentence: its class's name and docstring."""
    return snake_case(indexer.__name__), (indexer.__doc__ or "").strip()


def enter(
    field_defect: str,
    laws: tuple[str, ...],
    target: Target,
    needs: tuple[str, ...] = (),
    asks: tuple[str, ...] = (),
) -> None:
    """Put a canary into the table, under its target's name. needs, asks: see `Defect`."""
    CANARIES[target.name] = Defect(target.name, "canary", field_defect, target.sentence, laws, target, needs, asks=asks)


Indexer = TypeVar("Indexer", bound=type[NaiveIndexer])


def canary(
    field_defect: str,
    *laws: str,
    takes_score: bool = False,
    needs: tuple[str, ...] = (),
    asks: tuple[str, ...] = (),
    profile: Profile = CONTRACT,
) -> Callable[[Indexer], Indexer]:
    """Enter a broken indexer into the table; its docstring is the sentence.

    takes_score: whether it is given scores, for a defect that no product of queries and keys can show.
    needs, asks: see `Defect`. profile: its promises, where they are not the contract's.
    """

    def enter_class(indexer: Indexer) -> Indexer:
        name, sentence = words_of(indexer)

        def run(call: Call) -> torch.Tensor:
            return indexer(call).answer()

        target = Target(name, sentence, "foreign", run, takes_score, has_splits=True, profile=profile)
        enter(field_defect, laws, target, needs, asks)
        return indexer

    return enter_class

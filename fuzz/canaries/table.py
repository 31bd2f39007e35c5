"""The table of planted defects, and how one enters it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.targets import Call, Target


@dataclass(frozen=True)
class Canary:
    """One planted defect. defect: its row in the list of field defects; laws: those that must catch it."""

    name: str
    defect: str
    sentence: str
    laws: tuple[str, ...]
    target: Target


CANARIES: dict[str, Canary] = {}


def snake_case(name: str) -> str:
    """A class's name as a canary's."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)[1:]


Indexer = TypeVar("Indexer", bound=type[NaiveIndexer])


def canary(defect: str, *laws: str, takes_score: bool = False) -> Callable[[Indexer], Indexer]:
    """Enter a broken indexer into the table; its docstring is the sentence.

    takes_score: it is given scores, for what no product of queries and keys can show.
    """

    def enter(indexer: Indexer) -> Indexer:
        name = snake_case(indexer.__name__)
        sentence = (indexer.__doc__ or "").strip()

        def run(call: Call) -> torch.Tensor:
            return indexer(call).answer()

        target = Target(name, sentence, "foreign", run, takes_score=takes_score, has_splits=True)
        CANARIES[name] = Canary(name, defect, sentence, laws, target)
        return indexer

    return enter

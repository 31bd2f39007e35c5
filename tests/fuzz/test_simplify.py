"""A broken case is made smaller as long as it still breaks, and every field gives way by itself."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any

import pytest

from fuzz.cases.case import Case, EnginePlan, PagePlan, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.simplify import SIMPLER_THAN_DEFAULT, shrink
from msa_ref import IndexerConfig

VIEW = ViewPlan((1, 0, 2), (1, 2, 3), 2, 3, expanded=(0,), gap=4)
FULL = Case(
    IndexerConfig(4, 64, 64, 8, 1, 2),
    (Request(2, 300), Request(1, 90)),
    7,
    "float16",
    ValuePlan("wide", 2, True, True, True, 2.0**60, 20),
    PagePlan("reversed", 2, 3, "random", 1, "bait", 4, True, 2, True, 9, True),
    Views(VIEW, VIEW, VIEW, VIEW, VIEW, VIEW, VIEW, 5, False, "behind", True, 16),
    (0, 7),
    1,
    (Step((Request(1, 80), Request(2, 20)), True, 3, "eager"),),
    4,
    2,
    "noise",
    "inference",
    EnginePlan(2, 1, True, 1, False),
    "a note",
)
"""A case of which no field is at its default."""
TIED = {("engine", "num_layers")}
"""Fields whose default needs that of another: the judged layer must be one of them."""


@dataclass(frozen=True)
class NewerCase(Case):
    """A case with a field that no line of `simplify` knows."""

    colour: str = "none"


def _paths(plan: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Every field with a default, those of plans within plans included."""
    for field in fields(plan):
        if field.default is MISSING:
            continue
        yield (*path, field.name)
        if is_dataclass(value := getattr(plan, field.name)):
            yield from _paths(value, *path, field.name)


def _at(plan: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        plan = getattr(plan, name)
    return plan


def test_a_case_that_always_breaks_becomes_the_plainest() -> None:
    case = shrink(FULL, lambda smaller: True)
    plain = ValuePlan(str(SIMPLER_THAN_DEFAULT["family"]))
    assert case == Case(
        IndexerConfig(1, 16, 16, 1, 0, 0), (Request(0, 0),), 1, values=plain, pages=PagePlan(order="identity")
    )


@pytest.mark.parametrize("path", [path for path in _paths(FULL) if path not in TIED], ids=".".join)
def test_every_field_gives_way_alone(path: tuple[str, ...]) -> None:
    kept = [other for other in _paths(FULL) if other != path[: len(other)] and path != other[: len(path)]]
    kept = [other for other in kept if not is_dataclass(_at(FULL, other))]

    def still_breaks(smaller: Case) -> bool:
        is_other_kept = all(_at(smaller, other) == _at(FULL, other) for other in kept if other[0] != "replay")
        return is_other_kept and smaller.requests == FULL.requests

    assert _at(shrink(FULL, still_breaks), path) != _at(FULL, path)


def test_a_new_field_gives_way_without_a_line() -> None:
    case = NewerCase(FULL.config, FULL.requests, colour="red")
    assert shrink(case, lambda smaller: True).colour == "none"  # type: ignore[attr-defined]


def test_what_must_stay_stays() -> None:
    case = shrink(replace(FULL, replay=()), lambda smaller: smaller.pages.tail == "bait")
    assert case.pages == PagePlan(order="identity", tail="bait")

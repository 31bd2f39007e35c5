"""The one generator of cases, written against a chooser: a specialization first, then everything that varies.

The order of the draws is part of what a seed means.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from fuzz.cases.case import Case, Request, Step
from fuzz.cases.chooser import Chooser, HypothesisChooser, SeededChooser
from fuzz.cases.draw_plans import (
    draw_case_views,
    draw_company,
    draw_first_mode,
    draw_pages,
    draw_split_counts,
    draw_values,
)
from fuzz.cases.draw_requests import MAX_DRAWN_REQS, draw_request, draw_requests
from fuzz.cases.replay_script import draw_script
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization, draw_specializations
from fuzz.values.families import ALL_FAMILIES, FAMILIES, GATE_FAMILIES

MAX_TABLE_CELLS = 2**27
"""Bound on scores, one for each row and column of a block table: 0.5 GiB if a target or a judge keeps all of them."""


def draw_case(
    chooser: Chooser, scale: Scale, specialization: Specialization, families: Sequence[str] = GATE_FAMILIES
) -> Case:
    """One case of a specialization, and what goes on beside its runs."""
    case = _draw_alone(chooser, scale, specialization, families)
    return replace(case, beside=draw_company(chooser, scale), first_mode=draw_first_mode(chooser))


def _draw_alone(chooser: Chooser, scale: Scale, specialization: Specialization, families: Sequence[str]) -> Case:
    """One case of a specialization. The requests come last, so that a failure shrinks to fewer of them."""
    if scale.percent.long and chooser.boolean(scale.percent.long):
        families = ("hashed",)
        percent = replace(scale.percent, many=100)
        scale = replace(scale, max_key_elements=scale.max_long_key_elements, percent=percent)
    kind = chooser.choice(("decode", "decode", "decode", "prefill", "prefill", "mixed"))
    family = chooser.choice(families)
    case = _without_requests(chooser, scale, specialization, family)
    has_replay = kind == "decode" and chooser.boolean(50) and specialization.max_reqs <= MAX_DRAWN_REQS
    requests = draw_requests(chooser, scale, specialization, kind)
    script = _script(chooser, scale, specialization, requests) if has_replay else ()
    case = replace(case, requests=tuple(requests), replay=script)
    if not FAMILIES[family].is_on_device and chooser.boolean(30):
        case = replace(case, values=replace(case.values, is_future_best=True))
    if kind == "decode" and (wider := _with_wide_table(case, specialization.table_blocks)) is not None:
        return wider
    if not chooser.boolean(30):
        return case
    # A table no wider than its longest row: the entry behind that row lies behind the fence, too.
    return replace(case, views=replace(case.views, is_fenced=True), pages=replace(case.pages, extra_blocks=0))


def _without_requests(chooser: Chooser, scale: Scale, specialization: Specialization, family: str) -> Case:
    """A case whose one request is a placeholder."""
    block_size = specialization.config.block_size
    pages = draw_pages(chooser, scale)
    return Case(
        config=specialization.config,
        requests=(Request(0, 0),),
        seed=chooser.integer(1, 2**31 - 1),
        dtype=specialization.dtype,
        values=draw_values(chooser, scale, family, specialization.dtype),
        pages=pages,
        views=draw_case_views(chooser, scale, specialization, is_far=pages.is_far),
        num_splits=draw_split_counts(chooser, scale),
        repeats=int(chooser.boolean(25)),
        host_slack=chooser.choice((1, block_size, 3 * block_size + 1)) if chooser.boolean(40) else 0,
    )


def _with_wide_table(case: Case, table_blocks: int) -> Case | None:
    """The case with a table of at least that many columns; None if it has no such table, or too many scores."""
    num_rows = case.config.num_index_heads * case.total_q
    if not 0 < table_blocks <= MAX_TABLE_CELLS // max(1, num_rows) or case.pages.is_far:
        return None
    behind = table_blocks - (case.max_blocks - case.pages.extra_blocks)
    return replace(case, pages=replace(case.pages, extra_blocks=max(case.pages.extra_blocks, behind)))


def _script(
    chooser: Chooser, scale: Scale, specialization: Specialization, requests: list[Request]
) -> tuple[Step, ...]:
    """Replays of a decode batch, with lengths from the same boundaries as elsewhere."""

    def new_request(req: int, query_len: int) -> Request:
        return draw_request(chooser, scale, specialization, query_len, req)

    return draw_script(chooser, tuple(requests), new_request, scale.max_split_counts + 1)


NUM_SPECIALIZATIONS = 24
"""Specializations that a gate draws at a time: a multiple of the number of options in most columns."""
CASES_EACH = 8
"""Cases of one specialization before others are drawn."""


def gate_cases(seed: int, count: int, scale: Scale) -> Iterator[Case]:
    """The cases of one run: the same for the same seed and scale, anywhere.

    Case number i does not depend on how many cases are asked for.
    """
    drawn: list[Specialization] = []
    for number in range(count):
        if number % (NUM_SPECIALIZATIONS * CASES_EACH) == 0:
            chooser = SeededChooser(seed, f"forms {scale.name} {number}")
            drawn = draw_specializations(chooser, scale, NUM_SPECIALIZATIONS)
        specialization = drawn[number % NUM_SPECIALIZATIONS]
        yield draw_case(SeededChooser(seed, f"case {scale.name} {number}"), scale, specialization)


def by_specialization(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases of `gate_cases`, those of one specialization in one list."""
    groups: dict[tuple[int, int], list[Case]] = {}
    for number, case in enumerate(cases):
        draw, place = divmod(number, NUM_SPECIALIZATIONS)
        groups.setdefault((draw // CASES_EACH, place), []).append(case)
    return list(groups.values())


@st.composite
def cases_of(draw: Any, scale: Scale, specializations: Sequence[Specialization]) -> Case:
    """Cases of a few specializations and of all families, which shrink towards the first specialization."""
    chooser = HypothesisChooser(draw)
    return draw_case(chooser, scale, chooser.choice(specializations), ALL_FAMILIES)

"""The one generator of cases, written against a chooser: a specialization first, then everything that varies.

The order of the draws is part of what a seed means.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from fuzz.cases.case import ALIGNMENTS, Case, EnginePlan, Request, Step, Views
from fuzz.cases.chooser import Chooser, HypothesisChooser, SeededChooser
from fuzz.cases.draw_plans import (
    BETWEEN_WORDS,
    draw_case_views,
    draw_company,
    draw_extra_queries,
    draw_first_mode,
    draw_pages,
    draw_split_counts,
    draw_values,
)
from fuzz.cases.draw_requests import MIN_LONGEST, draw_request, draw_requests, within
from fuzz.cases.draw_steps import draw_engine, draw_steps
from fuzz.cases.inside import families_inside
from fuzz.cases.neighbours import with_neighbours
from fuzz.cases.rare_sizes import rare_case
from fuzz.cases.replay_script import draw_script
from fuzz.cases.scale import Bounds, Scale
from fuzz.cases.specialization import Specialization, draw_specializations, spread
from fuzz.values.families import DRAWN_FAMILIES, FAMILIES
from fuzz.values.family import Lattice
from fuzz.values.shape import Shape

MAX_TABLE_CELLS = 2**27
"""Bound on scores, one for each row and column of a block table: 0.5 GiB if a target or a judge keeps all of them."""


EDGES_OF_MEMORY = {3: "tight", 11: "heads", 19: "table", 27: "table", 5: "plain", 15: "plain", 21: "plain"}
"""Remainder of a seed -> how its case's memory differs from others'."""
KEYS_OF_BYTES = {3: BETWEEN_WORDS[0], 5: BETWEEN_WORDS[1]}
"""Remainder of a seed -> how its case's keys lie, if they are of bytes."""


def draw_case(
    chooser: Chooser,
    scale: Scale,
    specialization: Specialization,
    families: Sequence[str] = DRAWN_FAMILIES,
    kind: str | None = None,
) -> Case:
    """One case of a specialization, and what goes on around it.

    kind: of the scale's, with the first family that is inside its bounds; None to draw both.
    """
    case = _with_edges_of_memory(_draw_alone(chooser, scale, specialization, families, kind), scale)
    case = _aligned(case, scale)
    case = with_neighbours(case, scale, specialization, kind)
    case = _with_a_last_change(case)
    return replace(
        case,
        beside=draw_company(chooser, scale),
        first_mode=draw_first_mode(chooser),
        extra_queries=draw_extra_queries(chooser, scale, case.total_q),
    )


def _draw_alone(
    chooser: Chooser, scale: Scale, specialization: Specialization, families: Sequence[str], kind: str | None
) -> Case:
    """One case of a specialization. The requests come last, so that a failure shrinks to fewer of them."""
    if scale.percent.long and chooser.boolean(scale.percent.long):
        families = ("hashed",)
        percent = replace(scale.percent, many=100)
        scale = replace(scale, max_key_elements=scale.max_long_key_elements, percent=percent)
    is_in_turn = kind is not None
    kind = kind or chooser.choice(scale.kinds[::-1])  # the kind without a replay script first: it is simpler
    bounds = scale.bounds
    # Requests are drawn later: whatever lengths they get, no row has more blocks.
    longest = min(bounds.max_row_blocks, max(*scale.edges, *scale.many_blocks, MIN_LONGEST, 0) + 1)
    shape = Shape.of(specialization.config, longest, specialization.dtype, bounds.max_abs_score)
    fitting = families_inside(families, bounds, shape)
    family = fitting[0] if is_in_turn else chooser.choice(fitting)
    case = _without_requests(chooser, scale, specialization, family, shape)
    if kind == "step":
        first, *more = draw_steps(chooser, scale, specialization)
        engine = draw_engine(chooser, len(first.requests))
        case = replace(case, requests=first.requests, replay=tuple(more), engine=engine)
    else:
        requests = draw_requests(chooser, scale, specialization, kind)
        script = _script(chooser, scale, specialization, requests) if kind == "replay" else ()
        case = replace(case, requests=tuple(requests), replay=script)
    if not FAMILIES[family].is_on_device and chooser.boolean(30):
        case = replace(case, values=replace(case.values, is_future_best=True))
    case = _with_table_inside(case, bounds)
    if kind != "prefill" and (wider := _with_wide_table(case, specialization.table_blocks)) is not None:
        return wider
    if not chooser.boolean(30):
        return case
    # What ends at a fence begins anywhere.
    fence = "in front" if bounds.strides == "aligned" else chooser.choice(("behind", "in front"))
    # A table no wider than its longest row: the entry behind that row lies behind the fence, too.
    return replace(case, views=replace(case.views, fence=fence), pages=replace(case.pages, extra_blocks=0))


def _with_edges_of_memory(case: Case, scale: Scale) -> Case:
    """Some cases are tight, plain, or have expanded queries or table: the seed says which, so that no draw changes.

    Not where a kernel would be compiled for it: there kept cases have expanded tensors.
    """
    kind, keys = EDGES_OF_MEMORY.get(case.seed % 32, ""), KEYS_OF_BYTES.get(case.seed % 8)
    is_free = scale.bounds.strides == "any" and not scale.is_compiled and not case.pages.is_far
    if keys is not None and is_free and case.formats.keys.numbers:
        case = replace(case, views=replace(case.views, index_k_pages=keys))
    if kind == "tight" and not case.pages.is_far:
        return replace(case, pages=replace(case.pages, is_tight=True, spare_pages=0, extra_blocks=0))
    if kind == "plain":
        views = replace(case.views, fence="", is_plain=True)
        if not scale.is_compiled:
            views = Views(extra_rows=views.extra_rows, is_out_given=views.is_out_given, is_plain=True)
            if scale.bounds.is_token_major:
                views = replace(views, out=case.views.out)
        return replace(case, views=views)
    if scale.is_compiled or scale.bounds.strides != "any" or case.values.made_by.is_on_device:
        return case
    if kind == "heads":
        return replace(case, views=replace(case.views, index_q=replace(case.views.index_q, expanded=(1,))))
    if kind == "table" and not case.pages.pool_pages:
        pages = replace(case.pages, shared_blocks=max(1, case.max_row_blocks), repeated_blocks=0)
        return replace(
            case, pages=pages, views=replace(case.views, block_table=replace(case.views.block_table, expanded=(0,)))
        )
    return case


ALIGNED = tuple(align for each in ALIGNMENTS[1:-1] for align in (ALIGNMENTS[-1], each))
"""Alignments of tensors: every one, and most often that of a large cache, for which drivers give pages of 2 MiB."""


def _aligned(case: Case, scale: Scale) -> Case:
    """Every other case, by seed as above, has tensors that begin at multiples of other powers of two.

    Where a kernel is compiled for what an address is a multiple of, tensors with offsets leave a case as it is.
    """
    number, rest = divmod(case.seed, 2)
    plans = [getattr(case.views, name) for name in ("index_q", "index_k_pages", "block_table")]
    if rest or case.views.is_plain or (scale.is_compiled and any(plan.offset for plan in plans)):
        return case
    return replace(case, views=replace(case.views, align=ALIGNED[number % len(ALIGNED)]))


LAST_CHANGES = {0: "turned", 2: "query", 4: "turned", 6: "page"}
"""Remainder of a seed -> what alone a script's last step changes."""


def _with_a_last_change(case: Case) -> Case:
    """Every other script, and all of lattices, end with a step that changes one thing alone: by seed, as above.

    The heads of all queries or of a late one come in reverse order, a late page is negated, or late keys are mixed: of
    lattices, whose sums stay exact. The step has a row with more blocks than slots, whose answer may change.
    """
    kind, is_of_one_head = LAST_CHANGES.get(case.seed % 8), case.config.num_index_heads == 1
    kind = "page" if kind and (is_of_one_head or case.views.index_q.expanded) else kind
    if kind is None and isinstance(case.values.made_by, Lattice) and not case.formats.keys.numbers:
        kind = "keys"
    is_kept = not case.replay or case.engine != EnginePlan() or not any(map(case.has_choice, case.states[-1].requests))
    if not kind or is_kept or (kind in ("page", "keys") and case.pages.is_far):
        return case
    is_turned, late = kind == "turned", "" if kind == "turned" else kind
    last = replace(case.replay[-1], is_remapped=False, between="", is_turned=is_turned, late=late)
    return replace(case, replay=(*case.replay, last))


def _with_table_inside(case: Case, bounds: Bounds) -> Case:
    """The case with no wider table, and no longer rows to the host's knowledge, than the bounds allow."""
    room = bounds.max_table_blocks - max(1, case.max_row_blocks)
    spare = bounds.max_row_blocks * case.config.block_size - max(
        request.seq_len for state in case.states for request in state.requests
    )
    pages = replace(case.pages, extra_blocks=min(case.pages.extra_blocks, room))
    return replace(case, pages=pages, host_slack=min(case.host_slack, spare))


def _without_requests(
    chooser: Chooser, scale: Scale, specialization: Specialization, family: str, shape: Shape
) -> Case:
    """A case whose one request is a placeholder."""
    block_size = specialization.config.block_size
    pages = draw_pages(chooser, scale)
    return Case(
        config=specialization.config,
        requests=(Request(0, 0),),
        seed=chooser.integer(1, 2**31 - 1),
        dtype=specialization.dtype,
        values=draw_values(chooser, scale, family, shape),
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

    def inside(request: Request) -> Request:
        return within(scale, specialization.config, request)

    max_query_len = 0 if scale.bounds.is_uniform else max(scale.decode_query_lens)
    block_size, max_steps = specialization.config.block_size, scale.max_split_counts + 1
    return draw_script(chooser, tuple(requests), new_request, max_steps, block_size, max_query_len, inside)


NUM_SPECIALIZATIONS = 24
"""Specializations that a gate draws at a time: a multiple of the number of options in most columns."""
CASES_EACH = 6
"""Cases of one specialization and one kind before others are drawn."""


def gate_cases(seed: int, count: int, scale: Scale) -> Iterator[Case]:
    """The cases of one run: the same for the same seed and scale, anywhere.

    Case number i does not depend on how many cases are asked for. The cases of one kind are the same for scales that
    differ in their kinds alone.
    """
    for _, case in _numbered(seed, count, scale):
        yield case


def by_specialization(seed: int, count: int, scale: Scale) -> list[list[tuple[int, Case]]]:
    """The cases of `gate_cases` with their numbers, those of one specialization in one list."""
    groups: dict[int, list[tuple[int, Case]]] = {}
    for number, (place, case) in enumerate(_numbered(seed, count, scale)):
        groups.setdefault(place, []).append((number, case))
    return list(groups.values())


def _numbered(seed: int, count: int, scale: Scale) -> Iterator[tuple[int, Case]]:
    """Every case with the number of its specialization."""
    drawn, numbers = list[Specialization](), Counter[str]()
    for i in range(count):
        kind = scale.kinds[i % len(scale.kinds)]
        number = numbers[kind]
        numbers[kind] += 1
        draw, place = divmod(number, NUM_SPECIALIZATIONS * CASES_EACH)
        place = draw * NUM_SPECIALIZATIONS + place % NUM_SPECIALIZATIONS
        while place >= len(drawn):
            chooser = SeededChooser(seed, f"forms {scale.name} {len(drawn)}")
            drawn += draw_specializations(chooser, scale, NUM_SPECIALIZATIONS)
        chooser = SeededChooser(seed, f"{kind} {scale.name} {number}")
        families = _families_in_turn(seed, kind, number)
        # Every other case of fp32 has queries of all 24 bits, which no other format has.
        if drawn[place].dtype == "float32" and (number + number // NUM_SPECIALIZATIONS) % 2 == 0:
            families = ["full_width", *families]
        case = draw_case(chooser, scale, drawn[place], families, kind)
        yield place, rare_case(chooser, scale, kind, number, case)


def _families_in_turn(seed: int, kind: str, number: int) -> list[str]:
    """The gate's families, first the one whose turn it is: all in one order, and then in another."""
    cycle, place = divmod(number, len(DRAWN_FAMILIES))
    order = spread(SeededChooser(seed, f"families {kind} {cycle}"), DRAWN_FAMILIES, len(DRAWN_FAMILIES))
    return order[place:] + order[:place]


@st.composite
def cases_of(draw: Any, scale: Scale, specializations: Sequence[Specialization]) -> Case:
    """Cases of a few specializations and of all families, which shrink towards the first specialization."""
    chooser = HypothesisChooser(draw)
    return draw_case(chooser, scale, chooser.choice(specializations), DRAWN_FAMILIES)

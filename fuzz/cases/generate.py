"""The one generator of cases, written against a chooser: a form first (see `specialization`), then all that varies."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from fuzz.cases.case import BEHIND, PAGE_ORDERS, TAILS, Case, PagePlan, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.chooser import Chooser, HypothesisChooser, SeededChooser
from fuzz.cases.replay_script import draw_script
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Form, draw_forms, draw_views
from fuzz.values.families import EXACT_FAMILIES, FAMILIES
from fuzz.values.family import Lattice
from msa_ref.formats import ELEMENTS

FEW_SPLITS = (1, 2, 3, 4, 5, 7, 8, 16)
MANY_SPLITS = (31, 64, 255, 256)
MOST_DRAWN = 8
"""Requests of a batch that are drawn one by one; in a larger batch, all but the first of them recur."""
MOST_TABLE_CELLS = 2**27
"""Scores, one for each row and column of a block table: 0.5 GiB where a target or a judge keeps all of them."""
GATE_FAMILIES = tuple(name for name in EXACT_FAMILIES if not FAMILIES[name].is_on_device)
"""What the gate draws from: families whose sums are exact. `hashed` is for long rows alone."""

ALL_FAMILIES = tuple(name for name in FAMILIES if not FAMILIES[name].is_on_device)


def draw_case(chooser: Chooser, scale: Scale, form: Form, families: Sequence[str] = GATE_FAMILIES) -> Case:
    """One case of a form. The requests come last, so that a failure shrinks to fewer of them."""
    if scale.long_percent and chooser.boolean(scale.long_percent):
        families = ("hashed",)
        scale = replace(scale, max_key_elements=scale.long_key_elements, many_percent=100)
    kind = chooser.choice(("decode", "decode", "decode", "prefill", "prefill", "mixed"))
    family = chooser.choice(families)
    pages = _pages(chooser, scale)
    case = Case(
        config=form.config,
        requests=(Request(0, 0),),
        seed=chooser.integer(1, 2**31 - 1),
        dtype=form.dtype,
        values=_values(chooser, scale, family, form.dtype),
        pages=pages,
        views=_views(chooser, scale, form, is_far=pages.is_far),
        num_splits=_split_counts(chooser, scale),
        repeats=int(chooser.boolean(25)),
        host_slack=chooser.choice((1, form.config.block_size, 3 * form.config.block_size + 1))
        if chooser.boolean(40)
        else 0,
    )
    has_replay = kind == "decode" and chooser.boolean(50) and form.most_reqs <= MOST_DRAWN
    requests = _requests(chooser, scale, form, kind)
    script = _script(chooser, scale, form, requests) if has_replay else ()
    case = replace(case, requests=tuple(requests), replay=script)
    if not FAMILIES[family].is_on_device and chooser.boolean(30):
        case = replace(case, values=replace(case.values, is_future_best=True))
    num_rows = form.config.num_index_heads * case.total_q
    if kind == "decode" and 0 < form.table_blocks <= MOST_TABLE_CELLS // max(1, num_rows) and not pages.is_far:
        behind = form.table_blocks - (case.max_blocks - pages.extra_blocks)
        return replace(case, pages=replace(pages, extra_blocks=max(pages.extra_blocks, behind)))
    if not chooser.boolean(30):
        return case
    # A table no wider than its longest row: the entry behind it lies behind the fence, too.
    return replace(case, views=replace(case.views, is_fenced=True), pages=replace(pages, extra_blocks=0))


def _requests(chooser: Chooser, scale: Scale, form: Form, kind: str) -> list[Request]:
    is_idle = chooser.boolean(4)  # a batch without a query: nothing to answer, nothing to trip over
    most = form.most_reqs if kind == "decode" else min(form.most_reqs, MOST_DRAWN)
    num_reqs = chooser.integer(most // 2 + 1, most)
    requests = []
    for req in range(min(num_reqs, MOST_DRAWN)):
        is_decode = kind == "decode" or (kind == "mixed" and req == 0)
        query_len = form.decode_query_len if is_decode else _prefill_len(chooser, scale, form)
        if chooser.boolean(15):
            query_len = chooser.integer(0, query_len)
        query_len = 0 if is_idle else query_len
        requests.append(_request(chooser, scale, form, query_len, req == 0))
    return requests + [requests[1 + i % (MOST_DRAWN - 1)] for i in range(num_reqs - MOST_DRAWN)]


def _split_counts(chooser: Chooser, scale: Scale) -> tuple[int, ...]:
    """The target's own choice, one of ours, or both; several of ours where runs are cheap."""
    counts = tuple(
        chooser.choice(MANY_SPLITS if chooser.boolean(scale.many_percent) else FEW_SPLITS)
        for _ in range(scale.max_split_counts)
    )
    return chooser.choice(((0,), counts, (0, *counts)))


def _prefill_len(chooser: Chooser, scale: Scale, form: Form) -> int:
    size = form.config.block_size
    short = [1, 2, 9, 17, 33, size - 1, size, size + 1, chooser.integer(1, scale.prefill_lens)]
    # Tokens with whole blocks between them: rows of one tile see quite different numbers of blocks.
    options = [3 * size + 2, 4 * size - 1, 5 * size] if chooser.boolean(scale.across_percent) else short
    lengths = [length for length in options if 0 < length <= scale.prefill_lens]
    return chooser.choice(lengths or [scale.prefill_lens])


def _request(chooser: Chooser, scale: Scale, form: Form, query_len: int, is_first: bool) -> Request:
    """Lengths around every boundary: of a block, of the context, of topk_blocks, of the query."""
    config = form.config
    size = config.block_size
    if chooser.boolean(10):
        return Request(query_len, chooser.integer(0, query_len))  # padding, or shorter than its query
    # One request in a case may be long: it has half of the keys, the others share the rest.
    keys = scale.max_key_elements // (2 if is_first else 2 * form.most_reqs)
    most = max(
        2, min(keys // (size * config.index_head_dim), scale.max_cells // max(1, query_len * config.num_index_heads))
    )
    edges = [edge for edge in _edges_of_runs(config.topk_blocks) if edge <= min(most, max(scale.edges))]
    # Whole blocks lie between its tokens: they are to see quite different numbers, on both sides of an edge.
    if query_len > 2 * size and edges and chooser.boolean(75):
        return Request(query_len, chooser.choice(edges) * size + chooser.integer(0, query_len))
    blocks = _blocks(chooser, scale, config.topk_blocks, most)
    rest = chooser.choice((0, 1, size - 1, chooser.integer(0, size - 1)))
    match chooser.choice(("last", "first", "both sides")):
        case "last":  # the last token sees so many blocks
            return Request(query_len, max(0, blocks * size - rest))
        case "first":  # the first one does, or is about to
            return Request(query_len, max(0, (blocks - 1) * size) + rest + query_len)
    # Tokens see fewer and more.
    return Request(query_len, blocks * size + (chooser.integer(0, query_len) if blocks else query_len))


def _edges_of_runs(topk_blocks: int) -> list[int]:
    """Blocks that are just as many runs of 2, 4, 8 .. as are kept, rounded up to a power of two."""
    return [(1 << (topk_blocks - 1).bit_length()) * length for length in (2, 4, 8, 16)]


def _blocks(chooser: Chooser, scale: Scale, topk_blocks: int, most: int) -> int:
    """A number of blocks: at an edge of the kernels' ways, where slots get scarce, or large."""
    k = topk_blocks
    many = [n for n in scale.many_blocks if n <= most]
    if many and chooser.boolean(scale.many_percent):
        return chooser.choice(many)
    # Up to about 2K blocks there are hardly more candidates than slots.
    edges = [n for n in scale.edges if k + 2 < n <= most]
    if edges and chooser.boolean():
        return chooser.choice(edges)
    return min(most, chooser.choice((k + 1, k, k - 1, k + 2, 2 * k + 1, 1, 2, 3, 0, 5)))


def _values(chooser: Chooser, scale: Scale, family: str, dtype: str) -> ValuePlan:
    log2_scale = _log2_scale(chooser, family, dtype)
    is_negative = (
        scale.negative_percent > 0 and isinstance(FAMILIES[family], Lattice) and chooser.boolean(scale.negative_percent)
    )
    return ValuePlan(family, log2_scale, is_negative)


def _log2_scale(chooser: Chooser, family: str, dtype: str) -> int:
    if not isinstance(FAMILIES[family], Lattice) or chooser.boolean(70):
        return 0
    # A narrow format holds neither large nor small powers of two beside `wide` integers.
    row = ELEMENTS[dtype]
    high = min(40, int(math.log2(row.max_power)) - row.precision)  # the widest integer still fits
    low = max(-40, -2 * high, int(math.log2(row.subnormal_step)))
    return chooser.integer(low, high)


def _pages(chooser: Chooser, scale: Scale) -> PagePlan:
    is_far = scale.has_far_pages and chooser.boolean(2)
    return PagePlan(
        order=chooser.choice(PAGE_ORDERS),
        spare_pages=chooser.integer(4 if is_far else 0, 6),
        extra_blocks=chooser.choice((0, 1) if is_far else (0, 1, 3, 16, 130)),
        behind=chooser.choice(BEHIND),
        shared_blocks=chooser.choice((0, 0, 1, 3)),
        tail=chooser.choice(TAILS),
        is_far=is_far,
    )


def _views(chooser: Chooser, scale: Scale, form: Form, is_far: bool) -> Views:
    views = form.views if form.views is not None else draw_views(chooser, scale)
    return replace(
        views,
        index_k_pages=ViewPlan() if is_far else views.index_k_pages,
        extra_rows=chooser.choice((0, 0, 1, 5)),
        is_out_given=chooser.boolean(80),
    )


def _script(chooser: Chooser, scale: Scale, form: Form, requests: list[Request]) -> tuple[Step, ...]:
    """Replays of a decode batch, with lengths from the same boundaries as elsewhere."""

    def new_request(req: int, query_len: int) -> Request:
        return _request(chooser, scale, form, query_len, req == 0)

    return draw_script(chooser, tuple(requests), new_request, scale.max_split_counts + 1)


NUM_FORMS = 24
"""Forms at a time of a gate run; a multiple of most dimensions' sizes."""
CASES_OF_A_FORM = 8
"""Cases of one form before others are drawn."""


def gate_cases(seed: int, count: int, scale: Scale) -> Iterator[Case]:
    """The cases of one run: the same for the same seed, count of forms and scale, anywhere.

    Case number i does not depend on how many cases are asked for.
    """
    forms: list[Form] = []
    for number in range(count):
        if number % (NUM_FORMS * CASES_OF_A_FORM) == 0:
            forms = draw_forms(SeededChooser(seed, f"forms {scale.name} {number}"), scale, NUM_FORMS)
        yield draw_case(SeededChooser(seed, f"case {scale.name} {number}"), scale, forms[number % NUM_FORMS])


def by_form(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases of `gate_cases`, those of one form in one list."""
    forms: dict[tuple[int, int], list[Case]] = {}
    for number, case in enumerate(cases):
        draw, place = divmod(number, NUM_FORMS)
        forms.setdefault((draw // CASES_OF_A_FORM, place), []).append(case)
    return list(forms.values())


@st.composite
def cases_of_forms(draw: Any, scale: Scale, forms: Sequence[Form]) -> Case:
    """Cases of a few forms, which shrink towards the first form. Families whose sums round are among them."""
    chooser = HypothesisChooser(draw)
    return draw_case(chooser, scale, chooser.choice(forms), ALL_FAMILIES)

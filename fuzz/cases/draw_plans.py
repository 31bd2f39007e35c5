"""Draws the plans of a case: which values its tensors hold, and how they lie in memory."""

import math
from dataclasses import replace

from fuzz.cases.case import BEHIND, PAGE_ORDERS, TAILS, PagePlan, ValuePlan, ViewPlan, Views
from fuzz.cases.chooser import Chooser
from fuzz.cases.scale import Bounds, Scale
from fuzz.cases.specialization import Specialization, draw_views
from fuzz.values.families import FAMILIES
from fuzz.values.family import Family, Lattice
from fuzz.values.shape import Shape
from msa_ref.formats import FORMAT_PAIRS

FEW_SPLITS = (1, 2, 3, 4, 5, 7, 8, 16)
MANY_SPLITS = (31, 64, 255, 256)
BETWEEN_WORDS = (ViewPlan(offset=4), ViewPlan(gap=4))
"""Views of keys of bytes, of which a kernel may read eight at once: they, or their pages, begin between such words."""
MAX_LOG2_SCALE = 40
"""Bound on the magnitude of log2 of the factor that keys are multiplied by."""
LOG2_QUERIES = (20, -40)
"""log2 of factors for queries that have more exponents than keys: beyond those of fp16, either way."""


def draw_values(chooser: Chooser, scale: Scale, family: str, shape: Shape) -> ValuePlan:
    """The values of a family; those of a lattice may be scaled, or have no score above 0."""
    made_by, bounds = FAMILIES[family], scale.bounds
    plan = ValuePlan(family, is_finite=not bounds.has_nonfinite, max_abs_score=bounds.max_abs_score)
    if not isinstance(made_by, Lattice):
        return plan
    log2_scale = 0
    if made_by.is_scalable and not chooser.boolean(70):
        log2_scale = chooser.integer(*log2_scales(shape.formats))
    if made_by.has_nonfinite and not shape.format.has_infinities:
        log2_scale = min(log2_scale, 0)  # its greatest number stands where others have infinities
    if bounds.max_abs_score is not None:
        log2_scale = min(log2_scale, made_by.log2_inside(shape))
    is_negative = scale.percent.negative > 0 and chooser.boolean(scale.percent.negative)
    log2_queries = chooser.choice((0, *LOG2_QUERIES)) if may_scale_queries(made_by, bounds, shape.formats) else 0
    return replace(plan, log2_scale=log2_scale, is_negative=is_negative, log2_queries=log2_queries)


def may_scale_queries(family: Family, bounds: Bounds, formats: str) -> bool:
    """True if queries of a family may be multiplied by a power of two: if they have more exponents than keys."""
    pair = FORMAT_PAIRS[formats]
    is_wide = pair.queries.num_bytes > pair.keys.num_bytes
    return is_wide and family.is_scalable and bounds.max_abs_score is None


def log2_scales(formats: str) -> tuple[int, int]:
    """Bounds on the log2 of a factor. A narrow format has no room for large or small ones beside those of `wide`."""
    row = FORMAT_PAIRS[formats].keys
    high = min(MAX_LOG2_SCALE, int(math.log2(row.max_power)) - row.precision)
    return max(-MAX_LOG2_SCALE, -2 * high, int(math.log2(row.subnormal_step))), high


def draw_pages(chooser: Chooser, scale: Scale) -> PagePlan:
    """The pages of blocks, and the poison around them."""
    is_far = scale.has_far_pages and chooser.boolean(scale.percent.far)
    return PagePlan(
        order=chooser.choice(PAGE_ORDERS),
        spare_pages=chooser.integer(4 if is_far else 0, 6),
        extra_blocks=chooser.choice((0, 1) if is_far else (0, 1, 3, 16, 130)),
        behind=chooser.choice(BEHIND),
        shared_blocks=chooser.choice((0, 1, 3)),
        tail=chooser.choice(TAILS),
        is_far=is_far,
        repeated_blocks=chooser.choice((0, 0, 1, 5)),
    )


def draw_case_views(chooser: Chooser, scale: Scale, specialization: Specialization, is_far: bool) -> Views:
    """The views of a case: those of its specialization, if that has any, and the case's own `out` and guards."""
    views = specialization.views if specialization.views is not None else draw_views(chooser, scale)
    return replace(
        views,
        index_k_pages=ViewPlan() if is_far else views.index_k_pages,
        extra_rows=chooser.choice((0, 0, 1, 5)),
        is_out_given=chooser.boolean(80),
    )


def draw_company(chooser: Chooser, scale: Scale) -> str:
    """The work that goes on beside further runs, mostly none."""
    is_alone = scale.percent.company == 0 or not chooser.boolean(scale.percent.company)
    return "" if is_alone else chooser.choice(("late producer", "noise"))


def draw_extra_queries(chooser: Chooser, scale: Scale, total_q: int) -> int:
    """Rows of `index_q` behind the last request's tokens: some in every other case where a target takes them."""
    room = scale.bounds.max_total_q - total_q
    if not scale.bounds.has_padded_queries or room < 1 or chooser.boolean(50):
        return 0
    return min(room, chooser.choice((1, 3, 8)))


def draw_first_mode(chooser: Chooser) -> str:
    """The mode of a case's first run, mostly none."""
    return "inference" if chooser.boolean(8) else ""


def draw_split_counts(chooser: Chooser, scale: Scale) -> tuple[int, ...]:
    """The target's own choice, one of ours, or both; several of ours where runs are cheap."""
    counts = tuple(
        chooser.choice(MANY_SPLITS if chooser.boolean(scale.percent.many_splits) else FEW_SPLITS)
        for _ in range(scale.max_split_counts)
    )
    return chooser.choice(((0,), counts, (0, *counts)))

"""Projects a case into what a target promises, where its point survives: the same blocks, ties and changes.

A kept case was shrunk to the least that shows a defect, in sizes that a target may not take. Its lengths are kept in
blocks, counted from the number of slots, and its values by their family.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from fuzz.cases.case import Case, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.draw_plans import log2_scales, may_scale_queries
from fuzz.cases.engine_steps import order_fault, query_lens_of
from fuzz.cases.inside import Domain, bounds_of
from fuzz.cases.promised import outside
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN, Bounds
from fuzz.values.shape import Shape
from msa_ref import IndexerConfig
from msa_ref.config import require
from msa_ref.formats import FORMAT_PAIRS, FormatPair


def project(case: Case, domain: Domain) -> Case:
    """The case inside a domain; itself, if it is inside already.

    Raises:
        ValueError: one sentence, if something of it that a target promises nothing for is its point.
    """
    if _reason(case, domain) is None:
        return case
    bounds, config = bounds_of(domain), _config(case.config, domain)
    resized = tuple(_resized(step, case.config, config, domain, bounds) for step in case.states)
    projected = replace(
        case,
        config=config,
        requests=resized[0].requests,
        replay=resized[1:],
        dtype=_dtype(case.dtype, domain),
        views=_views(case.views, bounds),
        host_slack=case.host_slack * config.block_size // case.config.block_size,
    )
    room = bounds.max_table_blocks - max(1, projected.max_row_blocks)
    pages = replace(case.pages, extra_blocks=min(case.pages.extra_blocks, room))
    projected = replace(projected, pages=pages, values=_values(projected, bounds))
    reason = _reason(projected, domain)
    require(reason is None, "case", "must have a point that survives in the target's promises", reason)
    return projected


def _reason(case: Case, domain: Domain) -> str | None:
    """The reason why a case is outside a domain; None if it is inside."""
    if domain.is_decode and case.decode_query_len > MAX_DECODE_QUERY_LEN:
        return f"it has more than {MAX_DECODE_QUERY_LEN} query tokens of a request"
    if domain.is_step and (told := order_fault(query_lens_of(case))) is not None:
        return told
    bounds = bounds_of(domain)
    if bounds.max_abs_score is not None and case.values != _values(case, bounds):
        return f"it may have scores beyond {bounds.max_abs_score:g}"
    return outside(case, domain.profile, domain.takes_score)


def _config(old: IndexerConfig, domain: Domain) -> IndexerConfig:
    """The nearest config that is promised. What is forced stays forced."""
    profile = domain.profile
    init = _nearest(old.init_blocks, profile.init_blocks, "init_blocks", stays_positive=True)
    local = _nearest(old.local_blocks, profile.local_blocks, "local_blocks", stays_positive=True)
    slots = profile.topk_blocks
    if slots is not None:
        slots = tuple(topk for topk in slots if topk >= init + local)
    topk = max(_nearest(old.topk_blocks, slots, "topk_blocks"), init + local)
    return IndexerConfig(
        _nearest(old.num_index_heads, profile.num_index_heads, "num_index_heads"),
        _nearest(old.index_head_dim, profile.index_head_dims, "index_head_dim"),
        _nearest(old.block_size, profile.block_sizes, "block_size"),
        topk,
        init,
        local,
    )


def _nearest(value: int, allowed: Iterable[int] | None, name: str, stays_positive: bool = False) -> int:
    """The allowed value whose ratio to `value` is nearest to 1."""
    if allowed is None:
        return value
    left = [one for one in allowed if one > 0 or not (stays_positive and value > 0)]
    require(bool(left), name, "must have a value that the target takes", value)
    return min(left, key=lambda one: (abs(math.log2((one + 1) / (value + 1))), one))


def _dtype(name: str, domain: Domain) -> str:
    """The format that is promised and nearest in precision, itself if it is promised."""
    taken = [pair for pair in FORMAT_PAIRS.values() if domain.profile.takes_formats(pair)]
    own = FORMAT_PAIRS[name]

    def distance(pair: FormatPair) -> tuple[int, bool]:
        return (
            abs(pair.keys.precision - own.keys.precision) + abs(pair.queries.precision - own.queries.precision),
            pair != own,
        )

    return min(taken, key=distance).name


def _resized(step: Step, old: IndexerConfig, new: IndexerConfig, domain: Domain, bounds: Bounds) -> Step:
    """A state with lengths of as many blocks, of the new size, and no more tokens and requests than promised."""
    profile = domain.profile
    longest = min(profile.max_query_len or bounds.max_total_q, bounds.max_total_q // max(1, len(step.requests)))
    if domain.is_decode:
        longest = min(longest, MAX_DECODE_QUERY_LEN)
    lens = [min(request.query_len, longest) for request in step.requests]
    if bounds.is_uniform and lens:
        lens = [max(lens)] * len(lens)
    requests = []
    for query_len, request in zip(lens, step.requests, strict=True):
        seq_len = _seq_len(replace(request, query_len=query_len), old, new)
        seq_len = max(seq_len if bounds.has_padding else max(seq_len, query_len), 0)
        requests.append(Request(query_len, min(seq_len, bounds.max_row_blocks * new.block_size)))
    return replace(step, requests=tuple(requests[: profile.max_num_reqs or len(requests)]))


def _seq_len(request: Request, old: IndexerConfig, new: IndexerConfig) -> int:
    """The length of a request in blocks of a new size.

    A query that reaches into the block before its last does so by as many tokens as before.
    """
    if request.seq_len == 0 or (old.block_size == new.block_size and old.topk_blocks == new.topk_blocks):
        return request.seq_len
    full, rest = divmod(request.seq_len - 1, old.block_size)
    rest, size = rest + 1, new.block_size
    if full + 1 >= old.topk_blocks:
        full += new.topk_blocks - old.topk_blocks  # as many more blocks than slots, if any
    if rest <= request.query_len or rest == 1:
        rest = min(rest, size)
    elif rest == old.block_size:
        rest = size
    else:
        rest = min(size, max(request.query_len + 1, rest * size // old.block_size))
    return full * size + rest


def _views(views: Views, bounds: Bounds) -> Views:
    """The views with the strides that are promised."""
    if bounds.strides == "any":
        return views
    return Views(
        out=ViewPlan(axes=(1, 0, 2)) if bounds.is_token_major else ViewPlan(),
        extra_rows=views.extra_rows,
        is_out_given=views.is_out_given,
        fence="in front" if views.fence and bounds.strides == "aligned" else views.fence,
        is_plain=views.is_plain,
        align=views.align,
    )


def _values(case: Case, bounds: Bounds) -> ValuePlan:
    """The values of a case, its scores within the promised range."""
    values = case.values
    shape = Shape.of(case.config, case.max_row_blocks, case.dtype, bounds.max_abs_score)
    log2_scale = values.log2_scale
    if values.made_by.is_scalable:
        low, high = log2_scales(case.dtype)
        log2_scale = max(low, min(high, log2_scale))
        if bounds.max_abs_score is not None:
            log2_scale = min(log2_scale, values.made_by.log2_inside(shape))
    is_finite = values.is_finite or not bounds.has_nonfinite
    is_scaled = may_scale_queries(values.made_by, bounds, case.dtype)
    return replace(
        values,
        log2_scale=log2_scale,
        is_finite=is_finite,
        max_abs_score=bounds.max_abs_score,
        log2_queries=values.log2_queries if is_scaled else 0,
    )

"""Drawn inside: narrows a scale to the promises of a target, so that only cases that it answers are drawn.

The promise wins over the scale: where a target takes none of the scale's options, its own are drawn.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from fuzz.cases.scale import MAX_DECODE_QUERY_LEN, Bounds, Scale
from fuzz.values.families import FAMILIES
from fuzz.values.shape import Shape
from msa_ref import IndexerConfig
from msa_ref.formats import FORMAT_PAIRS
from msa_ref.profile import CONTRACT, Profile

MAX_OWN_OPTIONS = 4
"""Bound on a promised set whose values are all drawn, whatever the scale's options. Of a larger set both ends are."""
ODD_SIZES = (48, 80, 192, 256)
"""Head dims and block sizes beside those of a scale: no powers of two, and more than a tile of 128 holds."""
UNBOUNDED = 2**30
"""Stands for a limit that a profile does not set: more than any case has."""
ALL_KINDS = ("replay", "prefill", "decode", "prefill")
DECODE_KINDS = ("replay", "decode", "decode")
STEP_KINDS = ("step",)


@dataclass(frozen=True)
class Domain:
    """The cases that a target takes, as far as its own data say. Targets of one domain share their cases.

    is_decode: only batches of few query tokens per request.
    takes_score: it is given scores, which its profile may limit, too.
    is_step: only decode-first batches, as an engine's steps.
    has_odd_sizes: whether head dims and block sizes that the suite's own kernels refuse are drawn where none is ruled
        out: no powers of two, and above 128.
    """

    profile: Profile = CONTRACT
    is_decode: bool = False
    takes_score: bool = False
    is_step: bool = False
    has_odd_sizes: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cases that are drawn for it, in turn."""
        if self.is_step:
            return STEP_KINDS
        longest = self.profile.max_query_len
        is_short = longest is not None and longest <= MAX_DECODE_QUERY_LEN
        return DECODE_KINDS if self.is_decode or is_short else ALL_KINDS


@cache
def bounds_of(domain: Domain) -> Bounds:
    """The limits that a domain sets to every case."""
    profile = domain.profile
    max_table_blocks = _limit(profile.max_table_blocks)
    return Bounds(
        init_blocks=profile.init_blocks,
        local_blocks=profile.local_blocks,
        max_total_q=_limit(profile.max_total_q),
        max_row_blocks=min(_limit(profile.max_visible_blocks), max_table_blocks),
        max_table_blocks=max_table_blocks,
        is_uniform=profile.query_lens == "uniform",
        has_padding=profile.padding_rows == "pad",
        has_padded_queries=profile.padded_queries == profile.padding_rows == "pad",
        strides=profile.strides,
        is_token_major=profile.strides != "any" and profile.axes == "token-major",
        has_nonfinite=_takes_nonfinite(domain),
        has_subnormals=profile.subnormals == "kept" or domain.takes_score,
        max_abs_score=profile.max_abs_score,
        profile=replace(profile, name=CONTRACT.name),
    )


def inside(scale: Scale, domain: Domain) -> Scale:
    """The scale, with the options and bounds of a domain."""
    profile, bounds = domain.profile, bounds_of(domain)
    max_query_len = min(_limit(profile.max_query_len), bounds.max_total_q)
    max_reqs = min(_limit(profile.max_num_reqs), bounds.max_total_q)
    min_forced = min(profile.init_blocks or (0,)) + min(profile.local_blocks or (0,))
    head_dims = _narrowed(scale.head_dims, profile.index_head_dims)
    dtypes = [
        name
        for name, pair in FORMAT_PAIRS.items()
        if profile.takes_formats(pair) and not any(dim % pair.keys.group for dim in head_dims)
    ]
    return replace(
        scale,
        heads=_narrowed(scale.heads, profile.num_index_heads),
        head_dims=head_dims,
        block_sizes=_narrowed(scale.block_sizes, profile.block_sizes),
        odd_head_dims=_odd(domain, profile.index_head_dims),
        odd_block_sizes=_odd(domain, profile.block_sizes),
        topk=_narrowed(scale.topk, profile.topk_blocks, lambda topk: topk >= min_forced),
        dtypes=tuple(name for name in scale.dtypes if name in dtypes) or tuple(dtypes),
        max_reqs=_at_most(scale.max_reqs, max_reqs),
        decode_query_lens=_at_most(scale.decode_query_lens, max_query_len),
        table_blocks=_at_most(scale.table_blocks, bounds.max_table_blocks),
        edges=tuple(edge for edge in scale.edges if edge <= bounds.max_row_blocks),
        many_blocks=tuple(many for many in scale.many_blocks if many <= bounds.max_row_blocks),
        max_prefill_len=min(scale.max_prefill_len, max_query_len),
        has_far_pages=scale.has_far_pages and profile.strides == "any",
        bounds=bounds,
        kinds=domain.kinds,
    )


def takes_own_config(scale: Scale) -> bool:
    """True if MiniMax-M3's own config, with one of its numbers of heads, is inside."""
    own, bounds = IndexerConfig(), scale.bounds
    return (
        not set(OWN_HEADS).isdisjoint(scale.heads)
        and not set(OWN_DTYPES).isdisjoint(scale.dtypes)
        and own.index_head_dim in scale.head_dims
        and own.block_size in scale.block_sizes
        and own.topk_blocks in scale.topk
        and own.init_blocks in (bounds.init_blocks or (own.init_blocks,))
        and own.local_blocks in (bounds.local_blocks or (own.local_blocks,))
    )


OWN_HEADS = (4, 2, 1)
"""MiniMax-M3's index heads on one rank, with 1, 2 and 4 ranks."""
OWN_DTYPES = ("bfloat16", "float8_e4m3fn", "bfloat16/float8_e4m3fn", "float8_e4m3fn/nvfp4")
"""Formats of queries and keys in which it is deployed."""


def families_inside(families: Sequence[str], bounds: Bounds, shape: Shape) -> tuple[str, ...]:
    """The families whose values are within the bounds, perhaps after scaling; `few_values` if there is none."""

    def fits(name: str) -> bool:
        family = FAMILIES[name]
        is_allowed = (bounds.has_nonfinite or not family.has_nonfinite) and family.is_held(shape)
        is_allowed &= bounds.has_subnormals or not family.has_subnormals
        least = int(math.log2(shape.format.subnormal_step)) if family.is_scalable else 0
        return is_allowed and family.log2_inside(shape) >= least

    return tuple(filter(fits, families)) or ("few_values",)


def _takes_nonfinite(domain: Domain) -> bool:
    profile = domain.profile
    nan, infinities = profile.nan, profile.infinities
    if domain.takes_score:
        nan, infinities = profile.score_nan, profile.score_infinities
    return nan == "minus-inf" and infinities == "ordinary"


def _limit(limit: int | None) -> int:
    return UNBOUNDED if limit is None else limit


def _at_most(options: Iterable[int], limit: int) -> tuple[int, ...]:
    """The options, larger ones lowered to the limit."""
    return tuple(min(option, limit) for option in options)


def _odd(domain: Domain, allowed: tuple[int, ...] | None) -> tuple[int, ...]:
    """The odd head dims, or block sizes, of a domain."""
    if allowed is None:
        return ODD_SIZES if domain.has_odd_sizes else ()
    return tuple(size for size in ODD_SIZES if size in allowed)


def _narrowed(
    options: tuple[int, ...], allowed: tuple[int, ...] | None, is_possible: Callable[[int], bool] = lambda _: True
) -> tuple[int, ...]:
    """The options that are allowed, and allowed values that the scale lacks: all if few are allowed, else both ends."""
    if allowed is None:
        return tuple(filter(is_possible, options))
    possible = sorted(filter(is_possible, allowed))
    own = possible if len(possible) <= MAX_OWN_OPTIONS else [possible[0], possible[-1]]
    inner = [option for option in options if option in possible]
    return (*inner, *(value for value in own if value not in inner))

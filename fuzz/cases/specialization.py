"""Specializations: what a kernel is compiled for, drawn before the cases that share it.

A run uses a few dozen of them and spreads its cases over these, because each costs a compilation. At a scale of
compiled kernels a specialization also says how tensors lie and how wide the block table is, since Triton
compiles for both; elsewhere every case draws its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fuzz.cases.case import ViewPlan, Views
from fuzz.cases.chooser import Chooser, Option
from fuzz.cases.inside import OWN_DTYPES, OWN_HEADS, takes_own_config
from fuzz.cases.scale import Bounds, Scale
from msa_ref import IndexerConfig

FORCED = ("own", "none", "init", "both", "every slot")
"""Kinds of forced blocks; `own` is MiniMax-M3's one local block."""
OWN_CONFIG = IndexerConfig()
"""MiniMax-M3's config on one rank."""
OWN_SHAPE = (OWN_CONFIG.index_head_dim, OWN_CONFIG.block_size)
"""MiniMax-M3's head dim and block size."""
OWN_EACH = 3
"""One specialization in OWN_EACH has MiniMax-M3's own config, where the targets take it."""
ODD_EACH = 4
"""One specialization in ODD_EACH of the others has an odd head dim, and one in ODD_EACH an odd block size."""


@dataclass(frozen=True)
class Specialization:
    """One thing that kernels are compiled for.

    max_reqs: a power of two; decode batches have more than half as many requests.
    decode_query_len: query tokens of decode requests.
    table_blocks: the least columns of decode's block tables, which engines make for their longest context.
    views: how tensors lie in every case; None: each case draws that itself.
    """

    config: IndexerConfig
    dtype: str
    max_reqs: int
    decode_query_len: int
    table_blocks: int
    views: Views | None


class _Row(NamedTuple):
    """The options of one specialization, in the order in which they are drawn."""

    heads: int
    head_dim: int
    block_size: int
    topk_blocks: int
    dtype: str
    forced: str
    max_reqs: int
    decode_query_len: int
    table_blocks: int


def draw_specializations(chooser: Chooser, scale: Scale, count: int) -> list[Specialization]:
    """`count` specializations, over which the options of each column are spread evenly."""
    options: tuple[Sequence[Any], ...] = (
        scale.heads,
        scale.head_dims,
        scale.block_sizes,
        scale.topk,
        scale.dtypes,
        FORCED,
        scale.max_reqs,
        scale.decode_query_lens,
        scale.table_blocks,
    )
    rows = [_Row(*row) for row in zip(*(spread(chooser, column, count) for column in options), strict=True)]
    is_own = [takes_own_config(scale) and i % OWN_EACH == OWN_EACH - 1 for i in range(count)]
    heads = spread(chooser, [heads for heads in OWN_HEADS if heads in scale.heads], sum(is_own))
    dtypes = spread(chooser, [dtype for dtype in OWN_DTYPES if dtype in scale.dtypes], sum(is_own))
    num_others, share = 0, scale.percent.own_shape
    for i, row in enumerate(rows):
        if is_own[i]:
            rows[i] = _own(row)._replace(heads=heads.pop(), dtype=dtypes.pop())
            continue
        num_others += 1
        if num_others * share // 100 > (num_others - 1) * share // 100 and _has_own_shape(scale):
            rows[i] = row = row._replace(head_dim=OWN_SHAPE[0], block_size=OWN_SHAPE[1])
        turn, rest = divmod(num_others, ODD_EACH)
        if scale.odd_head_dims and rest == 1:
            rows[i] = row._replace(head_dim=scale.odd_head_dims[turn % len(scale.odd_head_dims)])
        if scale.odd_block_sizes and rest == ODD_EACH - 1:
            rows[i] = row._replace(block_size=scale.odd_block_sizes[turn % len(scale.odd_block_sizes)])
    return [_specialization(chooser, scale, row) for row in rows]


def _own(row: _Row) -> _Row:
    """The row with MiniMax-M3's config."""
    return row._replace(
        head_dim=OWN_CONFIG.index_head_dim,
        block_size=OWN_CONFIG.block_size,
        topk_blocks=OWN_CONFIG.topk_blocks,
        forced="own",
    )


def _has_own_shape(scale: Scale) -> bool:
    return OWN_SHAPE[0] in scale.head_dims and OWN_SHAPE[1] in scale.block_sizes


def spread(chooser: Chooser, options: Sequence[Option], count: int) -> list[Option]:
    """`count` of the options: shuffled, and shuffled again where they are used up."""
    taken: list[Option] = []
    while options and len(taken) < count:
        rest = list(options)
        while rest:
            taken.append(rest.pop(chooser.integer(0, len(rest) - 1)))
    return taken[:count]


def _specialization(chooser: Chooser, scale: Scale, row: _Row) -> Specialization:
    if row.forced != "own" and scale.percent.corner and chooser.boolean(scale.percent.corner):
        row = row._replace(topk_blocks=max(scale.topk), table_blocks=max(scale.table_blocks))
    init, local = _forced_inside(scale.bounds, *_forced_blocks(chooser, row.forced, row.topk_blocks), row.topk_blocks)
    config = IndexerConfig(row.heads, row.head_dim, row.block_size, row.topk_blocks, init, local)
    views = draw_views(chooser, scale) if scale.is_compiled else None
    return Specialization(config, row.dtype, row.max_reqs, row.decode_query_len, row.table_blocks, views)


def _forced_blocks(chooser: Chooser, kind: str, topk_blocks: int) -> tuple[int, int]:
    """(init_blocks, local_blocks) of a kind."""
    match kind:
        case "own":
            return 0, 1
        case "none":
            return 0, 0
        case "init":
            return chooser.integer(1, topk_blocks), 0
        case "both":
            init = chooser.integer(0, min(3, topk_blocks - 1))
            return init, chooser.integer(1, min(4, topk_blocks - init))
    init = chooser.integer(0, topk_blocks)
    return init, topk_blocks - init


def _forced_inside(bounds: Bounds, init: int, local: int, topk_blocks: int) -> tuple[int, int]:
    """The numbers of forced blocks nearest to some that the bounds allow and K slots hold."""
    inits = [init] if bounds.init_blocks is None else [n for n in bounds.init_blocks if n <= topk_blocks]
    locals_ = [local] if bounds.local_blocks is None else [n for n in bounds.local_blocks if n <= topk_blocks]
    if bounds.init_blocks is None:
        inits = [min(init, topk_blocks - min(locals_))]
    if bounds.local_blocks is None:
        locals_ = [min(local, topk_blocks - min(inits))]
    pairs = [(i, j) for i in inits for j in locals_ if i + j <= topk_blocks]
    return min(pairs, key=lambda pair: (abs(pair[0] - init) + abs(pair[1] - local), pair))


def draw_views(chooser: Chooser, scale: Scale) -> Views:
    """The view of every tensor."""
    strides = scale.bounds.strides
    is_plain = strides == "aligned" or (scale.percent.plain > 0 and chooser.boolean(scale.percent.plain))

    def view(rank: int, *orders: tuple[int, ...]) -> ViewPlan:
        """A plain view, or one with its own axis order, padding, step and offset."""
        if is_plain or not chooser.boolean(60):
            return ViewPlan()
        if strides == "contiguous":
            return ViewPlan(offset=chooser.choice((1, 3, 8)))
        pads = tuple(chooser.choice((0, 1, 3, 8, 16)) for _ in range(rank))
        step = chooser.choice((1, 1, 1, 2))
        axes = chooser.choice(((), *orders))
        return ViewPlan(axes, pads if any(pads) else (), step, chooser.choice((0, 1, 3, 8)))

    out = view(3, (1, 0, 2), (2, 1, 0))
    return Views(
        index_q=view(3, (1, 0, 2)),
        index_k_pages=view(3, (1, 0, 2), (0, 2, 1)),
        block_table=view(2, (1, 0)),
        seq_lens=view(1),
        cu_seqlens_q=view(1),
        score=view(3, (2, 0, 1), (1, 0, 2)),
        out=replace(out, axes=(1, 0, 2)) if scale.bounds.is_token_major else out,
    )

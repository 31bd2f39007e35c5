"""Specializations: what a kernel is compiled for, drawn before the cases that share it.

A run uses a few dozen of them and spreads its cases over these, because each costs a compilation. At a scale of
compiled kernels a specialization also says how tensors lie and how wide the block table is, since Triton
compiles for both; elsewhere every case draws its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fuzz.cases.case import DTYPES, ViewPlan, Views
from fuzz.cases.chooser import Chooser, Option
from fuzz.cases.scale import DECODE_QUERY_LENS, Scale
from msa_ref import IndexerConfig

HEADS = (1, 2, 3, 4, 5, 6, 8, 12)
FORCED = ("own", "none", "init", "both", "every slot")
"""Kinds of forced blocks; `own` is MiniMax-M3's one local block."""
OWN_SHAPE = (IndexerConfig().index_head_dim, IndexerConfig().block_size)
"""MiniMax-M3's head dim and block size."""


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
        HEADS,
        scale.head_dims,
        scale.block_sizes,
        scale.topk,
        DTYPES,
        FORCED,
        scale.max_reqs,
        DECODE_QUERY_LENS,
        scale.table_blocks,
    )
    rows = [_Row(*row) for row in zip(*(_spread(chooser, column, count) for column in options), strict=True)]
    own = scale.percent.own
    for i in range(count):
        if (i + 1) * own // 100 > i * own // 100:
            rows[i] = rows[i]._replace(head_dim=OWN_SHAPE[0], block_size=OWN_SHAPE[1])
    return [_specialization(chooser, scale, row) for row in rows]


def _spread(chooser: Chooser, options: Sequence[Option], count: int) -> list[Option]:
    """`count` of the options: shuffled, and shuffled again where they are used up."""
    spread: list[Option] = []
    while len(spread) < count:
        rest = list(options)
        while rest:
            spread.append(rest.pop(chooser.integer(0, len(rest) - 1)))
    return spread[:count]


def _specialization(chooser: Chooser, scale: Scale, row: _Row) -> Specialization:
    if scale.percent.corner and chooser.boolean(scale.percent.corner):
        row = row._replace(topk_blocks=max(scale.topk), table_blocks=max(scale.table_blocks))
    init, local = _forced_blocks(chooser, row.forced, row.topk_blocks)
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


def draw_views(chooser: Chooser, scale: Scale) -> Views:
    """The view of every tensor."""
    is_plain = scale.percent.plain > 0 and chooser.boolean(scale.percent.plain)

    def view(rank: int, *orders: tuple[int, ...]) -> ViewPlan:
        """A plain view, or one with its own axis order, padding, step and offset."""
        if is_plain or not chooser.boolean(60):
            return ViewPlan()
        pads = tuple(chooser.choice((0, 1, 3, 8, 16)) for _ in range(rank))
        step = chooser.choice((1, 1, 1, 2))
        axes = chooser.choice(((), *orders))
        return ViewPlan(axes, pads if any(pads) else (), step, chooser.choice((0, 1, 3, 8)))

    return Views(
        index_q=view(3, (1, 0, 2)),
        index_k_pages=view(3, (1, 0, 2), (0, 2, 1)),
        block_table=view(2, (1, 0)),
        seq_lens=view(1),
        cu_seqlens_q=view(1),
        score=view(3, (2, 0, 1), (1, 0, 2)),
        out=view(3, (1, 0, 2), (2, 1, 0)),
    )

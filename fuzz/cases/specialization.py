"""Forms: what a kernel is compiled for, drawn before the cases that share it.

A run uses a few dozen forms and spreads its cases over them, because every form costs a compilation.
At a scale of compiled kernels a form says besides how tensors lie and how wide the block table is,
since Triton compiles for both; elsewhere every case draws its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fuzz.cases.case import DTYPES, ViewPlan, Views
from fuzz.cases.chooser import Chooser, Option
from fuzz.cases.scale import DECODE_QUERY_LENS, Scale
from msa_ref import IndexerConfig

HEADS = (1, 2, 3, 4, 5, 6, 8, 12)
OWN_SHAPE = (IndexerConfig().index_head_dim, IndexerConfig().block_size)
"""MiniMax-M3's head dim and block size."""


@dataclass(frozen=True)
class Form:
    """What a kernel is compiled for.

    most_reqs: a power of two; decode batches of the form have more than half as many requests.
    decode_query_len: of the form's decode requests.
    table_blocks: columns that decode's block tables have at least, as engines make them for their longest context.
    views: how tensors lie in every case of the form; None: each case draws that itself.
    """

    config: IndexerConfig
    dtype: str
    most_reqs: int
    decode_query_len: int
    table_blocks: int
    views: Views | None


def draw_form(chooser: Chooser, scale: Scale) -> Form:
    """One form, all numbers drawn freely."""
    is_own = scale.own_percent > 0 and chooser.boolean(scale.own_percent)
    return _form(
        chooser,
        scale,
        chooser.choice(HEADS),
        OWN_SHAPE[0] if is_own else chooser.choice(scale.head_dims),
        OWN_SHAPE[1] if is_own else chooser.choice(scale.block_sizes),
        chooser.choice(scale.topk),
        chooser.choice(DTYPES),
        chooser.integer(0, 4),
        chooser.choice(scale.most_reqs),
        chooser.choice(DECODE_QUERY_LENS),
        chooser.choice(scale.table_blocks),
    )


def draw_forms(chooser: Chooser, scale: Scale, count: int) -> list[Form]:
    """`count` forms that share the values of each number evenly between them; own_percent of them of the own shape."""
    columns: list[list[Any]] = []
    for options in (
        HEADS,
        scale.head_dims,
        scale.block_sizes,
        scale.topk,
        DTYPES,
        range(5),
        scale.most_reqs,
        DECODE_QUERY_LENS,
        scale.table_blocks,
    ):
        column: list[Any] = []
        while len(column) < count:
            column += _shuffled(chooser, options)
        columns.append(column[:count])
    for i in range(count):
        if (i + 1) * scale.own_percent // 100 > i * scale.own_percent // 100:
            columns[1][i], columns[2][i] = OWN_SHAPE
    return [_form(chooser, scale, *row) for row in zip(*columns, strict=True)]


def _shuffled(chooser: Chooser, options: Sequence[Option]) -> list[Option]:
    rest, shuffled = list(options), []
    while rest:
        shuffled.append(rest.pop(chooser.integer(0, len(rest) - 1)))
    return shuffled


def _form(
    chooser: Chooser,
    scale: Scale,
    heads: int,
    head_dim: int,
    block_size: int,
    topk_blocks: int,
    dtype: str,
    forced: int,
    most_reqs: int,
    decode_query_len: int,
    table_blocks: int,
) -> Form:
    """forced: 0 MiniMax's local block, 1 none, 2 init only, 3 both, 4 both, filling every slot."""
    if scale.corner_percent and chooser.boolean(scale.corner_percent):
        topk_blocks, table_blocks = max(scale.topk), max(scale.table_blocks)
    init, local = 0, 1
    if forced == 1:
        local = 0
    elif forced == 2:
        init, local = chooser.integer(1, topk_blocks), 0
    elif forced == 3:
        init = chooser.integer(0, min(3, topk_blocks - 1))
        local = chooser.integer(1, min(4, topk_blocks - init))
    elif forced == 4:
        init = chooser.integer(0, topk_blocks)
        local = topk_blocks - init
    config = IndexerConfig(heads, head_dim, block_size, topk_blocks, init, local)
    views = draw_views(chooser, scale) if scale.is_compiled else None
    return Form(config, dtype, most_reqs, decode_query_len, table_blocks, views)


def draw_views(chooser: Chooser, scale: Scale) -> Views:
    """How every tensor lies."""
    is_plain = scale.plain_percent > 0 and chooser.boolean(scale.plain_percent)

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

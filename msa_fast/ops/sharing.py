"""The rows of query tiles, and how their score programs share a multiprocessor. By these prefill plans deal blocks out:
speed, never an answer."""

from functools import cache
from typing import NamedTuple

import torch
from triton.experimental.gluon import language as gl

from msa_fast.ops.launch_table import ANY, SCORE_ROWS, KeyKind, entry_for, key_kind, number
from msa_ref.config import IndexerConfig

_IS_EARLY_GLUON = hasattr(gl, "thread_barrier")
"""True with Triton 3.6. The assembler of later releases copies the left operands of products once more, and spills."""
IS_E4M3_CAPPED = _IS_EARLY_GLUON
"""True if the registers of Hopper's prefill scorer of e4m3 keys are capped, so that three programs share a
multiprocessor, and not two with two products in flight: 0.83 of a matrix product, against 0.73."""
IS_WIDE_FAST = _IS_EARLY_GLUON
"""True if plans may have Hopper's tiles of 256 and 192 rows of themselves; later assemblers let no product be in flight
there, either."""


class Sharing(NamedTuple):
    """How score programs share a multiprocessor. Times are in those of a block for one that is full of the GPU's own.

    times: that of a block for each of 1, 2, ... programs that share it; the last is of as many as it holds.
    prologues: what a program costs before its first block, in the same order. hidden: of that, what programs beside
    those of a later wave hide; it tells tilings apart, and of one they are dealt out without it. half: the time of a
    block, as a fraction, of a request's last tile of several, if its rows fill no more than half of it.
    """

    times: tuple[float, ...]
    prologues: tuple[float, ...]
    hidden: float = 0
    half: tuple[int, int] = (1, 1)


SHARING: dict[tuple[str, KeyKind], Sharing] = {
    ("sm_100", ANY): Sharing((1,), (4,)),
    ("sm_103", ANY): Sharing((1,), (4,)),
    ("interpreter", 1): Sharing((1.6, 2.3, 3), (6, 6, 6)),
    **({("sm_90", 1): Sharing((1.6, 2.3, 3), (6, 6, 6))} if IS_E4M3_CAPPED else {}),
    (ANY, ANY): Sharing((1.25, 2), (2.7, 4), 1.1),
}
"""By architecture and kind of keys, or ANY. Where few programs begin, each has its queries and first page sooner."""


class Tiling(NamedTuple):
    """Rows of a query tile, and how the programs of such tiles share a multiprocessor."""

    rows: int
    sharing: Sharing


WIDER: dict[tuple[str, KeyKind], tuple[Tiling, ...]] = {
    ("sm_90", 2): (Tiling(256, Sharing((1.93,), (4,), half=(3, 5))), Tiling(192, Sharing((1.42,), (2.8,)))),
}
"""Tilings beside the GPU's own for MiniMax-M3's shape, by architecture and kind of keys. Hopper's: a block takes 0.95
to 0.97 as long for its rows as in the GPU's own programs, but a program fills a multiprocessor alone. The numbers were
fitted to 47 shapes on an H200."""


@cache
def tilings_of(
    config: IndexerConfig, architecture: str, key_dtype: torch.dtype, tile_rows: int | None
) -> tuple[Tiling, ...]:
    """The tilings that a plan for keys of a dtype may have, the GPU's own first; one if tile_rows is given."""
    kind = key_kind(key_dtype)
    own = Tiling(number(SCORE_ROWS, architecture), entry_for(SHARING, architecture, kind))
    has_shape = (config.index_head_dim, config.block_size) == (128, 128)
    known = (own, *WIDER.get((architecture, kind), ())) if has_shape else (own,)
    if tile_rows is None:
        return known if IS_WIDE_FAST else (own,)
    return tuple(tiling for tiling in known if tiling.rows == tile_rows) or (own._replace(rows=tile_rows),)

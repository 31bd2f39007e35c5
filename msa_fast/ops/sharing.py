"""The sharing of a multiprocessor by score programs, by which prefill plans deal blocks out: speed, never an answer."""

from functools import cache
from typing import NamedTuple

import torch
from triton.experimental.gluon import language as gl

from msa_fast.ops.launch_table import ANY, KeyKind, entry_for, key_kind

IS_E4M3_CAPPED = hasattr(gl, "thread_barrier")
"""True if the registers of Hopper's prefill scorer of e4m3 keys are capped, so that three programs share a
multiprocessor, and not two with two products in flight: 0.83 of a matrix product, against 0.73. The assembler of
releases behind Triton 3.6 copies left operands once more, and would spill."""


class Sharing(NamedTuple):
    """How score programs share a multiprocessor. Times are in those of a block for a multiprocessor that is full.

    times: that of a block for each of 1, 2, ... programs that share it; the last is of as many as it holds.
    prologue: what a program costs before its first block.
    """

    times: tuple[float, ...]
    prologue: float


SHARING: dict[tuple[str, KeyKind], Sharing] = {
    ("sm_100", ANY): Sharing((1,), 4),
    ("sm_103", ANY): Sharing((1,), 4),
    ("interpreter", 1): Sharing((1.6, 2.3, 3), 6),
    **({("sm_90", 1): Sharing((1.6, 2.3, 3), 6)} if IS_E4M3_CAPPED else {}),
    (ANY, ANY): Sharing((4 / 3, 2), 4),
}
"""By architecture and kind of keys, or ANY."""


@cache
def sharing_of(architecture: str, key_dtype: torch.dtype) -> Sharing:
    """How the programs that score keys of a dtype share a multiprocessor."""
    return entry_for(SHARING, architecture, key_kind(key_dtype))

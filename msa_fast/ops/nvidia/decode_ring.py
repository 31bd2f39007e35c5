"""Decode scorers' rings of pages: which page comes next, its copy, and the copy of its request's queries.

Shared by the Gluon scorers that keep several pages of a program on their way.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from msa_fast.ops.nvidia.decode_blocks import request_at
from msa_fast.ops.nvidia.tma import load_tile


@gluon.jit
def next_slot(slot, SLOTS: gl.constexpr):
    """The slot behind one of a ring."""
    return gl.where(slot == SLOTS - 1, 0, slot + 1)


@gluon.jit
def fetch_page(
    keys, page, queries, q_start, slot, q_slot, ready, pages, q_shared, is_there, is_new, S: gl.constexpr,
    D: gl.constexpr,
):  # fmt: skip
    """Start the copy of a page to its slot, and with it, if they are new, that of a request's queries to theirs.

    Rows behind the request's own hold the queries that follow in memory, or 0.
    """
    PAGE: gl.constexpr = S * D * pages.dtype.primitive_bitwidth // 8
    QUERIES: gl.constexpr = q_shared.shape[1] * q_shared.shape[2] * D * q_shared.dtype.primitive_bitwidth // 8
    if is_new:
        mbarrier.expect(ready.index(slot), PAGE + QUERIES, pred=is_there)
        load_tile(queries, [q_start, 0, 0], ready.index(slot), q_shared.index(q_slot), pred=is_there)
    else:
        mbarrier.expect(ready.index(slot), PAGE, pred=is_there)
    load_tile(keys, [page, 0, 0], ready.index(slot), pages.index(slot), pred=is_there)


@gluon.jit
def look_up(
    position, end, req, base, stop, block_table_ptr, cu_seqlens_q_ptr, stride_table_r, stride_table_b, stride_cu,
    ends, bases, flat: gl.constexpr,
):  # fmt: skip
    """The data of a position's copy: (req, base, stop) of `request_at`, the page, the request's first query."""
    if position >= stop:
        req, base, stop = request_at(position, ends, bases, flat)
    is_there = position < end
    table = block_table_ptr + req.to(gl.int64) * stride_table_r
    page = gl.load(table + (position - base).to(gl.int64) * stride_table_b, mask=is_there, other=0)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu, mask=is_there, other=0)
    return req, base, stop, page, q_start


@gluon.jit
def ids_from(position, end, req, base, stop, block_table_ptr, stride_table_r, stride_table_b, lanes):
    """int32 like lanes [32]: page ids of the positions from one on, one a lane, up to the end of the request or share.

    Nobody waits for them until one is taken (`id_at`); a scalar would be waited for at once.
    """
    positions = position + lanes
    table = block_table_ptr + req.to(gl.int64) * stride_table_r
    is_there = positions < gl.minimum(stop, end)
    return gl.load(table + (positions - base).to(gl.int64) * stride_table_b, mask=is_there, other=0)


@gluon.jit
def id_at(place, ids, lanes):
    """The page id in a place of `ids_from`."""
    return gl.sum(gl.where(lanes == place, ids, 0), axis=0)

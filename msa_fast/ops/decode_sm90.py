"""Decode scores on Hopper: the scorer of `msa_fast.ops.decode`, with little before its first page and nothing between.

Written in Gluon, where a copy and the moment that waits for it are said apart, and which thread
holds what. A program has one page in shared memory, and several programs share a multiprocessor:
while one takes maxima, the pages of the others arrive. The next page is asked for as soon as the
products are done, whichever request it belongs to. It serves MiniMax-M3's own shape; all else goes
to the scorer for everyone, and the two agree bit for bit wherever sums are exact.
"""

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.language.extra.cuda import gdc_launch_dependents

from msa_fast.ops.launch import SCORE_VECTOR
from msa_fast.ops.sm90 import barrier, fetch, is_read_by_sm90, pages_of
from msa_ref.batch import PagedBatch

WARPS = 4
MOST_ROWS = 64
"""Query rows (token, head) that are multiplied with a page: more would spill."""
PROGRAMS = {16: 4}
"""Programs of a multiprocessor, by query rows: what its registers have room for."""
PROGRAMS_OF_MORE = 3
"""The same for more rows."""


@gluon.jit
def _once(is_here, value):
    """The scalar value where is_here [REQS] holds, once; 0 where it never does."""
    return gl.sum(gl.where(is_here, value, 0), axis=0)


@gluon.jit
def _queries(
    q_ptr, q_start, query_len, stride_q_t, stride_q_h,
    H: gl.constexpr, D: gl.constexpr, ROWS: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """[ROWS, D] query rows of a request, as they are loaded; rows past it are zero."""
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [256 // D, D // 8], [WARPS, 1], [1, 0])
    row = gl.arange(0, ROWS, layout=gl.SliceLayout(1, wide))
    at = (q_start + row // H).to(gl.int64) * stride_q_t + (row % H).to(gl.int64) * stride_q_h
    offs_d = gl.arange(0, D, layout=gl.SliceLayout(0, wide))
    is_row = (row // H < query_len)[:, None] & (offs_d >= 0)[None, :]
    return gl.load(q_ptr + at[:, None] + offs_d[None, :], mask=is_row, other=0.0)


@gluon.jit
def _following(block_table_ptr, position, reqs, starts, ends, stride_table_r, stride_table_b):
    """Where the blocks of the request at a position end, and where in its row of the table position 0 would be."""
    is_here = (starts <= position) & (ends > position)
    row = _once(is_here, reqs).to(gl.int64) * stride_table_r - _once(is_here, starts).to(gl.int64) * stride_table_b
    return _once(is_here, ends), block_table_ptr + row


@gluon.jit(
    do_not_specialize=[
        "stride_table_r",
        "stride_table_b",
        "num_reqs",
        "stride_score_h",
        "stride_score_t",
        "stride_score_b",
    ],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _decode_score_sm90_kernel(
    q_ptr,
    keys,
    block_table_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    score_ptr,
    stride_q_t,
    stride_q_h,
    stride_table_r,
    stride_table_b,
    stride_seq_lens,
    stride_cu,
    stride_score_h,
    stride_score_t,
    stride_score_b,
    num_reqs,
    H: gl.constexpr,
    D: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    REQS: gl.constexpr,
    ROWS: gl.constexpr,
    SCORE_VECTOR: gl.constexpr,
    WARPS: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
):
    """Grid, writes and masks: as `_decode_score_kernel`. keys: a tensor descriptor of the pages."""
    # Every warp holds what is known of all requests, so that none waits for another to pick from it.
    flat: gl.constexpr = gl.BlockedLayout([REQS // 32 if REQS > 32 else 1], [32], [WARPS], [0])
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, ROWS, 16])
    q_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    if IS_FOLLOWED:
        gdc_launch_dependents()
    reqs = gl.arange(0, REQS, layout=flat)
    is_req = reqs < num_reqs
    q_starts = gl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    q_ends = gl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    seq_lens = gl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    pages = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [1, 1, S, D], keys.layout)
    q_shared = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [ROWS, D], q_layout)
    ready = gl.allocate_shared_memory(gl.int64, [1, 1], mbarrier.MBarrierLayout())
    mbarrier.init(ready.index(0), count=1)
    # A request's last token sees seq_len tokens. Without queries, or with no more blocks than are
    # selected, nobody asks for a score.
    num_blocks = (gl.maximum(seq_lens, 0) + S - 1) // S
    num_blocks = gl.where((q_ends > q_starts) & (num_blocks > TOPK), num_blocks, 0)
    ends = tl.cumsum(num_blocks, axis=0)
    starts = ends - num_blocks
    total = gl.sum(num_blocks, axis=0)
    share, rest = total // gl.num_programs(0), total % gl.num_programs(0)
    program = gl.program_id(0)
    position = program * share + gl.minimum(program, rest)
    end = position + share + (program < rest).to(gl.int32)

    # Page numbers are fetched a block before their pages, whichever request they belong to.
    ahead = position + 1
    ahead_stop, table_row = _following(block_table_ptr, position, reqs, starts, ends, stride_table_r, stride_table_b)
    page = gl.load(table_row + position.to(gl.int64) * stride_table_b, mask=position < end, other=0)
    if ahead >= ahead_stop:
        ahead_stop, table_row = _following(block_table_ptr, ahead, reqs, starts, ends, stride_table_r, stride_table_b)
    next_page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end, other=0)
    fetch(keys, page, 0, ready, pages, position < end, S, D)

    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, mma))
    offs_s = gl.arange(0, S, layout=gl.SliceLayout(1, mma))
    token = row // H
    stop = position
    start = 0
    q_start = 0
    query_len = 0
    context_len = 0
    phase = 0
    while position < end:
        if position >= stop:  # another request, or the first
            is_here = (starts <= position) & (ends > position)
            stop, start = _once(is_here, ends), _once(is_here, starts)
            q_start = _once(is_here, q_starts)
            query_len = _once(is_here, q_ends) - q_start
            context_len = _once(is_here, seq_lens) - query_len
            q_shared.store(_queries(q_ptr, q_start, query_len, stride_q_t, stride_q_h, H, D, ROWS, WARPS))
            fence_async_shared()  # the matrix unit reads it by another way than threads write it
            barrier()
        mbarrier.wait(ready.index(0), phase)
        phase = phase ^ 1
        k = pages.index(0).reshape([S, D])
        zeros = gl.zeros([S, ROWS], gl.float32, mma)
        token_score = warpgroup_mma(k, q_shared.permute((1, 0)), zeros, use_acc=False, is_async=True)
        token_score = warpgroup_mma_wait(0, deps=[token_score])
        if ahead < end:
            barrier()  # every warp is done with the page before another takes its place
            fetch(keys, next_page, 0, ready, pages, True, S, D)
            ahead += 1
            if ahead >= ahead_stop:
                ahead_stop, table_row = _following(
                    block_table_ptr, ahead, reqs, starts, ends, stride_table_r, stride_table_b
                )
            next_page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end, other=0)

        block = position - start
        if (block + 1) * S > context_len + 1:  # else the first token sees all of it, and so do the others
            is_seen = (block * S + offs_s)[:, None] < (context_len + token + 1)[None, :]
            token_score = gl.where(is_seen, token_score, float("-inf"))
        best = gl.max(token_score, axis=0)
        best = gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is
        score_rows = score_ptr + (q_start + token).to(gl.int64) * stride_score_t
        score_rows += (row % H).to(gl.int64) * stride_score_h
        gl.store(score_rows + block.to(gl.int64) * stride_score_b, best, mask=token < query_len)
        if position + 1 == stop:
            nothing = gl.full_like(best, float("-inf"))
            for i in gl.static_range(1, SCORE_VECTOR):
                is_filler = (token < query_len) & ((block + i) // SCORE_VECTOR == block // SCORE_VECTOR)
                gl.store(score_rows + (block + i).to(gl.int64) * stride_score_b, nothing, mask=is_filler)
        position += 1


def is_served(batch: PagedBatch, num_rows: int) -> bool:
    """Whether this scorer takes a call: by architecture, shapes, dtypes and strides alone. num_rows: its ROWS."""
    return num_rows <= MOST_ROWS and is_read_by_sm90(batch)


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, num_rows: int, is_followed: bool
) -> None:
    """Launch on checked arguments that are served. num_reqs, num_rows: as REQS and ROWS of the scorer for everyone."""
    config = batch.config
    _decode_score_sm90_kernel[(num_programs,)](
        batch.index_q,
        pages_of(batch),
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        score,
        *batch.index_q.stride()[:2],
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *score.stride(),
        batch.num_reqs,
        H=config.num_index_heads,
        D=config.index_head_dim,
        S=config.block_size,
        TOPK=config.topk_blocks,
        REQS=num_reqs,
        ROWS=num_rows,
        SCORE_VECTOR=SCORE_VECTOR,
        WARPS=WARPS,
        IS_FOLLOWED=is_followed,
        num_warps=WARPS,
    )

"""Decode scores on Hopper: the scorer of `msa_fast.ops.decode`, with little before its first page and nothing between.

Written in Gluon, where a copy and the moment that waits for it are said apart, and which thread
holds what. A program has one page in shared memory, and several programs share a multiprocessor:
while one takes maxima, the pages of the others arrive. A page comes in two halves: while the second
arrives, the first is multiplied. A program's first block is dealt by its number alone, so that its
page is looked up while the lengths are still on their way; half of the next page is asked for as
soon as the product with that of this one is done, whichever request it belongs to. It serves
MiniMax-M3's own shape; all else goes to the scorer for everyone, and the two agree bit for bit
wherever sums are exact.
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
PROGRAMS = {16: 4, 32: 4, 64: 3}
"""Programs of a multiprocessor, by query rows: more have more pages on their way, and read the queries more often."""
MOST_PRODUCT = 2**29
"""Of programs and requests, so that twice as much is still a number that `_divided` takes."""


@gluon.jit
def _divided(number, by, reciprocal):
    """number // by, of numbers below 2**30. reciprocal: that of `by`, for an estimate that is at most one too small."""
    quotient = gl.umulhi(number * 2, reciprocal)
    return quotient + ((quotient + 1) * by <= number).to(gl.int32)


@gluon.jit
def _num_scored(q_start, q_end, seq_len, S: gl.constexpr, TOPK: gl.constexpr):
    """Blocks of a request that are scored: all that its last token sees, which sees seq_len tokens.

    None without queries, or with no more blocks than are selected: nobody asks for their scores.
    """
    num_blocks = (gl.maximum(seq_len, 0) + S - 1) // S
    return gl.where((q_end > q_start) & (num_blocks > TOPK), num_blocks, 0)


@gluon.jit
def _own_share(program, is_dealt, num_blocks, reqs, num_reqs, reciprocal_of_programs, reciprocal_of_reqs):
    """What is left when one block has been dealt to a program, shared out: (from, to, ends [REQS], bases [REQS]).

    Blocks that are left lie in a row, request after request: a program has those at the positions from..to - 1,
    those of a request end at ends, and its block 0 would be at bases. Dealt or left, no program has more than one
    block more than another.
    """
    num_programs = gl.num_programs(0)
    first = _divided(reqs * num_programs + num_reqs - 1, num_reqs, reciprocal_of_reqs)
    behind = _divided((reqs + 1) * num_programs + num_reqs - 1, num_reqs, reciprocal_of_reqs)
    dealt = gl.minimum(num_blocks, behind - first)
    dealt_before = gl.sum(gl.minimum(dealt, gl.maximum(program - first, 0)), axis=0)
    ends = tl.cumsum(num_blocks - dealt, axis=0)
    num_left = gl.sum(num_blocks - dealt, axis=0)
    total = gl.sum(num_blocks, axis=0)
    share = _divided(total, num_programs, reciprocal_of_programs)
    rest = gl.where(share > 0, total - share * num_programs, 0)
    share = gl.maximum(share, 1)  # where there are fewer blocks than programs, the first of those without one take them
    start = gl.minimum(program * share + gl.minimum(program, rest) - dealt_before, num_left)
    num_own = share + (program < rest).to(gl.int32) - is_dealt.to(gl.int32)
    return start, gl.minimum(start + num_own, num_left), ends, ends - num_blocks


@gluon.jit
def _request_at(position, reqs, ends, bases):
    """Of the request that holds a position: its number, and its entries of bases and ends."""
    req = gl.sum((ends <= position).to(gl.int32), axis=0)
    is_here = reqs == req
    return req, gl.sum(gl.where(is_here, bases, 0), axis=0), gl.sum(gl.where(is_here, ends, 0), axis=0)


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
def _fetch_halves(keys, page, ready, pages, is_there, S: gl.constexpr, D: gl.constexpr):
    """Start the copy of a page: of its first half to slot 0, of the other to slot 1."""
    fetch(keys, page, 0, 0, ready, pages, is_there, S // 2, D)
    fetch(keys, page, S // 2, 1, ready, pages, is_there, S // 2, D)


@gluon.jit
def _product_of_half(slot, ready, phase, pages, q_shared, ROWS: gl.constexpr, mma: gl.constexpr):
    """Begin token_score [S / 2, ROWS] of the half of a page in a slot, as soon as it is there."""
    HALF: gl.constexpr = pages.shape[2]
    mbarrier.wait(ready.index(slot), phase)
    k = pages.index(slot).reshape([HALF, pages.shape[3]])
    zeros = gl.zeros([HALF, ROWS], gl.float32, mma)
    return warpgroup_mma(k, q_shared.permute((1, 0)), zeros, use_acc=False, is_async=True)


@gluon.jit
def _best_of_keys(token_score, shared, ROWS: gl.constexpr, WARPS: gl.constexpr):
    """fp32 [ROWS]: maxima of token_score [16 * WARPS, ROWS] over its keys, a warp has 16 of them; a lane has a row.

    One barrier from the products.
    """
    of_warps = gl.max(token_score.reshape([WARPS, 16, ROWS]), axis=1)
    shared.store(of_warps)
    best = gl.max(shared.load(gl.BlockedLayout([WARPS, 1], [1, 32], [1, WARPS], [0, 1])), axis=0)
    return gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is


@gluon.jit(
    do_not_specialize=[
        "stride_table_r",
        "stride_table_b",
        "num_reqs",
        "reciprocal_of_programs",
        "reciprocal_of_reqs",
        "stride_score_h",
        "stride_score_t",
        "stride_score_v",
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
    stride_score_v,
    num_reqs,
    reciprocal_of_programs,
    reciprocal_of_reqs,
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
    """Writes and masks as `_decode_score_kernel`. keys: a tensor descriptor of the pages.

    Grid: at most as many programs as the table has entries; requests share the programs evenly, and
    the first has its request's block 0, the next block 1. Where a request has no such block, what
    was looked up for it goes unused: the program begins with its share of what is left.
    """
    # Every warp holds what is known of all requests, so that none waits for another to pick from it.
    flat: gl.constexpr = gl.BlockedLayout([REQS // 32 if REQS > 32 else 1], [32], [WARPS], [0])
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, ROWS, 16])
    q_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    best_layout: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    if IS_FOLLOWED:
        gdc_launch_dependents()
    program, num_programs = gl.program_id(0), gl.num_programs(0)
    req = _divided(program * num_reqs, num_programs, reciprocal_of_programs)
    block = _divided(program * num_reqs - req * num_programs, num_reqs, reciprocal_of_reqs)
    page = gl.load(block_table_ptr + req.to(gl.int64) * stride_table_r + block.to(gl.int64) * stride_table_b)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    q_end = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu)
    seq_len = gl.load(seq_lens_ptr + req * stride_seq_lens)
    pages = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [2, 1, S // 2, D], keys.layout)
    q_shared = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [ROWS, D], q_layout)
    best_shared = gl.allocate_shared_memory(gl.float32, [WARPS, ROWS], best_layout)
    ready = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(ready.index(0), count=1)
    mbarrier.init(ready.index(1), count=1)
    is_dealt = block < _num_scored(q_start, q_end, seq_len, S, TOPK)
    _fetch_halves(keys, page, ready, pages, is_dealt, S, D)
    barrier()  # the assembler would put what follows before the copy

    # While it is on its way: the request's queries, and what there is of all requests.
    query_len = q_end - q_start
    context_len = seq_len - query_len
    q = _queries(q_ptr, q_start, query_len, stride_q_t, stride_q_h, H, D, ROWS, WARPS)
    reqs = gl.arange(0, REQS, layout=flat)
    is_req = reqs < num_reqs
    q_starts = gl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    q_ends = gl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    seq_lens = gl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    q_shared.store(q)
    fence_async_shared()  # the matrix unit reads it by another way than threads write it
    barrier()

    num_blocks = _num_scored(q_starts, q_ends, seq_lens, S, TOPK)
    position, end, ends, bases = _own_share(
        program, is_dealt, num_blocks, reqs, num_reqs, reciprocal_of_programs, reciprocal_of_reqs
    )

    # Page numbers are fetched a block before their pages, whichever request they belong to.
    ahead = position
    ahead_req, ahead_base, ahead_stop = _request_at(ahead, reqs, ends, bases)
    ahead_table = block_table_ptr + ahead_req.to(gl.int64) * stride_table_r
    next_page = gl.load(ahead_table + (ahead - ahead_base).to(gl.int64) * stride_table_b, mask=ahead < end, other=0)
    held = req
    base = position - 1 - block  # as if the block that was dealt lay before the others
    if is_dealt:
        position -= 1
    else:
        _fetch_halves(keys, next_page, ready, pages, position < end, S, D)
        req, base = ahead_req, ahead_base
        ahead += 1
        if ahead >= ahead_stop:
            ahead_req, ahead_base, ahead_stop = _request_at(ahead, reqs, ends, bases)
            ahead_table = block_table_ptr + ahead_req.to(gl.int64) * stride_table_r
        next_page = gl.load(ahead_table + (ahead - ahead_base).to(gl.int64) * stride_table_b, mask=ahead < end, other=0)

    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, gl.BlockedLayout([WARPS, 1], [1, 32], [1, WARPS], [0, 1])))
    token = row // H
    phase = 0
    while position < end:
        if req != held:
            held = req
            q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
            query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
            context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
            q_shared.store(_queries(q_ptr, q_start, query_len, stride_q_t, stride_q_h, H, D, ROWS, WARPS))
            fence_async_shared()
            barrier()
        block = position - base
        req, base = ahead_req, ahead_base
        first_score = _product_of_half(0, ready, phase, pages, q_shared, ROWS, mma)
        other_score = _product_of_half(1, ready, phase, pages, q_shared, ROWS, mma)
        phase = phase ^ 1
        first_score, other_score = warpgroup_mma_wait(1, deps=[first_score, other_score])
        if ahead < end:
            barrier()  # every warp is done with the half before another takes its place
            fetch(keys, next_page, 0, 0, ready, pages, True, S // 2, D)
        first_score, other_score = warpgroup_mma_wait(0, deps=[first_score, other_score])
        if ahead < end:
            barrier()
            fetch(keys, next_page, S // 2, 1, ready, pages, True, S // 2, D)
            ahead += 1
            if ahead >= ahead_stop:
                ahead_req, ahead_base, ahead_stop = _request_at(ahead, reqs, ends, bases)
                ahead_table = block_table_ptr + ahead_req.to(gl.int64) * stride_table_r
            next_page = gl.load(
                ahead_table + (ahead - ahead_base).to(gl.int64) * stride_table_b, mask=ahead < end, other=0
            )

        if (block + 1) * S > context_len + 1:  # else the first token sees all of it, and so do the others
            sees = context_len + 1 + gl.arange(0, ROWS, layout=gl.SliceLayout(0, mma)) // H
            key_pos = block * S + gl.arange(0, S // 2, layout=gl.SliceLayout(1, mma))[:, None]
            first_score = gl.where(key_pos < sees[None, :], first_score, float("-inf"))
            other_score = gl.where(key_pos + S // 2 < sees[None, :], other_score, float("-inf"))
        best = _best_of_keys(gl.maximum(first_score, other_score), best_shared, ROWS, WARPS)
        score_rows = score_ptr + (q_start + token).to(gl.int64) * stride_score_t
        score_rows += (row % H).to(gl.int64) * stride_score_h
        # A sector of eight scores fills up block by block: driven out half full, it would be read to be completed.
        at = score_rows + (block // SCORE_VECTOR).to(gl.int64) * stride_score_v + block % SCORE_VECTOR
        gl.store(at, best, mask=token < query_len, eviction_policy="evict_last")
        if (block + 1) * S >= context_len + query_len:  # the request's last block
            nothing = gl.full_like(best, float("-inf"))
            for i in gl.static_range(1, SCORE_VECTOR):
                is_filler = (token < query_len) & ((block + i) // SCORE_VECTOR == block // SCORE_VECTOR)
                gl.store(at + i, nothing, mask=is_filler)
        position += 1


def reciprocal_of(number: int) -> int:
    """What `_divided` takes for a divisor: 2**31 times its reciprocal, and a little less."""
    return (2**31 - 1) // number


def is_served(batch: PagedBatch, num_rows: int) -> bool:
    """Whether this scorer takes a call: by architecture, shapes, dtypes and strides alone. num_rows: its ROWS."""
    return num_rows <= MOST_ROWS and is_read_by_sm90(batch)


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, num_rows: int, is_followed: bool
) -> None:
    """Launch on checked arguments that are served. num_reqs, num_rows: as REQS and ROWS of the scorer for everyone.

    More programs than the table has entries, or than fit MOST_PRODUCT, are not launched.
    """
    config = batch.config
    num_programs = min(num_programs, batch.num_reqs * batch.max_blocks, MOST_PRODUCT // batch.num_reqs)
    if num_programs == 0:
        return
    _decode_score_sm90_kernel[(num_programs,)](
        batch.index_q,
        pages_of(batch, parts=2),
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        score,
        *batch.index_q.stride()[:2],
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *score.stride()[:3],
        batch.num_reqs,
        reciprocal_of(num_programs),
        reciprocal_of(batch.num_reqs),
        H=config.num_index_heads,
        D=config.index_head_dim,
        S=config.block_size,
        TOPK=config.topk_blocks,
        REQS=max(32, num_reqs),  # fewer than a warp has threads cost more, not less
        ROWS=num_rows,
        SCORE_VECTOR=SCORE_VECTOR,
        WARPS=WARPS,
        IS_FOLLOWED=is_followed,
        num_warps=WARPS,
    )

"""Decode scores on Hopper: as `msa_fast.ops.decode_score`, with a short prologue and no idle gap between pages.

Gluon states a copy and the wait for it separately, and which thread holds what. A program has one
page in shared memory, and several programs share a multiprocessor: while one takes maxima, the pages
of the others arrive. A page comes in two halves: while the second arrives, the first is multiplied. A
program's first block is dealt by its number alone, so its page is looked up while the lengths are still
on their way. Each half of the next page is requested as soon as the product with the same half of this
page is done; if the next page belongs to another request, the queries of that request come with it.
Serves MiniMax-M3's own shape; agrees bit for bit with the scorer for everyone wherever sums are exact.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.launching import Launched
from msa_fast.ops.nvidia.decode_blocks import (
    best_of_keys,
    divided,
    num_rows_of,
    num_scored,
    own_share,
    request_at,
    store_best,
)
from msa_fast.ops.nvidia.decode_launch import launch_decode
from msa_fast.ops.nvidia.tma import barrier, fetch, is_read_by_sm90, load_tile
from msa_ref.batch import PagedBatch

TAKES_INTERLEAVED = True
"""True if scores may lie interleaved (`new_vector_score`)."""
WARPS = 4
MAX_ROWS = 64
"""Query rows (token, head) of one product: more would spill."""
PROGRAMS = {16: 4, 32: 4, 64: 2}
"""Programs of a multiprocessor, by query rows. More keep more pages on their way, but read queries more often; with
three of 64 rows long requests take a fifth longer."""


@gluon.jit
def _fetch_first_half(
    keys, page, queries, q_start, q_slot, ready, pages, q_shared, is_there, is_new, S: gl.constexpr, D: gl.constexpr
):
    """Start the copy of a page's first half to slot 0, and with it, if they are new, that of a request's queries.

    Rows behind the request's own hold the queries that follow in memory, or 0.
    """
    if is_new:
        QUERIES: gl.constexpr = q_shared.shape[1] * q_shared.shape[2] * D
        mbarrier.expect(ready.index(0), (S // 2 * D + QUERIES) * 2, pred=is_there)
        load_tile(keys, [page, 0, 0], ready.index(0), pages.index(0), pred=is_there)
        load_tile(queries, [q_start, 0, 0], ready.index(0), q_shared.index(q_slot), pred=is_there)
    else:
        fetch(keys, page, 0, 0, ready, pages, is_there, S // 2, D)


@gluon.jit
def _product_of_half(slot, ready, phase, pages, q, ROWS: gl.constexpr, mma: gl.constexpr):
    """Begin token_score [S / 2, ROWS] of the half of a page in a slot, as soon as it is there."""
    HALF: gl.constexpr = pages.shape[2]
    mbarrier.wait(ready.index(slot), phase)
    k = pages.index(slot).reshape([HALF, pages.shape[3]])
    zeros = gl.zeros([HALF, ROWS], gl.float32, mma)
    return warpgroup_mma(k, q.permute((1, 0)), zeros, use_acc=False, is_async=True)


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
    keys,
    queries,
    block_table_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    score_ptr,
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
    TILE_HEADS: gl.constexpr,
    D: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    REQS: gl.constexpr,
    ROWS: gl.constexpr,
    SCORE_VECTOR: gl.constexpr,
    WARPS: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
):
    """Writes and masks as `_decode_score_kernel`. keys, queries: tensor descriptors of half a page, and of ROWS rows.

    Rows: TILE_HEADS of each token, a power of two, of which the first H are its heads.

    Grid: at most as many programs as the table has entries; requests share the programs evenly, and
    the first has its request's block 0, the next block 1. Where a request has no such block, the page
    looked up for it goes unused, and the program begins with its share of the remaining blocks.
    """
    # Every warp counts all requests, so that none waits for another to pick from them.
    flat: gl.constexpr = gl.BlockedLayout([REQS // 32 if REQS > 32 else 1], [32], [WARPS], [0])
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, ROWS, 16])
    best_layout: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    gdc_wait()
    if IS_FOLLOWED:  # no sooner: the selection reads lengths before it waits
        gdc_launch_dependents()
    program, num_programs = gl.program_id(0), gl.num_programs(0)
    req = divided(program * num_reqs, num_programs, reciprocal_of_programs)
    block = divided(program * num_reqs - req * num_programs, num_reqs, reciprocal_of_reqs)
    page = gl.load(block_table_ptr + req.to(gl.int64) * stride_table_r + block.to(gl.int64) * stride_table_b)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    q_end = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu)
    seq_len = gl.load(seq_lens_ptr + req * stride_seq_lens)
    pages = gl.allocate_shared_memory(keys.dtype, [2, 1, S // 2, D], keys.layout)
    q_shared = gl.allocate_shared_memory(keys.dtype, [2, ROWS // TILE_HEADS, TILE_HEADS, D], queries.layout)
    best_shared = gl.allocate_shared_memory(gl.float32, [WARPS, ROWS], best_layout)
    known = gl.allocate_shared_memory(gl.int32, [2, REQS], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    ready = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(ready.index(0), count=1)
    mbarrier.init(ready.index(1), count=1)
    is_dealt = block < num_scored(q_start, q_end, seq_len, S, TOPK)
    _fetch_first_half(keys, page, queries, q_start, 0, ready, pages, q_shared, is_dealt, True, S, D)
    fetch(keys, page, S // 2, 1, ready, pages, is_dealt, S // 2, D)
    barrier()  # the assembler would put what follows before the copy

    # While it is on its way: what there is of all requests.
    query_len = q_end - q_start
    context_len = seq_len - query_len
    reqs = gl.arange(0, REQS, layout=flat)
    is_req = reqs < num_reqs
    q_starts = gl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    q_ends = gl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    seq_lens = gl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    num_blocks = num_scored(q_starts, q_ends, seq_lens, S, TOPK)
    _, ahead, end, of_ends, of_bases = own_share(
        program, is_dealt, False, num_blocks, reqs, num_reqs, reciprocal_of_programs, reciprocal_of_reqs, 1
    )
    ends, bases = known.index(0), known.index(1)
    ends.store(of_ends)
    bases.store(of_bases)

    # Page id and query start of a copy are looked up a block ahead, whichever request it belongs to.
    next_req, base, stop = request_at(ahead, ends, bases, flat)
    next_table = block_table_ptr + next_req.to(gl.int64) * stride_table_r
    next_block = ahead - base
    next_page = gl.load(next_table + next_block.to(gl.int64) * stride_table_b, mask=ahead < end, other=0)
    next_start = gl.load(cu_seqlens_q_ptr + next_req * stride_cu, mask=ahead < end, other=0)
    held = req
    q_slot = 0
    if not is_dealt:
        _fetch_first_half(keys, next_page, queries, next_start, 1, ready, pages, q_shared, ahead < end, True, S, D)
        fetch(keys, next_page, S // 2, 1, ready, pages, ahead < end, S // 2, D)
        req, block = next_req, next_block
        ahead += 1
        if ahead >= stop:
            next_req, base, stop = request_at(ahead, ends, bases, flat)
            next_table = block_table_ptr + next_req.to(gl.int64) * stride_table_r
        next_block = ahead - base
        next_page = gl.load(next_table + next_block.to(gl.int64) * stride_table_b, mask=ahead < end, other=0)
        next_start = gl.load(cu_seqlens_q_ptr + next_req * stride_cu, mask=ahead < end, other=0)

    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, gl.BlockedLayout([WARPS, 1], [1, 32], [1, WARPS], [0, 1])))
    token, head = row // TILE_HEADS, row % TILE_HEADS
    phase = 0
    while ahead <= end:
        if req != held:
            held = req
            q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
            query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
            context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
            q_slot = q_slot ^ 1
        q = q_shared.index(q_slot).reshape([ROWS, D])
        first_score = _product_of_half(0, ready, phase, pages, q, ROWS, mma)
        other_score = _product_of_half(1, ready, phase, pages, q, ROWS, mma)
        phase = phase ^ 1
        first_score, other_score = warpgroup_mma_wait(1, deps=[first_score, other_score])
        if ahead < end:
            barrier()  # every warp is done with the half before another takes its place
            _fetch_first_half(
                keys, next_page, queries, next_start, q_slot ^ 1, ready, pages, q_shared, True, next_req != held, S, D
            )
        first_score, other_score = warpgroup_mma_wait(0, deps=[first_score, other_score])
        if ahead < end:
            barrier()
            fetch(keys, next_page, S // 2, 1, ready, pages, True, S // 2, D)
        if (block + 1) * S > context_len + 1:  # else the first token sees all of it, and so do the others
            sees = context_len + 1 + gl.arange(0, ROWS, layout=gl.SliceLayout(0, mma)) // TILE_HEADS
            key_pos = block * S + gl.arange(0, S // 2, layout=gl.SliceLayout(1, mma))[:, None]
            first_score = gl.where(key_pos < sees[None, :], first_score, float("-inf"))
            other_score = gl.where(key_pos + S // 2 < sees[None, :], other_score, float("-inf"))
        best = best_of_keys(gl.maximum(first_score, other_score), best_shared, ROWS, WARPS)
        store_best(
            best, block, q_start, query_len, context_len, score_ptr, stride_score_h, stride_score_t, stride_score_v,
            token, head, H, S, SCORE_VECTOR,
        )  # fmt: skip
        req, block = next_req, next_block
        ahead += 1
        if ahead < end:
            if ahead >= stop:
                next_req, base, stop = request_at(ahead, ends, bases, flat)
                next_table = block_table_ptr + next_req.to(gl.int64) * stride_table_r
            next_block = ahead - base
            next_page = gl.load(next_table + next_block.to(gl.int64) * stride_table_b)
            next_start = gl.load(cu_seqlens_q_ptr + next_req * stride_cu)


def programs_per_processor(batch: PagedBatch, decode_query_len: int) -> int:
    """Programs that a multiprocessor has at once."""
    return PROGRAMS[num_rows_of(batch.config, decode_query_len)]


def is_served(batch: PagedBatch, decode_query_len: int) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    has_room = num_rows_of(batch.config, decode_query_len) <= MAX_ROWS
    return has_room and is_read_by_sm90(batch) and is_tensor_copied(batch.index_q)


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int, is_followed: bool
) -> Launched | None:
    """As `launch_decode`, which says what is launched."""
    return launch_decode(
        _decode_score_sm90_kernel,
        batch,
        score,
        num_programs,
        num_reqs,
        decode_query_len,
        parts=2,
        num_warps=WARPS,
        launch_pdl=True,
        IS_FOLLOWED=is_followed,
    )

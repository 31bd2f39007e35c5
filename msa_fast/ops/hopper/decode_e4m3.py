"""Decode scores on Hopper of e4m3 keys: as `msa_fast.ops.hopper.decode`, with keys widened on the way to the product.

A program has a ring of pages in shared memory. Threads load a page to registers, where it is widened exactly: its place
is free, and takes the page that comes a round later, before the product begins. Queries are widened, and put into the
same order of D, once for each request, the first while the first page is on its way. A load takes 1 to 2 us while pages
are on their way. So a program's first two pages are dealt by its number, page ids are loaded 32 at a time, and what
there is to know of requests lies in shared memory. Serves MiniMax-M3's own shape; agrees bit for bit with the generic
scorer wherever sums are exact.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.hopper.widen import as_loaded, as_multiplied, widened
from msa_fast.ops.launch_table import architecture_of, next_power_of_2
from msa_fast.ops.launching import Launched
from msa_fast.ops.nvidia.decode_blocks import (
    best_by_memory,
    divided,
    num_rows_of,
    num_scored,
    of_request,
    own_share,
    programs_of,
    read_by_rows,
    request_at,
    store_best,
)
from msa_fast.ops.nvidia.decode_launch import launch_decode
from msa_fast.ops.nvidia.decode_ring import fetch_page, id_at, ids_from, next_slot
from msa_fast.ops.nvidia.tma import barrier, load_tile
from msa_ref.batch import PagedBatch

TAKES_INTERLEAVED = True
"""True if scores may lie interleaved (`new_vector_score`)."""
WARPS = 4
MAX_ROWS = 64
"""Query rows (token, head) of one product."""
STAGES = 2
"""Pages of a program's ring, 16 KiB each."""
MAX_PROGRAMS = {16: 3, 32: 3, 64: 2}
"""Programs of a multiprocessor at most, by query rows: beside four, registers are too few for the selection to start
early; three of 64 rows take longer than two."""
SHARED_BYTES = 227 << 10
"""Shared memory of a multiprocessor, as far as programs may have it."""
OWN_BYTES = 2 << 10
"""Shared memory that a program costs beside its vectors, maxima and requests: 1 KiB of the driver's, barriers."""


@gluon.jit
def _widen_queries(q, wide_queries, WARPS: gl.constexpr):
    """Store a request's queries [ROWS, D] with 16 bits, in the order of D in which keys are multiplied."""
    WORD: gl.constexpr = 128 // q.dtype.primitive_bitwidth
    D: gl.constexpr = q.shape[1]
    words: gl.constexpr = gl.BlockedLayout([1, WORD], [32 * WORD // D, D // WORD], [WARPS, 1], [1, 0])
    barrier()  # every warp has seen the product before, of the queries that lie there
    wide_queries.store(as_multiplied(q.load(words).to(wide_queries.dtype)))
    fence_async_shared()  # the matrix unit reads them by another way than threads write them
    barrier()


@gluon.jit
def _product(keys, q, mma: gl.constexpr):
    """Begin token_score [keys, ROWS] of keys that are loaded `as_loaded`, and widened queries [ROWS, D]."""
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    KEYS: gl.constexpr = keys.shape[0]
    ROWS: gl.constexpr = q.shape[0]
    zeros = gl.zeros([KEYS, ROWS], gl.float32, mma)
    k = widened(keys, q.dtype, operand)
    return warpgroup_mma(k, q.permute((1, 0)), zeros, use_acc=False, is_async=True)


@gluon.jit
def _refill(
    slot, copy, ids, end, keys, queries, ready, pages, q_shared, block_table_ptr, stride_table_r, stride_table_b,
    ends, bases, q_starts, lanes, flat: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
):  # fmt: skip
    """Start the copy of a page to a slot that is free, if there is one.

    copy: (position, request, base, stop, first query) of the page, the position of the first of `ids`, (request, slot)
    of the last queries fetched. Returns those of the page behind it, and ids.
    """
    ahead, req, base, stop, q_start, first, fetched, fetched_slot = copy
    if ahead < end:
        STAGES: gl.constexpr = q_shared.shape[0]
        is_new = req != fetched
        fetched_slot = gl.where(is_new, next_slot(fetched_slot, STAGES), fetched_slot)
        page = id_at(ahead - first, ids, lanes)
        fetch_page(keys, page, queries, q_start, slot, fetched_slot, ready, pages, q_shared, True, is_new, S, D)
        fetched = req
        ahead += 1
        if (ahead >= stop) | (ahead - first >= 32):
            if ahead >= stop:
                req, base, stop = request_at(ahead, ends, bases, flat)
                q_start = of_request(req, q_starts, flat)
            first = ahead
            ids = ids_from(ahead, end, req, base, stop, block_table_ptr, stride_table_r, stride_table_b, lanes)
    return (ahead, req, base, stop, q_start, first, fetched, fetched_slot), ids


@gluon.jit(
    do_not_specialize=[
        "stride_table_r",
        "stride_table_b",
        "num_reqs",
        "reciprocal_of_programs",
        "reciprocal_of_reqs",
        "num_columns",
        "stride_score_h",
        "stride_score_t",
        "stride_score_v",
    ],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _decode_score_e4m3_sm90_kernel(
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
    num_columns,
    H: gl.constexpr,
    TILE_HEADS: gl.constexpr,
    D: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    REQS: gl.constexpr,
    ROWS: gl.constexpr,
    SCORE_VECTOR: gl.constexpr,
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
):
    """Grid, writes, masks and first blocks as `_decode_score_sm90_kernel`. keys, queries: tensor descriptors.

    num_columns: columns of the block table. A page's slot is its number, counted in this program, modulo STAGES; a
    request's queries have the slot of its number among the requests that the program scores, so that STAGES of them
    suffice.
    """
    # Every warp counts all requests, so that none waits for another to pick from them.
    flat: gl.constexpr = gl.BlockedLayout([REQS // 32 if REQS > 32 else 1], [32], [WARPS], [0])
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, ROWS, 16])
    best_layout: gl.constexpr = gl.SwizzledSharedLayout(8, 2, 4, [0, 1])  # no two lanes of a store meet in a bank
    wide_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    WIDE: gl.constexpr = gl.float16 if queries.dtype.primitive_bitwidth == 8 else queries.dtype
    HALF: gl.constexpr = S // 2
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
    first_program, behind_program = programs_of(req, num_reqs, reciprocal_of_reqs)
    second = block + behind_program - first_program
    second_at = req.to(gl.int64) * stride_table_r + second.to(gl.int64) * stride_table_b
    second_page = gl.load(block_table_ptr + second_at, mask=second < num_columns, other=0)
    pages = gl.allocate_shared_memory(keys.dtype, [STAGES, 1, S, D], keys.layout)
    q_shared = gl.allocate_shared_memory(queries.dtype, [STAGES, ROWS // TILE_HEADS, TILE_HEADS, D], queries.layout)
    wide_queries = gl.allocate_shared_memory(WIDE, [ROWS, D], wide_layout)
    best_shared = gl.allocate_shared_memory(gl.float32, [WARPS * 8, ROWS], best_layout)
    known = gl.allocate_shared_memory(gl.int32, [5, REQS], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    asked = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(ready.index(i), count=1)
    mbarrier.init(asked, count=1)
    num_own_blocks = num_scored(q_start, q_end, seq_len, S, TOPK)
    is_dealt = block < num_own_blocks
    mbarrier.expect(asked, ROWS * D * queries.dtype.primitive_bitwidth // 8, pred=is_dealt)
    load_tile(queries, [q_start, 0, 0], asked, q_shared.index(0), pred=is_dealt)
    fetch_page(keys, page, queries, q_start, 0, 0, ready, pages, q_shared, is_dealt, False, S, D)
    barrier()  # the assembler would put what follows before the copy

    # While it is on its way: what there is of all requests.
    query_len = q_end - q_start
    context_len = seq_len - query_len
    reqs = gl.arange(0, REQS, layout=flat)
    is_req = reqs < num_reqs
    of_starts = gl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    of_query_ends = gl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    of_seq_lens = gl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    num_blocks = num_scored(of_starts, of_query_ends, of_seq_lens, S, TOPK)
    is_second, position, end, of_ends, of_bases = own_share(
        program, is_dealt, second < num_own_blocks, num_blocks, reqs, num_reqs, reciprocal_of_programs,
        reciprocal_of_reqs, 2,
    )  # fmt: skip
    fetch_page(keys, second_page, queries, q_start, 1, 0, ready, pages, q_shared, is_second, False, S, D)
    ends, bases, q_starts, query_lens, context_lens = (
        known.index(0), known.index(1), known.index(2), known.index(3), known.index(4),
    )  # fmt: skip
    ends.store(of_ends)
    bases.store(of_bases)
    q_starts.store(of_starts)
    query_lens.store(of_query_ends - of_starts)
    context_lens.store(of_seq_lens - (of_query_ends - of_starts))

    num_dealt = is_dealt.to(gl.int32) + is_second.to(gl.int32)
    num_pages = num_dealt + end - position
    held = gl.where(is_dealt, req, -1)
    q_slot = gl.where(is_dealt, 0, STAGES - 1)
    base, stop = position, position
    lanes = gl.arange(0, 32, layout=gl.BlockedLayout([1], [32], [WARPS], [0]))
    copy_req, copy_base, copy_stop = request_at(position, ends, bases, flat)
    ids = ids_from(
        position, end, copy_req, copy_base, copy_stop, block_table_ptr, stride_table_r, stride_table_b, lanes
    )  # fmt: skip
    copy_start = of_request(copy_req, q_starts, flat)
    copy = (position, copy_req, copy_base, copy_stop, copy_start, position, held, q_slot)
    for slot in range(num_dealt, STAGES):
        copy, ids = _refill(
            slot, copy, ids, end, keys, queries, ready, pages, q_shared, block_table_ptr, stride_table_r,
            stride_table_b, ends, bases, q_starts, lanes, flat, S, D,
        )  # fmt: skip
    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, read_by_rows(WARPS, ROWS)))
    token, head = row // TILE_HEADS, row % TILE_HEADS
    is_widened = is_dealt  # the queries that are multiplied
    if is_dealt:
        mbarrier.wait(asked, 0)
        _widen_queries(q_shared.index(0).reshape([ROWS, D]), wide_queries, WARPS)
    slot = 0
    phase = 0
    for turn in range(0, num_pages):
        block = gl.where(turn == 1, second, block)
        if turn >= num_dealt:
            if position >= stop:
                req, base, stop = request_at(position, ends, bases, flat)
            block = position - base
            position += 1
            if req != held:
                held = req
                q_start = of_request(req, q_starts, flat)
                query_len = of_request(req, query_lens, flat)
                context_len = of_request(req, context_lens, flat)
                q_slot = next_slot(q_slot, STAGES)
                is_widened = False
        mbarrier.wait(ready.index(slot), phase)
        if not is_widened:
            _widen_queries(q_shared.index(q_slot).reshape([ROWS, D]), wide_queries, WARPS)
            is_widened = True
        page_keys = pages.index(slot).reshape([S, D])
        first_score = _product(page_keys.slice(0, HALF).load(as_loaded()), wide_queries, mma)
        other_keys = page_keys.slice(HALF, HALF).load(as_loaded())
        fence_async_shared()  # a copy takes the page's place by another way than threads have read it
        barrier()  # every warp has the page in registers
        copy, ids = _refill(
            slot, copy, ids, end, keys, queries, ready, pages, q_shared, block_table_ptr, stride_table_r,
            stride_table_b, ends, bases, q_starts, lanes, flat, S, D,
        )  # fmt: skip
        first_score = warpgroup_mma_wait(0, deps=[first_score])
        other_score = warpgroup_mma_wait(0, deps=[_product(other_keys, wide_queries, mma)])
        if (block + 1) * S > context_len + 1:  # else the first token sees all of it, and so do the others
            sees = context_len + 1 + gl.arange(0, ROWS, layout=gl.SliceLayout(0, mma)) // TILE_HEADS
            key_pos = block * S + gl.arange(0, HALF, layout=gl.SliceLayout(1, mma))[:, None]
            first_score = gl.where(key_pos < sees[None, :], first_score, float("-inf"))
            other_score = gl.where(key_pos + HALF < sees[None, :], other_score, float("-inf"))
        best = best_by_memory(gl.maximum(first_score, other_score), best_shared, ROWS, WARPS)
        store_best(
            best, block, q_start, query_len, context_len, score_ptr, stride_score_h, stride_score_t, stride_score_v,
            token, head, H, S, SCORE_VECTOR,
        )  # fmt: skip
        phase = gl.where(slot == STAGES - 1, phase ^ 1, phase)
        slot = next_slot(slot, STAGES)


def programs_per_processor(batch: PagedBatch, decode_query_len: int) -> int:
    """Programs that a multiprocessor has at once: as many as its shared memory holds."""
    config, num_rows = batch.config, num_rows_of(batch.config, decode_query_len)
    ring = STAGES * (config.block_size + num_rows * batch.index_q.element_size())
    vectors = (ring + num_rows * 2) * config.index_head_dim
    maxima, requests = WARPS * 8 * 4 * num_rows, 5 * 4 * max(32, next_power_of_2(batch.num_reqs))
    return min(MAX_PROGRAMS[num_rows], SHARED_BYTES // (vectors + maxima + requests + OWN_BYTES))


def is_served(batch: PagedBatch, decode_query_len: int) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    config, q, keys = batch.config, batch.index_q, batch.index_k_pages
    has_shape = (config.index_head_dim, config.block_size) == (128, 128) and q.element_size() <= 2
    has_shape &= num_rows_of(config, decode_query_len) <= MAX_ROWS and keys.dtype == torch.float8_e4m3fn
    is_copied = is_tensor_copied(keys) and is_tensor_copied(q)
    return has_shape and is_copied and architecture_of(batch.device) == "sm_90"


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int, is_followed: bool
) -> Launched | None:
    """As `launch_decode`, which says what is launched."""
    return launch_decode(
        _decode_score_e4m3_sm90_kernel,
        batch,
        score,
        num_programs,
        num_reqs,
        decode_query_len,
        numbers=(batch.max_blocks,),
        num_warps=WARPS,
        launch_pdl=True,
        STAGES=STAGES,
        IS_FOLLOWED=is_followed,
    )

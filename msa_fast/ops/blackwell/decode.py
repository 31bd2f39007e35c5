"""Decode scores on Blackwell: as `msa_fast.ops.decode_score`, with pages on their way while others are multiplied.

A program has a ring of pages in shared memory. As soon as a page's product is done, its place takes the page that
comes a round later, and only then maxima are taken, from tensor memory: keys are the product's rows, so that a page is
an operand as it lies. Keys of one byte are widened exactly into tensor memory, which frees their place even earlier.
By Little's law 8 TB/s over 148 multiprocessors ask for 54 KB on their way in each for every microsecond of latency.
Two or three programs have rings of two pages of 32 KiB, or of three of 16 KiB: 128 to 192 KiB, and in e4m3 96 or 144.
Serves MiniMax-M3's own shape, but no NVFP4 keys; sums in the order of the generic scorer, so scores have the same
bits. Compiled, executed on a model, not run on hardware.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia import blackwell
from triton.experimental.gluon.language.nvidia.hopper import mbarrier
from triton.language.extra.cuda import gdc_launch_dependents

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.launch_table import architecture_of, next_power_of_2
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
from msa_fast.ops.nvidia.decode_ring import fetch_page, look_up, next_slot
from msa_fast.ops.nvidia.tma import barrier
from msa_ref.batch import PagedBatch

ARCHITECTURES = ("sm_100", "sm_103")
TAKES_INTERLEAVED = True
"""True if scores may lie interleaved (`new_vector_score`)."""
WARPS = 4
MAX_ROWS = 64
"""Query rows (token, head) of one product: its columns in tensor memory."""
STAGES = {2: 2, 1: 3}
"""Pages of a program's ring, by bytes of a key's element."""
MAX_PROGRAMS = 3
"""Programs of a multiprocessor at most: as many rings of 16 query rows as fit its shared memory."""
SHARED_BYTES = 228 << 10
"""Shared memory of a multiprocessor."""
OWN_BYTES = 2 << 10
"""Shared memory that a program costs beside its ring and its requests: 1 KiB of the driver's, barriers, maxima."""


@gluon.constexpr_function
def _keys_in_lanes(rows):
    """The layout in which tensor memory [128, rows] is loaded, `16x256b`: a lane has 4 keys of a quarter of the rows.

    So three exchanges between lanes find a warp's best key of each row; a lane that had a key whole would need five.
    """
    columns = [[0, 8 << i] for i in range((rows // 8).bit_length() - 1)]
    return gl.DistributedLinearLayout(
        reg_bases=[[0, 1], [8, 0], *columns, [16, 0]],
        lane_bases=[[0, 2], [0, 4], [1, 0], [2, 0], [4, 0]],
        warp_bases=[[32, 0], [64, 0]],
        block_bases=[],
        shape=[128, rows],
    )


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
def _decode_score_sm100_kernel(
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
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
):
    """Grid, writes, masks and first blocks as `_decode_score_sm90_kernel`. keys, queries: tensor descriptors.

    A page's slot is its number, counted in this program, modulo STAGES; a request's queries have the slot of its
    number among the requests that the program scores, so that STAGES of them suffice.
    """
    # Every warp counts all requests, so that none waits for another to pick from them.
    flat: gl.constexpr = gl.BlockedLayout([REQS // 32 if REQS > 32 else 1], [32], [WARPS], [0])
    in_lanes: gl.constexpr = _keys_in_lanes(ROWS)
    best_layout: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    IS_WIDENED: gl.constexpr = keys.dtype.primitive_bitwidth == 8
    HAS_WIDE_QUERIES: gl.constexpr = queries.dtype.primitive_bitwidth == 8
    WIDE: gl.constexpr = gl.float16 if HAS_WIDE_QUERIES else queries.dtype
    if IS_FOLLOWED:
        gdc_launch_dependents()
    program, num_programs = gl.program_id(0), gl.num_programs(0)
    req = divided(program * num_reqs, num_programs, reciprocal_of_programs)
    block = divided(program * num_reqs - req * num_programs, num_reqs, reciprocal_of_reqs)
    page = gl.load(block_table_ptr + req.to(gl.int64) * stride_table_r + block.to(gl.int64) * stride_table_b)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    q_end = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu)
    seq_len = gl.load(seq_lens_ptr + req * stride_seq_lens)
    pages = gl.allocate_shared_memory(keys.dtype, [STAGES, 1, S, D], keys.layout)
    q_shared = gl.allocate_shared_memory(queries.dtype, [STAGES, ROWS // TILE_HEADS, TILE_HEADS, D], queries.layout)
    best_shared = gl.allocate_shared_memory(gl.float32, [WARPS, ROWS], best_layout)
    known = gl.allocate_shared_memory(gl.int32, [2, REQS], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    done = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(ready.index(i), count=1)
    mbarrier.init(done, count=1)
    is_dealt = block < num_scored(q_start, q_end, seq_len, S, TOPK)
    fetch_page(keys, page, queries, q_start, 0, 0, ready, pages, q_shared, is_dealt, True, S, D)
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
    _, position, end, of_ends, of_bases = own_share(
        program, is_dealt, False, num_blocks, reqs, num_reqs, reciprocal_of_programs, reciprocal_of_reqs, 1
    )
    ends, bases = known.index(0), known.index(1)
    ends.store(of_ends)
    bases.store(of_bases)

    # Page id and query start of a copy are looked up a page ahead, whichever request it belongs to.
    num_dealt = is_dealt.to(gl.int32)
    num_pages = num_dealt + end - position
    held = gl.where(is_dealt, req, -1)
    q_slot = gl.where(is_dealt, 0, STAGES - 1)
    base, stop = position, position
    fetched, fetched_slot, ahead = held, q_slot, position
    next_req, next_base, next_stop, next_page, next_start = look_up(
        ahead, end, req, base, stop, block_table_ptr, cu_seqlens_q_ptr, stride_table_r, stride_table_b, stride_cu,
        ends, bases, flat,
    )  # fmt: skip
    accumulator = blackwell.allocate_tensor_memory(
        gl.float32, [S, ROWS], blackwell.TensorMemoryLayout([S, ROWS], col_stride=1)
    )
    if IS_WIDENED:
        wide_keys = blackwell.allocate_tensor_memory(WIDE, [S, D], blackwell.TensorMemoryLayout([S, D], col_stride=1))
    if HAS_WIDE_QUERIES:
        wide_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
        wide_queries = gl.allocate_shared_memory(WIDE, [ROWS, D], wide_layout)
    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, gl.BlockedLayout([WARPS, 1], [1, 32], [1, WARPS], [0, 1])))
    token, head = row // TILE_HEADS, row % TILE_HEADS
    whole_keys: gl.constexpr = gl.BlockedLayout([1, D], [32, 1], [WARPS, 1], [0, 1])
    is_widened = False  # the queries that are multiplied
    slot = num_dealt
    phase = 1  # so that it is 0 in the first round
    # Turns before 0 have no page yet: they fill the ring.
    for turn in range(num_dealt - STAGES, num_pages):
        if turn >= num_dealt:
            if position >= stop:
                req, base, stop = request_at(position, ends, bases, flat)
            block = position - base
            position += 1
            if req != held:
                held = req
                q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
                query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
                context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
                q_slot = next_slot(q_slot, STAGES)
                is_widened = False
        if turn >= 0:
            mbarrier.wait(ready.index(slot), phase)
            k, q = pages.index(slot).reshape([S, D]), q_shared.index(q_slot).reshape([ROWS, D])
            if IS_WIDENED:  # exact, so that products are summed as those of the generic scorer
                wide_keys.store(k.load(whole_keys).to(WIDE))
                blackwell.fence_async_shared()  # a copy takes the page's place by another way than threads have read it
                k = wide_keys
            if HAS_WIDE_QUERIES:
                if not is_widened:
                    wide_queries.store(q.load(gl.BlockedLayout([1, 16], [4, 8], [WARPS, 1], [1, 0])).to(WIDE))
                    blackwell.fence_async_shared()
                    is_widened = True
                q = wide_queries
            barrier()  # every warp has taken its maxima from the accumulator, and has seen the product before
            blackwell.tcgen05_mma(k, q.permute((1, 0)), accumulator, use_acc=False, mbarriers=[done])
            if not IS_WIDENED:
                mbarrier.wait(done, turn & 1)
        if ahead < end:
            is_new = next_req != fetched
            if IS_WIDENED and not HAS_WIDE_QUERIES:  # noqa: SIM102 - a constant decides whether there is a branch
                if is_new and turn >= 0:  # the slot may be that of the queries that are being multiplied
                    mbarrier.wait(done, turn & 1)
            fetched_slot = gl.where(is_new, next_slot(fetched_slot, STAGES), fetched_slot)
            fetch_page(
                keys, next_page, queries, next_start, slot, fetched_slot, ready, pages, q_shared, True, is_new, S, D
            )
            fetched = next_req
            ahead += 1
            next_req, next_base, next_stop, next_page, next_start = look_up(
                ahead, end, next_req, next_base, next_stop, block_table_ptr, cu_seqlens_q_ptr, stride_table_r,
                stride_table_b, stride_cu, ends, bases, flat,
            )  # fmt: skip
        if turn >= 0:
            if IS_WIDENED:  # its place was free when all of the page was in tensor memory
                mbarrier.wait(done, turn & 1)
            token_score = accumulator.load(in_lanes)
            if (block + 1) * S > context_len + 1:  # else the first token sees all of it, and so do the others
                sees = context_len + 1 + gl.arange(0, ROWS, layout=gl.SliceLayout(0, in_lanes)) // TILE_HEADS
                key_pos = block * S + gl.arange(0, S, layout=gl.SliceLayout(1, in_lanes))[:, None]
                token_score = gl.where(key_pos < sees[None, :], token_score, float("-inf"))
            best = best_of_keys(token_score, best_shared, ROWS, WARPS)
            store_best(
                best, block, q_start, query_len, context_len, score_ptr, stride_score_h, stride_score_t, stride_score_v,
                token, head, H, S, SCORE_VECTOR,
            )  # fmt: skip
        phase = gl.where(slot == STAGES - 1, phase ^ 1, phase)
        slot = next_slot(slot, STAGES)


def programs_per_processor(batch: PagedBatch, decode_query_len: int) -> int:
    """Programs that a multiprocessor has at once: as many as its shared memory holds."""
    config, num_rows = batch.config, num_rows_of(batch.config, decode_query_len)
    key_bytes, query_bytes = batch.index_k_pages.element_size(), batch.index_q.element_size()
    ring = STAGES[key_bytes] * (config.block_size * key_bytes + num_rows * query_bytes)
    wide_queries = num_rows * 2 if query_bytes == 1 else 0
    each = (ring + wide_queries) * config.index_head_dim + 8 * max(32, next_power_of_2(batch.num_reqs)) + OWN_BYTES
    return min(MAX_PROGRAMS, SHARED_BYTES // each)


def is_served(batch: PagedBatch, decode_query_len: int) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    config, q, keys = batch.config, batch.index_q, batch.index_k_pages
    has_shape = (config.index_head_dim, config.block_size) == (128, 128) and q.element_size() <= 2
    has_shape &= num_rows_of(config, decode_query_len) <= MAX_ROWS and keys.dtype in (q.dtype, torch.float8_e4m3fn)
    is_copied = is_tensor_copied(keys) and is_tensor_copied(q)
    return has_shape and is_copied and architecture_of(batch.device) in ARCHITECTURES


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int, is_followed: bool
) -> Launched | None:
    """As `launch_decode`, which says what is launched."""
    return launch_decode(
        _decode_score_sm100_kernel,
        batch,
        score,
        num_programs,
        num_reqs,
        decode_query_len,
        num_warps=WARPS,
        STAGES=STAGES[batch.index_k_pages.element_size()],
        IS_FOLLOWED=is_followed,
    )

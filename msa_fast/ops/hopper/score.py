"""Prefill scores on Hopper: as `msa_fast.ops.prefill_score`, with products kept in flight.

Gluon states an asynchronous matrix product and the wait for it separately. Each program holds two
halves of its query rows and multiplies one with a page while it takes the maxima of the other. Serves
MiniMax-M3's own shape; agrees bit for bit with the scorer for everyone wherever sums are exact.
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
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.hopper.diagonal import masked
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.put import has_flat_rows, put_best
from msa_fast.ops.nvidia.tma import barrier, fetch, is_read_by_sm90, load_tile, pages_of, queries_of, reinterpreted
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.AT_ONCE
IS_INTERLEAVED = False
WARPS = 4
"""One warpgroup. Two programs share a multiprocessor and fill each other's gaps; programs of two
warpgroups and twice the rows were slower, since a barrier holds both to one pace."""
STAGES = 3
"""Pages of a program in shared memory: a multiprocessor has room for those of two programs."""
IS_B_SHARED = not hasattr(gl, "thread_barrier")
"""True if the second half of the query rows is multiplied from shared memory. Registers are faster
(0.93 of a matrix product, against 0.89, with Triton 3.6), but the assembler of later releases copies left
operands once more, and the loop would spill."""


@gluon.jit
def product(q, pages, slot, ROWS: gl.constexpr, S: gl.constexpr, D: gl.constexpr, mma: gl.constexpr):
    """Start q [ROWS, D] times the keys of a slot; fp32 [ROWS, S] once it is waited for."""
    k = pages.index(slot).reshape([S, D]).permute((1, 0))
    return warpgroup_mma(q, k, gl.zeros([ROWS, S], gl.float32, mma), use_acc=False, is_async=True)


@gluon.constexpr_function
def beside_scores(warps):
    """Layout of [ROWS, 4] vectors: as a product's rows lie, with a vector in the four threads that share a row."""
    rows_of_warps = [[16 << i, 0] for i in range(warps.bit_length() - 1)]
    return gl.DistributedLinearLayout(
        [[8, 0]], [[0, 1], [0, 2], [1, 0], [2, 0], [4, 0]], rows_of_warps, [], [16 * warps, 4]
    )


@gluon.jit
def put(
    token_score, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks, stride_score_b,
    stride_best_b, SUPERBLOCK: gl.constexpr, VECTOR: gl.constexpr, IS_INSIDE: gl.constexpr = False,
):  # fmt: skip
    """Store the best of token_score [ROWS, S], as `put_best`, which says what is returned."""
    best = gl.max(token_score, axis=1)
    best = gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is
    return put_best(
        best, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks, stride_score_b,
        stride_best_b, SUPERBLOCK, VECTOR, IS_INSIDE,
    )  # fmt: skip


@gluon.jit
def stored_halves(
    row, first_row, num_rows, flat_start, score_ptr, best_ptr, stride_score_row, stride_best_row,
    HALF: gl.constexpr, VECTOR: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """Two halves of query rows, a and b, as `put` takes them; they begin with first_row of a request's num_rows rows.

    row: those of the first half, as a product has them. flat_start: row of the scores where the request's begin.
    Returns held, the same for both; is_a, is_b; score_a, best_a; score_b, best_b.
    """
    if VECTOR > 1:
        vectors: gl.constexpr = beside_scores(WARPS)
        stored_row = first_row + gl.arange(0, HALF, layout=gl.SliceLayout(1, vectors))[:, None]
        held = gl.full([HALF, VECTOR], float("-inf"), gl.float32, vectors)
    else:
        stored_row = row
        held = gl.full([HALF], float("-inf"), gl.float32, row.type.layout)
    score_a = score_ptr + (flat_start + stored_row) * stride_score_row
    best_a = best_ptr + (flat_start + stored_row) * stride_best_row
    score_b, best_b = score_a + HALF * stride_score_row, best_a + HALF * stride_best_row
    return held, stored_row < num_rows, stored_row < num_rows - HALF, score_a, best_a, score_b, best_b


@gluon.jit
def query_rows(
    q_ptr, first_row, q_start, query_len, stride_q_t, stride_q_h,
    H: gl.constexpr, D: gl.constexpr, ROWS: gl.constexpr, WARPS: gl.constexpr,
):  # fmt: skip
    """[ROWS, D] query rows, as they are loaded; rows past the request repeat its first token."""
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [256 // D, D // 8], [WARPS, 1], [1, 0])
    row = first_row + gl.arange(0, ROWS, layout=gl.SliceLayout(1, wide))
    token = gl.where(row // H < query_len, row // H, 0)
    at = (q_start + token).to(gl.int64) * stride_q_t + (row % H).to(gl.int64) * stride_q_h
    offs_d = gl.arange(0, D, layout=gl.SliceLayout(0, wide))
    return gl.load(q_ptr + at[:, None] + offs_d[None, :])


@gluon.jit(
    do_not_specialize=["slab_token", "stride_table_r", "stride_table_b", "num_columns"],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _score_sm90_kernel(
    q_ptr,
    keys,
    queries,
    block_table_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    tiles_ptr,
    score_ptr,
    best_ptr,
    slab_token,
    stride_q_t,
    stride_q_h,
    stride_table_r,
    stride_table_b,
    num_columns,
    stride_seq_lens,
    stride_cu,
    stride_score_row,
    stride_score_b,
    stride_best_row,
    stride_best_b,
    H: gl.constexpr,
    D: gl.constexpr,
    S: gl.constexpr,
    ROWS: gl.constexpr,
    SUPERBLOCK: gl.constexpr,
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    IS_B_SHARED: gl.constexpr,
    VECTOR: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
):
    """Grid, writes and masks: as `_score_kernel`. keys, queries: tensor descriptors of pages, of half a tile's queries.

    Rows (token, head) of the scores lie a stride apart. Blocks that every row sees whole go STAGES at a time
    through the loop in flight, with one page's slot refilled as soon as both halves are done with it; those
    that are left go one by one, and so do the diagonal and the blocks of a tile of one half. A block's slot is its
    number modulo STAGES: of slots known at compile time the assembler keeps every address in registers. VECTOR > 1:
    blocks side by side in a row, stored together; stride_score_b is that of vectors. num_columns: columns of the
    block table. IS_FOLLOWED: the selection waits for the scores on the GPU. IS_Q_COPIED: queries come by descriptor,
    else by q_ptr.
    """
    HALF: gl.constexpr = ROWS // 2
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, S, 16])
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    q_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    gdc_wait()
    if IS_FOLLOWED:  # no sooner: the selection reads lengths before it waits
        gdc_launch_dependents()
    tile = tiles_ptr + gl.program_id(0) * 4
    req = gl.load(tile)
    first_row = gl.load(tile + 1)
    block = gl.load(tile + 2)
    end_block = gl.load(tile + 3)
    # Looked up while the lengths are on their way: entries behind the last live block may hold anything.
    table_row = block_table_ptr + req.to(gl.int64) * stride_table_r
    first_pages = ()
    for i in gl.static_range(STAGES):
        is_listed = block + i < gl.minimum(end_block, num_columns)
        entry = table_row + (block + i).to(gl.int64) * stride_table_b
        first_pages += (gl.load(entry, mask=is_listed, other=0),)  # type: ignore[assignment]
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    last_token = gl.minimum((first_row + ROWS - 1) // H, query_len - 1)
    num_blocks = (gl.maximum(context_len + last_token + 1, 0) + S - 1) // S
    end_block = gl.minimum(end_block, num_blocks)
    full_blocks = gl.minimum(gl.maximum(context_len + first_row // H + 1, 0) // S, end_block)
    if block < end_block:
        pages = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [STAGES, 1, S, D], keys.layout)
        ready = gl.allocate_shared_memory(gl.int64, [STAGES + 1, 1], mbarrier.MBarrierLayout())
        for i in gl.static_range(STAGES + 1):
            mbarrier.init(ready.index(i), count=1)
        if IS_Q_COPIED:
            # Queries come first, in the place of the last page, then one page: behind more they would come late. A half
            # without rows of the request does not come where nothing multiplies it.
            halves = reinterpreted(pages, pages.dtype, [2 * STAGES, HALF // H, H, D], queries.layout)
            place_a = (block + STAGES - 1) % STAGES * 2
            asked = ready.index(STAGES)
            has_both = (first_row + HALF < query_len * H) | (VECTOR == 1)
            mbarrier.expect(asked, ROWS * D * 2, pred=has_both)
            mbarrier.expect(asked, HALF * D * 2, pred=~has_both)
            first_token = q_start + first_row // H
            load_tile(queries, [first_token, 0, 0], asked, halves.index(place_a))
            load_tile(queries, [first_token + HALF // H, 0, 0], asked, halves.index(place_a + 1), pred=has_both)
            page = first_pages[0]  # type: ignore[misc]
            fetch(keys, page, 0, block % STAGES, ready, pages, True, S, D)
            mbarrier.wait(asked, 0)
            for i in gl.static_range(1, STAGES - 1):
                fetch(keys, first_pages[i], 0, (block + i) % STAGES, ready, pages, block + i < end_block, S, D)
            q_a = halves.index(place_a).reshape([HALF, D]).load(operand)
            q_b = halves.index(place_a + 1).reshape([HALF, D]).load(operand)
            fence_async_shared()
            barrier()  # every warp has read them before the page takes their place
            last: gl.constexpr = STAGES - 1
            fetch(keys, first_pages[last], 0, (block + last) % STAGES, ready, pages, block + last < end_block, S, D)
        else:
            for i in gl.static_range(STAGES):
                fetch(keys, first_pages[i], 0, (block + i) % STAGES, ready, pages, block + i < end_block, S, D)
            q_a = query_rows(q_ptr, first_row, q_start, query_len, stride_q_t, stride_q_h, H, D, HALF, WARPS)
            if not IS_B_SHARED:
                q_a = gl.convert_layout(q_a, operand)
            q_b = query_rows(q_ptr, first_row + HALF, q_start, query_len, stride_q_t, stride_q_h, H, D, HALF, WARPS)
        if IS_B_SHARED:
            q_shared = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [HALF, D], q_layout)
            q_shared.store(q_a)
            barrier()
            q_a = q_shared.load(operand)
            barrier()
            q_shared.store(q_b)
            q_b = q_shared
            fence_async_shared()  # the matrix unit reads it by another way than threads write it
            barrier()
        else:
            q_b = gl.convert_layout(q_b, operand)
        row = first_row + gl.arange(0, HALF, layout=gl.SliceLayout(1, mma))
        held_a, is_a, is_b, score_a, best_a, score_b, best_b = stored_halves(
            row, first_row, query_len * H, (q_start - slab_token).to(gl.int64) * H, score_ptr, best_ptr,
            stride_score_row, stride_best_row, HALF, VECTOR, WARPS,
        )  # fmt: skip
        held_b = held_a
        first_block = block
        phase = 0
        has_b = first_row + HALF < query_len * H
        # The loop in flight would multiply a second half that has no rows.
        if VECTOR > 1 and not IS_B_SHARED and not has_b:
            while block + 1 < full_blocks:
                slot = block % STAGES
                mbarrier.wait(ready.index(slot), ((block - first_block) // STAGES) & 1)
                product_a = product(q_a, pages, slot, HALF, S, D, mma)
                ahead = block + STAGES
                page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end_block, other=0)
                scores = warpgroup_mma_wait(0, deps=[product_a])
                barrier()
                fetch(keys, page, 0, slot, ready, pages, ahead < end_block, S, D)
                held_a = put(
                    scores, held_a, is_a, score_a, best_a, block, first_block, end_block, num_blocks, stride_score_b,
                    stride_best_b, SUPERBLOCK, VECTOR, IS_INSIDE=True,
                )  # fmt: skip
                block += 1
        while block + STAGES <= full_blocks:
            mbarrier.wait(ready.index(block % STAGES), phase)
            product_a = product(q_a, pages, block % STAGES, HALF, S, D, mma)
            for i in gl.static_range(STAGES):
                slot = (block + i) % STAGES
                product_b = product(q_b, pages, slot, HALF, S, D, mma)
                ahead = block + i + STAGES
                page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end_block, other=0)
                scores = warpgroup_mma_wait(1, deps=[product_a])
                held_a = put(
                    scores, held_a, is_a, score_a, best_a, block + i, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
                # Nothing is in flight where the loop closes: the assembler would wait for every
                # product otherwise, unable to see which registers are still being written.
                if i + 1 < STAGES:
                    following = (block + i + 1) % STAGES
                    mbarrier.wait(ready.index(following), phase)
                    product_a = product(q_a, pages, following, HALF, S, D, mma)
                    scores = warpgroup_mma_wait(1, deps=[product_b])
                else:
                    scores = warpgroup_mma_wait(0, deps=[product_b])
                barrier()  # every warp is done with the page before another takes its slot
                fetch(keys, page, 0, slot, ready, pages, ahead < end_block, S, D)
                held_b = put(
                    scores, held_b, is_b, score_b, best_b, block + i, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
            phase = phase ^ 1
            block += STAGES

        if not IS_B_SHARED:  # else the assembler would spill, and the loop below takes them
            while block < full_blocks:
                slot = block % STAGES
                mbarrier.wait(ready.index(slot), ((block - first_block) // STAGES) & 1)
                product_a = product(q_a, pages, slot, HALF, S, D, mma)
                product_b = product(q_b, pages, slot, HALF, S, D, mma)
                ahead = block + STAGES
                page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end_block, other=0)
                product_a, product_b = warpgroup_mma_wait(1, deps=[product_a, product_b])
                held_a = put(
                    product_a, held_a, is_a, score_a, best_a, block, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
                product_b = warpgroup_mma_wait(0, deps=[product_b])
                barrier()
                fetch(keys, page, 0, slot, ready, pages, ahead < end_block, S, D)
                held_b = put(
                    product_b, held_b, is_b, score_b, best_b, block, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
                block += 1

        while block < end_block:
            slot = block % STAGES
            phase = ((block - first_block) // STAGES) & 1
            mbarrier.wait(ready.index(slot), phase)
            scores = warpgroup_mma_wait(0, deps=[product(q_a, pages, slot, HALF, S, D, mma)])
            scores = masked(scores, block, context_len + row // H + 1, S, mma)
            held_a = put(
                scores, held_a, is_a, score_a, best_a, block, first_block, end_block, num_blocks,
                stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            if has_b:
                scores = warpgroup_mma_wait(0, deps=[product(q_b, pages, slot, HALF, S, D, mma)])
                scores = masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)
                held_b = put(
                    scores, held_b, is_b, score_b, best_b, block, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
            barrier()
            ahead = block + STAGES
            page = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end_block, other=0)
            fetch(keys, page, 0, slot, ready, pages, ahead < end_block, S, D)
            block += 1
        for i in gl.static_range(STAGES + 1):
            mbarrier.invalidate(ready.index(i))


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    if plan.score_rows != 128 or not is_read_by_sm90(batch):
        return False
    return has_flat_rows(batch, score, superblock_score)


def launch_score(
    batch: PagedBatch,
    plan: PrefillPlan,
    tiles: torch.Tensor,
    slab_token: int,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None,
    is_followed: bool = False,
) -> Launched:
    """Launch on checked arguments that are served: tiles of the plan, of the slab whose first token is slab_token."""
    config = batch.config
    heads = config.num_index_heads
    half = plan.score_rows // 2
    is_q_copied = not IS_B_SHARED and half % heads == 0 and is_tensor_copied(batch.index_q)
    best = score if superblock_score is None else superblock_score
    return launched(
        batch.device,
        _score_sm90_kernel,
        (len(tiles),),
        batch.index_q,
        pages_of(batch),
        queries_of(batch, half // heads, heads) if is_q_copied else None,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        score,
        best,
        slab_token,
        *batch.index_q.stride()[:2],
        *batch.block_table.stride(),
        batch.max_blocks,
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        score.stride(0),
        score.stride(2),
        best.stride(0),
        best.stride(2),
        H=config.num_index_heads,
        D=config.index_head_dim,
        S=config.block_size,
        ROWS=plan.score_rows,
        SUPERBLOCK=0 if superblock_score is None else plan.superblock,
        STAGES=STAGES,
        WARPS=WARPS,
        IS_B_SHARED=IS_B_SHARED,
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        IS_FOLLOWED=is_followed,
        IS_Q_COPIED=is_q_copied,
        num_warps=WARPS,
        launch_pdl=True,
    )

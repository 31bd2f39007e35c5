"""Prefill scores on Hopper of e4m3 keys: as `msa_fast.ops.hopper.score`, with keys widened on their way to the product.

The matrix unit takes a right operand of 16 bits from shared memory alone, and a left one from registers, too. So
keys are the left operand: threads load half a page of bytes, widen it exactly in registers and multiply it with the
tile's queries. Serves MiniMax-M3's own shape; agrees bit for bit with the generic scorer wherever sums are exact.
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
from triton.language.extra.cuda import gdc_launch_dependents

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.hopper.diagonal import columns_apart
from msa_fast.ops.hopper.score import query_rows
from msa_fast.ops.hopper.widen import as_loaded, as_multiplied, widened
from msa_fast.ops.launch_table import architecture_of
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.put import has_flat_rows, put_best
from msa_fast.ops.nvidia.tma import barrier, fetch, load_tile, pages_of, reinterpreted
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_fast.ops.sharing import IS_E4M3_CAPPED
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.NEAR_END
IS_INTERLEAVED = True
"""An eighth of the time goes to stores that lie in rows of their own."""
WARPS = 4
"""One warpgroup."""
REGISTERS = 168 if IS_E4M3_CAPPED else None
"""Registers of a thread at most."""


@gluon.jit
def _product(page, half: gl.constexpr, q, ROWS: gl.constexpr, mma: gl.constexpr):
    """Start half the keys of a page times q [ROWS, D]; fp32 [keys, ROWS] once it is waited for."""
    KEYS: gl.constexpr = page.shape[1] // 2
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    keys = page.reshape([page.shape[1], page.shape[2]])
    k = widened(keys.slice(half * KEYS, KEYS).load(as_loaded()), q.dtype, operand)
    zeros = gl.zeros([KEYS, ROWS], gl.float32, mma)
    return warpgroup_mma(k, q.permute((1, 0)), zeros, use_acc=False, is_async=True)


@gluon.jit
def _masked(token_score, first_key, first_row, context_len, H: gl.constexpr):
    """-inf for the tokens that a row does not see."""
    KEYS: gl.constexpr = token_score.shape[0]
    parts, row, of_lane = columns_apart(token_score)
    layout: gl.constexpr = parts.type.layout
    key_pos = first_key + gl.arange(0, KEYS, layout=gl.SliceLayout(1, gl.SliceLayout(2, gl.SliceLayout(3, layout))))
    first_seeing = ((key_pos - context_len) * H - first_row)[:, None, None, None] - of_lane
    return gl.where(row >= first_seeing, parts, float("-inf")).reshape(token_score.shape)


@gluon.jit
def _best_of_threads(token_score):
    """fp32 [warps, 8, ROWS]: the maxima of token_score [keys, ROWS] within threads; 8 of them share a row."""
    KEYS: gl.constexpr = token_score.shape[0]
    return gl.max(token_score.reshape([KEYS // 16, 2, 8, token_score.shape[1]]), axis=1)


@gluon.jit
def _refill(keys, number, ready, page, is_there):
    """Start the copy of another page to the place of one that warps have read, and where they have met since."""
    mbarrier.expect(ready.index(0), page.shape[2] * page.shape[3], pred=is_there)
    fence_async_shared()  # a copy takes the page's place by another way than threads have read and stored there
    barrier()
    load_tile(keys, [number, 0, 0], ready.index(0), page.index(0), pred=is_there)


@gluon.jit
def _best_of_page(best, page, stored_row: gl.constexpr):
    """fp32 [ROWS]: a page's maxima, of those of its threads [warps, 8, ROWS].

    Threads exchange them in the place of the page, which none of them reads any more, and each goes on with one row.
    """
    THREADS: gl.constexpr = best.shape[0] * best.shape[1]
    ROWS: gl.constexpr = best.shape[2]
    flat: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=32, rank=2)
    shared = reinterpreted(page, gl.float32, [ROWS, THREADS], flat)
    shared.store(best.reshape([THREADS, ROWS]).permute((1, 0)))
    own_row: gl.constexpr = gl.BlockedLayout([1, THREADS], [32, 1], [best.shape[0], 1], [1, 0])
    best = gl.max(shared.load(own_row), axis=1)
    best = gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is
    return gl.convert_layout(best, stored_row, assert_trivial=True)


@gluon.jit
def _best_of_block(
    keys, pages, ready, slot: gl.constexpr, q, table_row, stride_table_b, block, first_block, end_block, first_row,
    context_len, H: gl.constexpr, ROWS: gl.constexpr, IS_WHOLE: gl.constexpr, IS_CAPPED: gl.constexpr,
    mma: gl.constexpr, stored_row: gl.constexpr,
):  # fmt: skip
    """fp32 [ROWS]: the scores of a block, whose page is in a slot; meanwhile the page behind it comes to the other.

    IS_WHOLE: every row sees all of it.
    """
    page = pages[slot].index(0)
    HALF: gl.constexpr = page.shape[1] // 2
    ahead = block + 1
    number = gl.load(table_row + ahead.to(gl.int64) * stride_table_b, mask=ahead < end_block, other=0)
    mbarrier.wait(ready[slot].index(0), ((block - first_block) // 2) & 1)
    # Warps meet while products go on: before the last page's place is filled, and before maxima take this one's.
    scores = _product(page, 0, q, ROWS, mma)
    _refill(keys, number, ready[1 - slot], pages[1 - slot], ahead < end_block)
    if IS_WHOLE and not IS_CAPPED:
        second = _product(page, 1, q, ROWS, mma)
        barrier()
        best = _best_of_threads(warpgroup_mma_wait(1, deps=[scores]))
        scores = second
    else:  # a thread has registers for one product
        scores = warpgroup_mma_wait(0, deps=[scores])
        if not IS_WHOLE:
            scores = _masked(scores, block * (2 * HALF), first_row, context_len, H)
        best = _best_of_threads(scores)
        scores = _product(page, 1, q, ROWS, mma)
        barrier()
    scores, best = warpgroup_mma_wait(0, deps=[scores, best])  # the first maxima before it
    if not IS_WHOLE:
        scores = _masked(scores, block * (2 * HALF) + HALF, first_row, context_len, H)
    return _best_of_page(gl.maximum(best, _best_of_threads(scores)), page, stored_row)


@gluon.jit(
    do_not_specialize=["slab_token", "stride_table_b", "num_columns"],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _score_e4m3_sm90_kernel(
    q_ptr,
    keys,
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
    WARPS: gl.constexpr,
    IS_CAPPED: gl.constexpr,
    VECTOR: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
):
    """Grid, writes and masks: as `_score_kernel`. keys: tensor descriptor of pages.

    Rows (token, head) of the scores lie a stride apart; each thread owns one, and holds and stores its scores. Blocks
    go two at a time, one for each slot of shared memory; those that every row sees whole, but for the program's last,
    come first. IS_CAPPED: as IS_E4M3_CAPPED says.
    VECTOR > 1: blocks side by side in a row, stored together; stride_score_b is that of vectors, which begin at
    multiples of their size. num_columns: columns of the block table. IS_FOLLOWED: the selection waits for the scores
    on the GPU.
    """
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, ROWS, 16])
    q_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    vectors: gl.constexpr = gl.BlockedLayout([1, VECTOR], [32, 1], [WARPS, 1], [1, 0])
    stored_row: gl.constexpr = gl.SliceLayout(1, vectors)
    q_type: gl.constexpr = gl.bfloat16 if q_ptr.dtype.element_ty == gl.bfloat16 else gl.float16
    tile = tiles_ptr + gl.program_id(0) * 4
    req = gl.load(tile)
    first_row = gl.load(tile + 1)
    block = gl.load(tile + 2)
    end_block = gl.load(tile + 3)
    # Looked up while the lengths are on their way: entries behind the last live block may hold anything.
    table_row = block_table_ptr + req.to(gl.int64) * stride_table_r
    is_listed = block < gl.minimum(end_block, num_columns)
    first_page = gl.load(table_row + block.to(gl.int64) * stride_table_b, mask=is_listed, other=0)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    last_token = gl.minimum((first_row + ROWS - 1) // H, query_len - 1)
    num_blocks = (gl.maximum(context_len + last_token + 1, 0) + S - 1) // S
    end_block = gl.minimum(end_block, num_blocks)
    full_blocks = gl.minimum(gl.maximum(context_len + first_row // H + 1, 0) // S, end_block - 1)
    if block < end_block:
        # Two allocations each, so that the compiler sees that one slot is not the other, and adds no barriers.
        pages, ready = (), ()
        for _ in gl.static_range(2):
            page = gl.allocate_shared_memory(keys.dtype, [1, 1, S, D], keys.layout)
            pages += (page,)  # type: ignore[assignment]
            turned = gl.allocate_shared_memory(gl.int64, [1, 1], mbarrier.MBarrierLayout())
            ready += (turned,)  # type: ignore[assignment]
        for i in gl.static_range(2):
            mbarrier.init(ready[i].index(0), count=1)
        fetch(keys, first_page, 0, 0, ready[0], pages[0], True, S, D)  # type: ignore[misc]
        q = gl.allocate_shared_memory(q_type, [ROWS, D], q_layout)
        rows = query_rows(q_ptr, first_row, q_start, query_len, stride_q_t, stride_q_h, H, D, ROWS, WARPS)
        q.store(as_multiplied(rows.to(q_type)))
        fence_async_shared()  # the matrix unit reads queries by another way than threads write them
        barrier()
        row = first_row + gl.arange(0, ROWS, layout=stored_row)
        if VECTOR > 1:
            row = row[:, None]
            held = gl.full([ROWS, VECTOR], float("-inf"), gl.float32, vectors)
        else:
            held = gl.full([ROWS], float("-inf"), gl.float32, stored_row)
        is_row = row < query_len * H
        flat_row = (q_start - slab_token).to(gl.int64) * H + row
        # Written as a multiple, so that the compiler sees aligned vectors.
        score_rows = score_ptr + flat_row * (stride_score_row // VECTOR * VECTOR)
        best_rows = best_ptr + flat_row * stride_best_row
        first_block = block
        while block + 2 <= full_blocks:
            for i in gl.static_range(2):
                best = _best_of_block(
                    keys, pages, ready, i, q, table_row, stride_table_b, block + i, first_block, end_block, first_row,
                    context_len, H, ROWS, True, IS_CAPPED, mma, stored_row,
                )  # fmt: skip
                held = put_best(
                    best, held, is_row, score_rows, best_rows, block + i, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR, IS_INSIDE=True, IS_ALONE=True,
                )  # fmt: skip
            block += 2

        if IS_FOLLOWED:  # no sooner: the selection's programs would crowd on the first multiprocessors with room
            gdc_launch_dependents()
        while block < end_block:
            for i in gl.static_range(2):
                if block < end_block:
                    best = _best_of_block(
                        keys, pages, ready, i, q, table_row, stride_table_b, block, first_block, end_block, first_row,
                        context_len, H, ROWS, False, IS_CAPPED, mma, stored_row,
                    )  # fmt: skip
                    held = put_best(
                        best, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks,
                        stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                    )  # fmt: skip
                    block += 1
        for i in gl.static_range(2):
            mbarrier.invalidate(ready[i].index(0))


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    config, q, k = batch.config, batch.index_q, batch.index_k_pages
    if (config.index_head_dim, config.block_size, plan.score_rows) != (128, 128, 128):
        return False
    if architecture_of(batch.device) != "sm_90" or k.dtype != torch.float8_e4m3fn:
        return False
    return q.stride(2) == 1 and is_tensor_copied(k) and has_flat_rows(batch, score, superblock_score)


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
    best = score if superblock_score is None else superblock_score
    return launched(
        batch.device,
        _score_e4m3_sm90_kernel,
        (len(tiles),),
        batch.index_q,
        pages_of(batch),
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
        WARPS=WARPS,
        IS_CAPPED=IS_E4M3_CAPPED,
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        IS_FOLLOWED=is_followed,
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )

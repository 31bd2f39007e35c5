"""Prefill scores on Hopper in tiles of 256 query rows: as `msa_fast.ops.hopper.score`, with a warp that copies pages.

Two groups of four warps go through the pages as a program of that scorer does, each with 128 rows in two halves, and
say of each page when they are done with it. A page comes once for both: half as much is read from the L2 cache. Plans
have such tiles where their grid ends first; agrees bit for bit with the scorer for everyone wherever sums are exact.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma_wait,
)
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.hopper.score import masked, product, put, query_rows, stored_halves
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.put import has_flat_rows
from msa_fast.ops.nvidia.tma import fetch, is_read_by_sm90, load_tile, pages_of, queries_of
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.AT_ONCE
IS_INTERLEAVED = False
TILE_ROWS = 256
GROUPS = 2
"""Groups of warps that take maxima: one multiplies while the other does, and a multiprocessor has room for no more."""
WARPS = 4
"""Warps of a group."""
STAGES = 6
"""Pages in shared memory. The last of them begin as the groups' queries."""
REGISTERS = 168
"""Registers of a thread when a program begins; twelve warps, four of which need few, have 65,536."""
REGISTERS_OF_A_GROUP = 240
REGISTERS_OF_ONE = 24
"""Registers of the threads that copy pages."""


@gluon.jit
def _next(slot, uses, STAGES: gl.constexpr):
    """The slot behind one in the ring, and how often it was used before."""
    is_round = slot + 1 >= STAGES
    return gl.where(is_round, 0, slot + 1), gl.where(is_round, uses + 1, uses)


@gluon.jit
def _copy(
    keys, queries, table_row, stride_table_b, first_token, block, end_block, pages, ready, done, asked,
    ROWS: gl.constexpr, H: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
):  # fmt: skip
    """Copy the queries of the groups, then page after page, each as soon as all groups are done with its slot.

    Page ids come 32 at a time, one a lane, so that nobody waits for each.
    """
    FREE: gl.constexpr = STAGES - GROUPS if IS_Q_COPIED else STAGES
    lanes = gl.arange(0, 32, layout=gl.BlockedLayout([1], [32], [1], [0]))
    entries = table_row + block.to(gl.int64) * stride_table_b
    num_pages = end_block - block
    ids = gl.load(entries + lanes.to(gl.int64) * stride_table_b, mask=lanes < num_pages, other=0)
    if IS_Q_COPIED:
        for i in gl.static_range(GROUPS):
            place = pages.index(FREE + i).reshape([ROWS // H, H, D])
            mbarrier.expect(asked.index(i), ROWS * D * 2)
            load_tile(queries, [first_token + i * (ROWS // H), 0, 0], asked.index(i), place)
    slot = block * 0
    uses = slot
    for number in range(0, num_pages):
        if IS_Q_COPIED and number == 1:  # pages behind the first would make the queries late
            mbarrier.wait(asked.index(0), 0)
        if (number > 0) & (number % 32 == 0):
            ahead = number + lanes
            ids = gl.load(entries + ahead.to(gl.int64) * stride_table_b, mask=ahead < num_pages, other=0)
        page = gl.sum(gl.where(lanes == number % 32, ids, 0), axis=0)
        # The phase before the first counts as complete: the slots without queries are free.
        mbarrier.wait(done.index(slot), gl.where(slot < FREE, uses + 1, uses) & 1)
        fetch(keys, page, 0, slot, ready, pages, True, S, D)
        slot, uses = _next(slot, uses, STAGES)


@gluon.jit
def _score_rows(
    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block, full_blocks,
    end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b, stride_best_row, stride_best_b,
    pages, ready, done, asked,
    group: gl.constexpr, GROUPS: gl.constexpr, H: gl.constexpr, D: gl.constexpr, S: gl.constexpr, ROWS: gl.constexpr,
    SUPERBLOCK: gl.constexpr, STAGES: gl.constexpr, WARPS: gl.constexpr, VECTOR: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
):  # fmt: skip
    """Score the ROWS rows of one group, from first_row on, in two halves: one is multiplied while maxima are taken."""
    HALF: gl.constexpr = ROWS // 2
    FREE: gl.constexpr = STAGES - GROUPS
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, S, 16])
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    if IS_Q_COPIED:
        mbarrier.wait(asked.index(group), 0)
        copied = pages.index(FREE + group).reshape([ROWS, D])
        q_a = copied.slice(0, HALF).load(operand)
        q_b = copied.slice(HALF, HALF).load(operand)
        fence_async_shared()
        # A page may take their place once all groups say so of each. One thread says it, behind all warps of its group.
        for i in gl.static_range(GROUPS):
            mbarrier.arrive(done.index(FREE + i), count=1)
    else:
        q_a = query_rows(q_ptr, first_row, q_start, query_len, stride_q_t, stride_q_h, H, D, HALF, WARPS)
        q_b = query_rows(q_ptr, first_row + HALF, q_start, query_len, stride_q_t, stride_q_h, H, D, HALF, WARPS)
        q_a = gl.convert_layout(q_a, operand)
        q_b = gl.convert_layout(q_b, operand)
    row = first_row + gl.arange(0, HALF, layout=gl.SliceLayout(1, mma))
    held_a, is_a, is_b, score_a, best_a, score_b, best_b = stored_halves(
        row, first_row, query_len * H, flat_start, score_ptr, best_ptr, stride_score_row, stride_best_row,
        HALF, VECTOR, WARPS,
    )  # fmt: skip
    held_b = held_a
    first_block = block
    has_a = first_row < query_len * H
    has_b = first_row + HALF < query_len * H
    slot = block * 0
    uses = slot
    if has_a:  # else the group only says that it is done with each page
        while block + 3 <= full_blocks:
            mbarrier.wait(ready.index(slot), uses & 1)
            product_a = product(q_a, pages, slot, HALF, S, D, mma)
            for i in gl.static_range(3):
                product_b = product(q_b, pages, slot, HALF, S, D, mma)
                scores = warpgroup_mma_wait(1, deps=[product_a])
                held_a = put(
                    scores, held_a, is_a, score_a, best_a, block + i, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
                following, uses = _next(slot, uses, STAGES)
                # Nothing is in flight where the loop closes, as in `hopper.score`.
                if i + 1 < 3:
                    mbarrier.wait(ready.index(following), uses & 1)
                    product_a = product(q_a, pages, following, HALF, S, D, mma)
                    scores = warpgroup_mma_wait(1, deps=[product_b])
                else:
                    scores = warpgroup_mma_wait(0, deps=[product_b])
                mbarrier.arrive(done.index(slot), count=1)
                held_b = put(
                    scores, held_b, is_b, score_b, best_b, block + i, first_block, end_block, num_blocks,
                    stride_score_b, stride_best_b, SUPERBLOCK, VECTOR,
                )  # fmt: skip
                slot = following
            block += 3
        while block < full_blocks:
            mbarrier.wait(ready.index(slot), uses & 1)
            product_a = product(q_a, pages, slot, HALF, S, D, mma)
            product_b = product(q_b, pages, slot, HALF, S, D, mma)
            product_a, product_b = warpgroup_mma_wait(1, deps=[product_a, product_b])
            held_a = put(
                product_a, held_a, is_a, score_a, best_a, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            product_b = warpgroup_mma_wait(0, deps=[product_b])
            mbarrier.arrive(done.index(slot), count=1)
            held_b = put(
                product_b, held_b, is_b, score_b, best_b, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            slot, uses = _next(slot, uses, STAGES)
            block += 1
    while block < end_block:
        mbarrier.wait(ready.index(slot), uses & 1)
        if has_a:
            scores = warpgroup_mma_wait(0, deps=[product(q_a, pages, slot, HALF, S, D, mma)])
            scores = masked(scores, block, context_len + row // H + 1, S, mma)
            held_a = put(
                scores, held_a, is_a, score_a, best_a, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
        if has_b:
            scores = warpgroup_mma_wait(0, deps=[product(q_b, pages, slot, HALF, S, D, mma)])
            scores = masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)
            held_b = put(
                scores, held_b, is_b, score_b, best_b, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
        mbarrier.arrive(done.index(slot), count=1)
        slot, uses = _next(slot, uses, STAGES)
        block += 1


@gluon.jit(
    do_not_specialize=["slab_token", "stride_table_r", "stride_table_b"],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _score_wide_sm90_kernel(
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
    GROUPS: gl.constexpr,
    SUPERBLOCK: gl.constexpr,
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    VECTOR: gl.constexpr,
    IS_FOLLOWED: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
    REGISTERS: gl.constexpr,
    REGISTERS_OF_ONE: gl.constexpr,
):
    """Grid, writes and masks: as `_score_kernel`. keys, queries: tensor descriptors of pages, and of a group's queries.

    VECTOR, IS_FOLLOWED, IS_Q_COPIED: as the kernel of `hopper.score` has them. ROWS: those of a group.
    """
    gdc_wait()
    if IS_FOLLOWED:  # no sooner: the selection reads lengths before it waits
        gdc_launch_dependents()
    tile = tiles_ptr + gl.program_id(0) * 4
    req = gl.load(tile)
    first_row = gl.load(tile + 1)
    block = gl.load(tile + 2)
    end_block = gl.load(tile + 3)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    table_row = block_table_ptr + req.to(gl.int64) * stride_table_r
    last_token = gl.minimum((first_row + GROUPS * ROWS - 1) // H, query_len - 1)
    num_blocks = (gl.maximum(context_len + last_token + 1, 0) + S - 1) // S
    end_block = gl.maximum(gl.minimum(end_block, num_blocks), block)
    full_blocks = gl.minimum(gl.maximum(context_len + first_row // H + 1, 0) // S, end_block)  # seen whole by every row
    flat_start = (q_start - slab_token).to(gl.int64) * H
    pages = gl.allocate_shared_memory(q_ptr.dtype.element_ty, [STAGES, 1, S, D], keys.layout)
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    done = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    asked = gl.allocate_shared_memory(gl.int64, [GROUPS, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(ready.index(i), count=1)
        mbarrier.init(done.index(i), count=GROUPS)
    for i in gl.static_range(GROUPS):
        mbarrier.init(asked.index(i), count=1)
    # Tuples are said where they are passed: a name for one would make tensors of its constants.
    gl.warp_specialize(
        [
            (_score_rows, (
                q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block,
                full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                stride_best_row, stride_best_b, pages, ready, done, asked,
                0, GROUPS, H, D, S, ROWS, SUPERBLOCK, STAGES, WARPS, VECTOR, IS_Q_COPIED,
            )),
            (_score_rows, (
                q_ptr, q_start, stride_q_t, stride_q_h, first_row + ROWS, query_len, context_len, flat_start, block,
                full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                stride_best_row, stride_best_b, pages, ready, done, asked,
                1, GROUPS, H, D, S, ROWS, SUPERBLOCK, STAGES, WARPS, VECTOR, IS_Q_COPIED,
            )),
            (_copy, (
                keys, queries, table_row, stride_table_b, q_start + first_row // H, block, end_block, pages, ready,
                done, asked, ROWS, H, GROUPS, STAGES, S, D, IS_Q_COPIED,
            )),
        ],
        [WARPS, 1],
        [REGISTERS, REGISTERS_OF_ONE],
    )  # fmt: skip


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    if plan.score_rows != TILE_ROWS or not is_read_by_sm90(batch):
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
    heads, rows = config.num_index_heads, TILE_ROWS // GROUPS
    is_q_copied = rows % heads == 0 and is_tensor_copied(batch.index_q)
    best = score if superblock_score is None else superblock_score
    return launched(
        batch.device,
        _score_wide_sm90_kernel,
        (len(tiles),),
        batch.index_q,
        pages_of(batch),
        queries_of(batch, rows // heads, heads) if is_q_copied else None,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        score,
        best,
        slab_token,
        *batch.index_q.stride()[:2],
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        score.stride(0),
        score.stride(2),
        best.stride(0),
        best.stride(2),
        H=heads,
        D=config.index_head_dim,
        S=config.block_size,
        ROWS=rows,
        GROUPS=GROUPS,
        SUPERBLOCK=0 if superblock_score is None else plan.superblock,
        STAGES=STAGES,
        WARPS=WARPS,
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        IS_FOLLOWED=is_followed,
        IS_Q_COPIED=is_q_copied,
        REGISTERS=REGISTERS_OF_A_GROUP,
        REGISTERS_OF_ONE=REGISTERS_OF_ONE,
        num_warps=WARPS,
        maxnreg=REGISTERS,
        launch_pdl=True,
    )

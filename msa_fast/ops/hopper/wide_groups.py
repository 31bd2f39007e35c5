"""The groups of warps in `msa_fast.ops.hopper.score_wide`: each scores its own query rows against pages that another
warp copies, and says of each page when it is done with it.

A group of 128 rows has two halves, and multiplies one while it takes the maxima of the other. Groups of 64 rows have no
second half: there are three, and two multiply while one takes maxima.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma_wait,
)

from msa_fast.ops.hopper.diagonal import masked
from msa_fast.ops.hopper.score import product, put, query_rows, stored_halves
from msa_fast.ops.nvidia.tma import reinterpreted


@gluon.jit
def next_slot(slot, uses, STAGES: gl.constexpr):
    """The slot behind one in the ring, and how often it was used before."""
    is_round = slot + 1 >= STAGES
    return gl.where(is_round, 0, slot + 1), gl.where(is_round, uses + 1, uses)


@gluon.jit
def place_of_queries(pages, group: gl.constexpr, H: gl.constexpr, ROWS: gl.constexpr, FREE: gl.constexpr):
    """Shared memory [ROWS // H, H, D] for the queries of a group, in the slots of the ring from FREE on."""
    layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=3)
    A_PAGE: gl.constexpr = pages.shape[2] // ROWS
    places = reinterpreted(pages, pages.dtype, [pages.shape[0] * A_PAGE, ROWS // H, H, pages.shape[3]], layout)
    return places.index(FREE * A_PAGE + group)


@gluon.jit
def _copied_queries(pages, asked, group: gl.constexpr, H: gl.constexpr, ROWS: gl.constexpr, FREE: gl.constexpr):
    """Shared memory [ROWS, D] with the queries of a group, once they are there."""
    mbarrier.wait(asked.index(group), 0)
    return place_of_queries(pages, group, H, ROWS, FREE).reshape([ROWS, pages.shape[3]])


@gluon.jit
def _hand_over(done, FREE: gl.constexpr, STAGES: gl.constexpr):
    """Say of the slots that began as queries that a group has read its own: a page comes once all groups say so.

    One thread says it, behind all warps of its group.
    """
    fence_async_shared()
    for i in gl.static_range(FREE, STAGES):
        mbarrier.arrive(done.index(i), count=1)


@gluon.jit
def score_in_halves(
    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block, full_blocks,
    end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b, stride_best_row, stride_best_b,
    pages, ready, done, asked,
    group: gl.constexpr, H: gl.constexpr, D: gl.constexpr, S: gl.constexpr, ROWS: gl.constexpr,
    SUPERBLOCK: gl.constexpr, STAGES: gl.constexpr, FREE: gl.constexpr, WARPS: gl.constexpr, VECTOR: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
):  # fmt: skip
    """Score the ROWS rows of one group, from first_row on, in two halves: one is multiplied while maxima are taken."""
    HALF: gl.constexpr = ROWS // 2
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, S, 16])
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    if IS_Q_COPIED:
        copied = _copied_queries(pages, asked, group, H, ROWS, FREE)
        q_a = copied.slice(0, HALF).load(operand)
        q_b = copied.slice(HALF, HALF).load(operand)
        _hand_over(done, FREE, STAGES)
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
                following, uses = next_slot(slot, uses, STAGES)
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
            slot, uses = next_slot(slot, uses, STAGES)
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
        slot, uses = next_slot(slot, uses, STAGES)
        block += 1


@gluon.jit
def score_at_once(
    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block, full_blocks,
    end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b, stride_best_row, stride_best_b,
    pages, ready, done, asked,
    group: gl.constexpr, H: gl.constexpr, D: gl.constexpr, S: gl.constexpr, ROWS: gl.constexpr,
    SUPERBLOCK: gl.constexpr, STAGES: gl.constexpr, FREE: gl.constexpr, WARPS: gl.constexpr, VECTOR: gl.constexpr,
    IS_Q_COPIED: gl.constexpr,
):  # fmt: skip
    """Score the ROWS rows of one group, from first_row on, as `score_in_halves` does, in one product a page."""
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, S, 16])
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=mma, k_width=2)
    if IS_Q_COPIED:
        q = _copied_queries(pages, asked, group, H, ROWS, FREE).load(operand)
        _hand_over(done, FREE, STAGES)
    else:
        q = query_rows(q_ptr, first_row, q_start, query_len, stride_q_t, stride_q_h, H, D, ROWS, WARPS)
        q = gl.convert_layout(q, operand)
    row = first_row + gl.arange(0, ROWS, layout=gl.SliceLayout(1, mma))
    held, is_row, _, score_rows, best_rows, _, _ = stored_halves(
        row, first_row, query_len * H, flat_start, score_ptr, best_ptr, stride_score_row, stride_best_row,
        ROWS, VECTOR, WARPS,
    )  # fmt: skip
    first_block = block
    has_rows = first_row < query_len * H
    slot = block * 0
    uses = slot
    if has_rows:  # else the group only says that it is done with each page
        while block < full_blocks:
            mbarrier.wait(ready.index(slot), uses & 1)
            scores = warpgroup_mma_wait(0, deps=[product(q, pages, slot, ROWS, S, D, mma)])
            mbarrier.arrive(done.index(slot), count=1)
            held = put(
                scores, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            slot, uses = next_slot(slot, uses, STAGES)
            block += 1
    while block < end_block:
        mbarrier.wait(ready.index(slot), uses & 1)
        if has_rows:
            scores = warpgroup_mma_wait(0, deps=[product(q, pages, slot, ROWS, S, D, mma)])
            scores = masked(scores, block, context_len + row // H + 1, S, mma)
            held = put(
                scores, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
        mbarrier.arrive(done.index(slot), count=1)
        slot, uses = next_slot(slot, uses, STAGES)
        block += 1

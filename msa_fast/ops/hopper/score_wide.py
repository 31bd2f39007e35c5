"""Prefill scores on Hopper in tiles of 256 or 192 query rows: as `msa_fast.ops.hopper.score`, with a warp that copies.

Two groups of four warps with 128 rows each, or three with 64 (`wide_groups`), go through the pages, and say of each
when they are done with it. A page comes once for all of them: less is read from the L2 cache. Plans have such tiles
where their grid ends first; agrees bit for bit with the scorer for everyone wherever sums are exact.
"""

from typing import NamedTuple

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.hopper.wide_groups import next_slot, place_of_queries, score_at_once, score_in_halves
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.put import has_flat_rows
from msa_fast.ops.nvidia.tma import fetch, is_read_by_sm90, load_tile, pages_of, queries_of
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.AT_ONCE
IS_INTERLEAVED = False
WARPS = 4
"""Warps of a group."""
STAGES = 6
"""Pages in shared memory. The last of them begin as the groups' queries."""
REGISTERS_OF_ONE = 24
"""Registers of the threads that copy pages."""


class _Groups(NamedTuple):
    """Groups of warps that a tile's rows are shared by, one of which multiplies while another takes maxima.

    registers: of a thread when a program begins; those of twelve or sixteen warps, four of which need few, are 65,536.
    own_registers: of a group's threads.
    """

    num_groups: int
    registers: int
    own_registers: int


GROUPS = {256: _Groups(2, 168, 240), 192: _Groups(3, 128, 160)}
"""By the rows of a tile. A multiprocessor has room for no more."""


@gluon.jit
def _copy(
    keys, table_row, stride_table_b, first_pages, block, end_block, pages, ready, done,
    STAGES: gl.constexpr, FREE: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
):  # fmt: skip
    """Copy page after page behind the first, each once the one before is there and all groups are done with its slot.

    More pages on their way would come no sooner, but one of them late: the groups wait for each in turn. first_pages:
    ids of the FREE first; the others come 32 at a time, one a lane, so that nobody waits for each.
    """
    lanes = gl.arange(0, 32, layout=gl.BlockedLayout([1], [32], [1], [0]))
    entries = table_row + block.to(gl.int64) * stride_table_b
    num_pages = end_block - block
    ids = gl.load(entries + lanes.to(gl.int64) * stride_table_b, mask=lanes < num_pages, other=0)
    for i in gl.static_range(1, FREE):
        mbarrier.wait(ready.index(i - 1), 0, pred=i < num_pages)
        fetch(keys, first_pages[i], 0, i, ready, pages, i < num_pages, S, D)
    slot_before = block * 0 + FREE - 1
    uses_before = block * 0
    slot, uses = next_slot(slot_before, uses_before, STAGES)
    for number in range(FREE, num_pages):
        if number % 32 == 0:
            ahead = number + lanes
            ids = gl.load(entries + ahead.to(gl.int64) * stride_table_b, mask=ahead < num_pages, other=0)
        page = gl.sum(gl.where(lanes == number % 32, ids, 0), axis=0)
        mbarrier.wait(ready.index(slot_before), uses_before & 1)
        # The phase before the first counts as complete: the slots without queries are free.
        mbarrier.wait(done.index(slot), gl.where(slot < FREE, uses + 1, uses) & 1)
        fetch(keys, page, 0, slot, ready, pages, True, S, D)
        slot_before, uses_before = slot, uses
        slot, uses = next_slot(slot, uses, STAGES)


@gluon.jit(
    do_not_specialize=["slab_token", "stride_table_r", "stride_table_b", "num_columns"],
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

    num_columns, VECTOR, IS_FOLLOWED, IS_Q_COPIED: as the kernel of `hopper.score` has them. ROWS: those of a group.
    Queries and the first page are asked for before warps part, which takes half a microsecond. Page ids that are loaded
    behind them come only when these are there, so those of the pages that follow are loaded before.
    """
    # Slots whose first page need not wait for queries to be read.
    FREE: gl.constexpr = STAGES - (GROUPS * ROWS + S - 1) // S if IS_Q_COPIED else STAGES
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
    for i in gl.static_range(FREE):
        is_listed = block + i < gl.minimum(end_block, num_columns)
        entry = table_row + (block + i).to(gl.int64) * stride_table_b
        first_pages += (gl.load(entry, mask=is_listed, other=0),)  # type: ignore[assignment]
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
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
    for i in gl.static_range(GROUPS):
        if i == GROUPS - 1:  # before what is missed last
            page = first_pages[0]  # type: ignore[misc]
            fetch(keys, page, 0, 0, ready, pages, block < end_block, S, D)
        if IS_Q_COPIED:
            mbarrier.expect(asked.index(i), ROWS * D * 2)
            first_token = q_start + first_row // H + i * (ROWS // H)
            load_tile(queries, [first_token, 0, 0], asked.index(i), place_of_queries(pages, i, H, ROWS, FREE))
    # All is said where it is passed: names for tuples, or lists that are joined, would make tensors of constants.
    if GROUPS == 2:
        gl.warp_specialize(
            [
                (score_in_halves, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block,
                    full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                    stride_best_row, stride_best_b, pages, ready, done, asked,
                    0, H, D, S, ROWS, SUPERBLOCK, STAGES, FREE, WARPS, VECTOR, IS_Q_COPIED,
                )),
                (score_in_halves, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row + ROWS, query_len, context_len, flat_start, block,
                    full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                    stride_best_row, stride_best_b, pages, ready, done, asked,
                    1, H, D, S, ROWS, SUPERBLOCK, STAGES, FREE, WARPS, VECTOR, IS_Q_COPIED,
                )),
                (_copy, (
                    keys, table_row, stride_table_b, first_pages, block, end_block, pages, ready, done,
                    STAGES, FREE, S, D,
                )),
            ],
            [WARPS, 1],
            [REGISTERS, REGISTERS_OF_ONE],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (score_at_once, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len, context_len, flat_start, block,
                    full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                    stride_best_row, stride_best_b, pages, ready, done, asked,
                    0, H, D, S, ROWS, SUPERBLOCK, STAGES, FREE, WARPS, VECTOR, IS_Q_COPIED,
                )),
                (score_at_once, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row + ROWS, query_len, context_len, flat_start, block,
                    full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                    stride_best_row, stride_best_b, pages, ready, done, asked,
                    1, H, D, S, ROWS, SUPERBLOCK, STAGES, FREE, WARPS, VECTOR, IS_Q_COPIED,
                )),
                (score_at_once, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row + 2 * ROWS, query_len, context_len, flat_start,
                    block, full_blocks, end_block, num_blocks, score_ptr, best_ptr, stride_score_row, stride_score_b,
                    stride_best_row, stride_best_b, pages, ready, done, asked,
                    2, H, D, S, ROWS, SUPERBLOCK, STAGES, FREE, WARPS, VECTOR, IS_Q_COPIED,
                )),
                (_copy, (
                    keys, table_row, stride_table_b, first_pages, block, end_block, pages, ready, done,
                    STAGES, FREE, S, D,
                )),
            ],
            [WARPS, WARPS, 1],
            [REGISTERS, REGISTERS, REGISTERS_OF_ONE],
        )  # fmt: skip


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    if plan.score_rows not in GROUPS or not is_read_by_sm90(batch):
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
    num_groups, registers, own_registers = GROUPS[plan.score_rows]
    heads, rows = config.num_index_heads, plan.score_rows // num_groups
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
        batch.max_blocks,
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
        GROUPS=num_groups,
        SUPERBLOCK=0 if superblock_score is None else plan.superblock,
        STAGES=STAGES,
        WARPS=WARPS,
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        IS_FOLLOWED=is_followed,
        IS_Q_COPIED=is_q_copied,
        REGISTERS=own_registers,
        REGISTERS_OF_ONE=REGISTERS_OF_ONE,
        num_warps=WARPS,
        maxnreg=registers,
        launch_pdl=True,
    )

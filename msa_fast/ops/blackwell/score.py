"""Prefill scores on Blackwell: as `msa_fast.ops.prefill_score`, with each task in warps of its own.

One warp copies pages, one starts products, and two groups of four warps take maxima, each those of one half of a
tile's rows. Queries and products lie in tensor memory, where a thread owns a row: no maximum asks another thread.
Serves MiniMax-M3's own shape, with queries and keys of one format. e4m3 goes to the matrix unit as it is: that keeps as
many bits of a sum as it keeps of 16-bit operands (`msa_ref.precision.blackwell_fp8`). Agrees bit for bit with the
generic scorer wherever sums are exact. Compiled, executed on a model, not run on hardware.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia import blackwell
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.launch_table import architecture_of
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.put import has_flat_rows, put_best
from msa_fast.ops.nvidia.tma import fetch, pages_of
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

ARCHITECTURES = ("sm_100", "sm_103")
SELECTION_START = SelectionStart.BEHIND
IS_INTERLEAVED = False
HALF = 128
"""Query rows of one product, and lanes of tensor memory. A tile has two halves, which read each page together."""
STAGES = 6
"""Pages of a program in shared memory, 32 KiB each, or 16 in e4m3."""
SLOTS = 3
"""Accumulators in tensor memory: of its 512 columns they take 128 each, and each half's queries 64, or 32 in e4m3."""
REGISTERS = 168
"""Registers of a thread that takes maxima; twelve warps, four of which need few, have 65,536."""
REGISTERS_OF_ONE = 24
"""Registers of the threads that copy pages, and of those that start products."""


@gluon.jit
def _next(slot, phase, steps, SLOTS: gl.constexpr):
    """The slot `steps` <= SLOTS behind one in a ring, and its phase."""
    slot += steps
    is_round = slot >= SLOTS
    return gl.where(is_round, slot - SLOTS, slot), gl.where(is_round, phase ^ 1, phase)


@gluon.jit
def _copy_pages(
    keys, table_row, stride_table_b, block, end_block, pages, ready, empty,
    STAGES: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
):  # fmt: skip
    """Copy page after page, each as soon as its slot is free; its number is looked up a page ahead."""
    slot = block * 0
    phase = slot + 1  # the phase before the first counts as complete: at first, slots are free
    entry = table_row + block.to(gl.int64) * stride_table_b
    page = gl.load(entry, mask=block < end_block, other=0)
    for at in range(block, end_block):
        entry += stride_table_b
        following = gl.load(entry, mask=at + 1 < end_block, other=0)
        mbarrier.wait(empty.index(slot), phase)
        fetch(keys, page, 0, slot, ready, pages, True, S, D)
        page = following
        slot, phase = _next(slot, phase, 1, STAGES)


@gluon.jit
def _multiply(
    block, end_block, has_b, q, pages, accumulators, ready, empty, loaded, done, taken,
    STAGES: gl.constexpr, SLOTS: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
):  # fmt: skip
    """Multiply each half's queries with every page, each time into the next accumulator whose maxima are taken.

    A commit arrives once all products before it are done. What frees the page comes before what the maxima wait for,
    so that nothing is on its way when they have ended.
    """
    slot = block * 0
    phase = slot
    turn = slot
    turn_phase = slot + 1
    mbarrier.wait(loaded.index(0), 0)
    mbarrier.wait(loaded.index(1), 0)
    for _ in range(block, end_block):
        mbarrier.wait(ready.index(slot), phase)
        k = pages.index(slot).reshape([S, D]).permute((1, 0))
        mbarrier.wait(taken.index(turn), turn_phase)
        blackwell.tcgen05_mma(q.index(0), k, accumulators.index(turn), use_acc=False)
        if has_b:
            blackwell.tcgen05_commit(done.index(turn))
            turn, turn_phase = _next(turn, turn_phase, 1, SLOTS)
            mbarrier.wait(taken.index(turn), turn_phase)
            blackwell.tcgen05_mma(q.index(1), k, accumulators.index(turn), use_acc=False)
        blackwell.tcgen05_commit(empty.index(slot))
        blackwell.tcgen05_commit(done.index(turn))
        turn, turn_phase = _next(turn, turn_phase, 1, SLOTS)
        slot, phase = _next(slot, phase, 1, STAGES)


@gluon.jit
def _best_of_rows(
    accumulator, taken, block, visible_len, IS_DIAGONAL: gl.constexpr, S: gl.constexpr, part: gl.constexpr
):
    """fp32 [ROWS]: the best of each row's scores of a block; then the accumulator is free.

    The accumulator is loaded in two parts, since a thread would not hold a whole row beside all else.
    """
    PART: gl.constexpr = S // 2
    best = gl.full([accumulator.shape[0]], float("-inf"), gl.float32, gl.SliceLayout(1, part))
    for i in gl.static_range(2):
        scores = accumulator.slice(i * PART, PART).load(part)
        if i == 1:
            mbarrier.arrive(taken, count=1)
        if IS_DIAGONAL:
            key_pos = block * S + i * PART + gl.arange(0, PART, layout=gl.SliceLayout(0, part))
            scores = gl.where(key_pos[None, :] < visible_len[:, None], scores, float("-inf"))
        best = gl.maximum(best, gl.max(scores, axis=1))  # NaN only if every token's score is, and then -inf is taken
    return best


@gluon.jit
def _load_queries(
    q_ptr, q, loaded, first_row, num_rows, q_start, stride_q_t, stride_q_h,
    half: gl.constexpr, H: gl.constexpr, D: gl.constexpr,
):  # fmt: skip
    """Bring a half's query rows to tensor memory, each by the thread that owns it; rows past the request are 0."""
    ROWS: gl.constexpr = q.shape[1]
    PART: gl.constexpr = D // 2
    rows: gl.constexpr = gl.BlockedLayout([1, PART], [32, 1], [4, 1], [0, 1])
    row = first_row + half * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, rows))
    at = (q_start + row // H).to(gl.int64) * stride_q_t + (row % H).to(gl.int64) * stride_q_h
    offs_d = gl.arange(0, PART, layout=gl.SliceLayout(0, rows))
    for i in gl.static_range(2):
        part = gl.load(q_ptr + at[:, None] + i * PART + offs_d[None, :], mask=(row < num_rows)[:, None], other=0.0)
        q.index(half).slice(i * PART, PART).store(part)
    mbarrier.arrive(loaded.index(half), count=1)


@gluon.jit
def _take_maxima(
    q_ptr, q, loaded, q_start, stride_q_t, stride_q_h, score_ptr, best_ptr, first_row, num_rows, context_len,
    flat_start, block, full_blocks, end_block, num_blocks, has_b, stride_score_row, stride_score_b, stride_best_row,
    stride_best_b, accumulators, done, taken,
    half: gl.constexpr, SLOTS: gl.constexpr, H: gl.constexpr, S: gl.constexpr, D: gl.constexpr,
    SUPERBLOCK: gl.constexpr, VECTOR: gl.constexpr,
):  # fmt: skip
    """Load a half's queries; then store the best of each of its rows in each block, as soon as a product is done.

    The halves take turns with the accumulators, so that a half takes every second one, or each if it is alone.
    """
    _load_queries(q_ptr, q, loaded, first_row, num_rows, q_start, stride_q_t, stride_q_h, half, H, D)
    if half == 0 or has_b:
        ROWS: gl.constexpr = accumulators.shape[1]
        part: gl.constexpr = gl.BlockedLayout([1, S // 2], [32, 1], [4, 1], [0, 1])
        row = first_row + half * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, part))
        visible_len = context_len + row // H + 1
        if VECTOR > 1:
            vectors: gl.constexpr = gl.BlockedLayout([1, VECTOR], [32, 1], [4, 1], [0, 1])
            stored_row = first_row + half * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, vectors))[:, None]
            held = gl.full([ROWS, VECTOR], float("-inf"), gl.float32, vectors)
        else:
            stored_row = row
            held = gl.full([ROWS], float("-inf"), gl.float32, gl.SliceLayout(1, part))
        is_row = stored_row < num_rows
        score_rows = score_ptr + (flat_start + stored_row) * stride_score_row
        best_rows = best_ptr + (flat_start + stored_row) * stride_best_row
        turn = block * 0 + half
        phase = block * 0
        steps = 1 + has_b.to(gl.int32)
        for at in range(block, full_blocks):
            mbarrier.wait(done.index(turn), phase)
            best = _best_of_rows(accumulators.index(turn), taken.index(turn), at, visible_len, False, S, part)
            held = put_best(
                best, held, is_row, score_rows, best_rows, at, block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            turn, phase = _next(turn, phase, steps, SLOTS)
        for at in range(full_blocks, end_block):
            mbarrier.wait(done.index(turn), phase)
            best = _best_of_rows(accumulators.index(turn), taken.index(turn), at, visible_len, True, S, part)
            held = put_best(
                best, held, is_row, score_rows, best_rows, at, block, end_block, num_blocks, stride_score_b,
                stride_best_b, SUPERBLOCK, VECTOR,
            )  # fmt: skip
            turn, phase = _next(turn, phase, steps, SLOTS)


@gluon.jit(
    do_not_specialize=["slab_token", "stride_table_b"],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _score_sm100_kernel(
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
    VECTOR: gl.constexpr,
    STAGES: gl.constexpr,
    SLOTS: gl.constexpr,
    REGISTERS: gl.constexpr,
    REGISTERS_OF_ONE: gl.constexpr,
):
    """Grid, writes and masks: as `_score_kernel`. keys: tensor descriptor of pages.

    Rows (token, head) of the scores lie a stride apart. VECTOR > 1: blocks side by side in a row, stored together;
    stride_score_b is that of vectors.
    """
    HALF: gl.constexpr = ROWS // 2
    tile = tiles_ptr + gl.program_id(0) * 4
    req = gl.load(tile)
    first_row = gl.load(tile + 1)
    block = gl.load(tile + 2)
    end_block = gl.load(tile + 3)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    table_row = block_table_ptr + req.to(gl.int64) * stride_table_r
    last_token = gl.minimum((first_row + ROWS - 1) // H, query_len - 1)
    num_blocks = (gl.maximum(context_len + last_token + 1, 0) + S - 1) // S
    end_block = gl.maximum(gl.minimum(end_block, num_blocks), block)
    full_blocks = gl.maximum(context_len + first_row // H + 1, 0) // S  # seen whole by every row
    full_blocks = gl.minimum(gl.maximum(full_blocks, block), end_block)
    num_rows = query_len * H
    has_b = first_row + HALF < num_rows
    flat_start = (q_start - slab_token).to(gl.int64) * H

    pages = gl.allocate_shared_memory(keys.dtype, [STAGES, 1, S, D], keys.layout)
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    loaded = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    done = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    taken = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(ready.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    for i in gl.static_range(2):
        mbarrier.init(loaded.index(i), count=1)
    for i in gl.static_range(SLOTS):
        mbarrier.init(done.index(i), count=1)
        mbarrier.init(taken.index(i), count=1)
    q = blackwell.allocate_tensor_memory(
        keys.dtype, [2, HALF, D], blackwell.TensorMemoryLayout([HALF, D], col_stride=1)
    )
    accumulators = blackwell.allocate_tensor_memory(
        gl.float32, [SLOTS, HALF, S], blackwell.TensorMemoryLayout([HALF, S], col_stride=1)
    )
    # Tuples are said where they are passed: a name for one would make tensors of its constants.
    gl.warp_specialize(
        [
            (_take_maxima, (
                q_ptr, q, loaded, q_start, stride_q_t, stride_q_h, score_ptr, best_ptr, first_row, num_rows,
                context_len, flat_start, block, full_blocks, end_block, num_blocks, has_b, stride_score_row,
                stride_score_b, stride_best_row, stride_best_b, accumulators, done, taken,
                0, SLOTS, H, S, D, SUPERBLOCK, VECTOR,
            )),
            (_take_maxima, (
                q_ptr, q, loaded, q_start, stride_q_t, stride_q_h, score_ptr, best_ptr, first_row, num_rows,
                context_len, flat_start, block, full_blocks, end_block, num_blocks, has_b, stride_score_row,
                stride_score_b, stride_best_row, stride_best_b, accumulators, done, taken,
                1, SLOTS, H, S, D, SUPERBLOCK, VECTOR,
            )),
            (_copy_pages, (
                keys, table_row, stride_table_b, block, end_block, pages, ready, empty, STAGES, S, D,
            )),
            (_multiply, (
                block, end_block, has_b, q, pages, accumulators, ready, empty, loaded, done, taken,
                STAGES, SLOTS, S, D,
            )),
        ],
        [4, 1, 1],
        [REGISTERS, REGISTERS_OF_ONE, REGISTERS_OF_ONE],
    )  # fmt: skip


def is_read_by_sm100(batch: PagedBatch) -> bool:
    """True if the scorer can read a batch: MiniMax-M3's own shape in one format, on its architectures."""
    config, q = batch.config, batch.index_q
    has_shape = (config.index_head_dim, config.block_size) == (128, 128) and q.element_size() <= 2
    has_shape &= batch.index_k_pages.dtype == q.dtype
    is_copied = q.stride(2) == 1 and is_tensor_copied(batch.index_k_pages)
    return has_shape and is_copied and architecture_of(batch.device) in ARCHITECTURES


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: by architecture, shapes, dtypes and strides alone."""
    if plan.score_rows != 2 * HALF or not is_read_by_sm100(batch):
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
    """Launch on checked arguments that are served: tiles of the plan, of the slab whose first token is slab_token.

    is_followed changes nothing: a selection that is launched early waits until this kernel ends.
    """
    config = batch.config
    best = score if superblock_score is None else superblock_score
    return launched(
        batch.device,
        _score_sm100_kernel,
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
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        STAGES=STAGES,
        SLOTS=SLOTS,
        REGISTERS=REGISTERS,
        REGISTERS_OF_ONE=REGISTERS_OF_ONE,
        num_warps=4,
        maxnreg=REGISTERS,
    )

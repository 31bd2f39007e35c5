"""Selection: the exact top-k of every row from its block scores.

A run is a number of consecutive blocks, ranked by the best of them; of equal runs the lower one ranks first. Every
selected block lies in one of the best K runs: if K of them rank above its own, each holds a block that ranks above it.
So a long row is settled from coarse to fine: the best K runs of a round are cut into shorter ones, which the next round
ranks, down to single blocks; most of the row is never ranked. The best scores of runs come from the scorer where it has
them (superblocks of the prefill plan); otherwise this kernel computes them.
"""

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_wait

from msa_fast.ops.buffers import SCORE_VECTOR, own_out
from msa_fast.ops.checks import check_batch, check_score
from msa_fast.ops.cut import MAX_CANDIDATES, choose
from msa_fast.ops.launch_table import (
    MAX_RUNS,
    MAX_RUNS_OF_BEST,
    OWN_LOADS,
    TOPK_ROWS,
    VECTOR_WIDTH,
    architecture_of,
    next_power_of_2,
    number,
    topk_warps,
)
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.prefill_plan import PrefillPlan, Slab, check_plan
from msa_fast.ops.rank import rank_of_runs
from msa_ref.batch import PagedBatch

NO_RUN = tl.constexpr(1 << 20)
"""First block of an empty slot's run: above every block, and its parts stay within 32 bits."""

MIN_WIDTH = 64
"""Candidates of a program of one round, at least: narrower is no faster and compiles one more variant."""
LOADS_PER_THREAD = 32
"""Scores that a thread of the first round has in flight."""


@triton.jit
def _parts(runs, PARTS: tl.constexpr, PART: tl.constexpr):
    """int32 [ROWS, R * PARTS]: first blocks of the PARTS parts, PART blocks each, of the `runs` [ROWS, R]."""
    parts = runs[:, :, None] + tl.arange(0, PARTS)[None, None, :] * PART
    return parts.reshape(runs.shape[0], runs.shape[1] * PARTS)


@triton.jit
def _read(first, rows, stride_b, EACH: tl.constexpr, num_read, VECTOR: tl.constexpr):
    """fp32 [ROWS, N, VECTOR]: entries of `rows`, VECTOR from the blocks `first` [ROWS, N] on if below num_read [ROWS].

    An entry is the best score of EACH blocks, `first` the first block of a multiple of VECTOR entries.
    """
    # Written as a multiple, so that the compiler sees one load of VECTOR entries.
    entries = (first // (EACH * VECTOR) * VECTOR)[:, :, None] + tl.arange(0, VECTOR)[None, None, :]
    is_read = tl.broadcast_to((first < num_read[:, None])[:, :, None], entries.shape)
    at = rows[:, None, None] + entries.to(tl.int64) * stride_b
    return tl.load(at, mask=is_read, other=float("-inf"))


@triton.jit
def _best_of_parts(
    runs, PARTS: tl.constexpr, PART: tl.constexpr, rows, stride_b, EACH: tl.constexpr, num_read,
    VECTOR: tl.constexpr, LOADS: tl.constexpr, OWN_LOADS: tl.constexpr,
):  # fmt: skip
    """fp32 [ROWS, R * PARTS]: best score in each of PARTS parts, PART blocks each, of the `runs` [ROWS, R]; NaN loses.

    An entry of `rows` is the best score of EACH blocks. Entries with any of a row's first num_read [ROWS]
    blocks are read. VECTOR: entries that one load reads if it may read the first of them; those behind a
    row's last block are -inf. LOADS: entries in flight at once. OWN_LOADS: entries of the longest part
    that one thread reads alone.
    """
    ROWS: tl.constexpr = runs.shape[0]
    W: tl.constexpr = runs.shape[1] * PARTS
    SPAN: tl.constexpr = PART // EACH
    first = _parts(runs, PARTS, PART)
    best = tl.full([ROWS, W], float("-inf"), tl.float32)
    if SPAN == 1 and (VECTOR == 1 or PARTS < VECTOR):
        at = rows[:, None] + (first // EACH).to(tl.int64) * stride_b
        best = tl.maximum(best, tl.load(at, mask=first < num_read[:, None], other=float("-inf")))
    elif SPAN == 1:  # a thread reads parts that lie side by side
        groups = _parts(runs, PARTS // VECTOR, VECTOR * PART)
        best = tl.maximum(best, _read(groups, rows, stride_b, EACH, num_read, VECTOR).reshape(ROWS, W))
    else:
        V: tl.constexpr = VECTOR if VECTOR < SPAN else SPAN
        if SPAN <= OWN_LOADS:  # a thread reads its parts from end to end, and the maximum is its own
            for i in tl.static_range(0, SPAN, V):
                best = tl.maximum(best, tl.max(_read(first + i * EACH, rows, stride_b, EACH, num_read, V), axis=2))
        else:  # the threads of a warp read a part side by side
            AT_ONCE: tl.constexpr = LOADS // (ROWS * W)
            CHUNK: tl.constexpr = V if AT_ONCE < V else (SPAN if AT_ONCE > SPAN else AT_ONCE)
            bests = tl.full([ROWS, W * (CHUNK // V), V], float("-inf"), tl.float32)
            for i in range(0, SPAN, CHUNK):
                groups = first[:, :, None] + i * EACH + tl.arange(0, CHUNK // V)[None, None, :] * (V * EACH)
                groups = groups.reshape(ROWS, W * (CHUNK // V))
                bests = tl.maximum(bests, _read(groups, rows, stride_b, EACH, num_read, V))
            best = tl.maximum(best, tl.max(bests.reshape(ROWS, W, CHUNK), axis=2))
    return best


@triton.jit
def _keep(rank, first, kept, out_rows, stride_out_k, K: tl.constexpr, IS_WHOLE: tl.constexpr):
    """int32 [ROWS, K]: the best `kept` [ROWS] of each row's runs, ascending; then NO_RUN."""
    is_kept, place = choose(rank, kept, K, IS_WHOLE)
    slot = tl.arange(0, K)[None, :]
    # The row's own part of `out` carries them from the threads that find them to those that go on.
    tl.store(out_rows + place * stride_out_k, first, mask=is_kept)
    tl.debug_barrier()  # the rows were written by other threads of this program
    runs = tl.load(out_rows + slot * stride_out_k, mask=slot < kept[:, None], other=NO_RUN)
    tl.debug_barrier()  # and are read before they are written again
    return runs


@triton.jit
def _narrow(
    runs, PARTS: tl.constexpr, PART: tl.constexpr, score_rows, stride_score_b, best_rows, stride_best_b,
    BLOCKS_OF_BEST: tl.constexpr, num_visible, num_read, out_rows, stride_out_k, INIT_BLOCKS: tl.constexpr,
    LOCAL_BLOCKS: tl.constexpr, TOPK: tl.constexpr, K: tl.constexpr, SCORE_VECTOR: tl.constexpr,
    LOADS: tl.constexpr, OWN_LOADS: tl.constexpr, IS_WHOLE: tl.constexpr,
):  # fmt: skip
    """One round. int32 [ROWS, K]: first blocks of the best K of the PARTS parts, PART blocks each, of `runs` [ROWS, R].

    Their scores are read where they are best scores of BLOCKS_OF_BEST blocks, if a part has as many,
    else block by block. IS_WHOLE: the runs are all of a row's, not those that a round has kept.
    """
    ROWS: tl.constexpr = runs.shape[0]
    HAS_BEST: tl.constexpr = BLOCKS_OF_BEST > 0 and PART >= BLOCKS_OF_BEST
    EACH: tl.constexpr = BLOCKS_OF_BEST if HAS_BEST else 1
    VECTOR: tl.constexpr = 1 if HAS_BEST else SCORE_VECTOR
    rows = best_rows if HAS_BEST else score_rows
    stride_b = stride_best_b if HAS_BEST else stride_score_b
    kept_runs = tl.broadcast_to(tl.arange(0, K)[None, :] * PART, [ROWS, K])
    if tl.max(num_visible, axis=0) > K * PART:  # else no row has more than those K
        best = _best_of_parts(runs, PARTS, PART, rows, stride_b, EACH, num_read, VECTOR, LOADS, OWN_LOADS)
        first = _parts(runs, PARTS, PART)
        rank = rank_of_runs(best, first, PART, num_visible[:, None], INIT_BLOCKS, LOCAL_BLOCKS)
        kept = tl.minimum((num_visible + PART - 1) // PART, TOPK)
        kept_runs = _keep(rank, first, kept, out_rows, stride_out_k, K, IS_WHOLE)
    return kept_runs


@triton.jit(
    do_not_specialize=["slab_token", "stride_out_h", "stride_out_t", "stride_out_k", "programs_each"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "tiles_ptr", "out_ptr"],
)
def _topk_kernel(
    score_ptr, best_ptr, seq_lens_ptr, cu_seqlens_q_ptr, tiles_ptr, out_ptr, slab_token,
    stride_score_h, stride_score_t, stride_score_b, stride_best_h, stride_best_t, stride_best_b,
    stride_seq_lens, stride_cu, stride_out_h, stride_out_t, stride_out_k, programs_each,
    H: tl.constexpr, S: tl.constexpr, TOPK: tl.constexpr, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr,
    ROWS: tl.constexpr, K: tl.constexpr, LENGTHS: tl.constexpr, WIDTH: tl.constexpr, FIRST_PARTS: tl.constexpr,
    BLOCKS_OF_BEST: tl.constexpr, SCORE_VECTOR: tl.constexpr, LOADS: tl.constexpr, OWN_LOADS: tl.constexpr,
    HAS_TILES: tl.constexpr, IS_EARLY: tl.constexpr,
):  # fmt: skip
    """Grid: one program per ROWS consecutive rows (token, head) of one request.

    Every request has programs_each programs; with HAS_TILES every query tile of tiles_ptr has: request and first row
    of a tile stand there, and programs behind the rows of a request write nothing.
    Writes out[h, t, :] of its rows, every element: ids ascending, then PAD. In rows that
    see more than TOPK blocks it reads the scores of visible ones, and of those behind the last up to a
    multiple of SCORE_VECTOR, which are -inf; and, where best_ptr has the best scores of superblocks
    (of BLOCKS_OF_BEST blocks, 0 where it has none), of those with visible blocks. Both tables begin
    with token slab_token. Compares integers; nothing here rounds. K >= TOPK is a power of two; LENGTHS are the blocks
    of a run, round by round, down to 1; WIDTH is how many runs the first round ranks, read as
    FIRST_PARTS side by side. IS_EARLY: launched before the scores are complete.
    """
    req = tl.program_id(0) // programs_each
    first_row = (tl.program_id(0) % programs_each) * ROWS
    if HAS_TILES:
        tile = tiles_ptr + req * 2
        req = tl.load(tile)
        first_row += tl.load(tile + 1)
    q_start = tl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = tl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = tl.load(seq_lens_ptr + req * stride_seq_lens) - query_len

    row = first_row + tl.arange(0, ROWS)
    token = row // H
    head = (row % H).to(tl.int64)
    is_row = token < query_len
    num_visible = tl.where(is_row, (tl.maximum(context_len + token + 1, 0) + S - 1) // S, 0)
    num_read = tl.where(num_visible > TOPK, num_visible, 0)  # else all are selected, whatever they score
    rows = (q_start + token).to(tl.int64)
    slab_rows = rows - slab_token
    score_rows = score_ptr + slab_rows * stride_score_t + head * stride_score_h
    best_rows = best_ptr + slab_rows * stride_best_t + head * stride_best_h
    out_rows = (out_ptr + rows * stride_out_t + head * stride_out_h)[:, None]
    if IS_EARLY:  # the scorer may still run; from here on its scores are there
        gdc_wait()

    runs = tl.arange(0, WIDTH // FIRST_PARTS)[None, :] * (FIRST_PARTS * LENGTHS[0])
    runs = tl.broadcast_to(runs, [ROWS, WIDTH // FIRST_PARTS])
    for i in tl.static_range(len(LENGTHS) - 1):
        runs = _narrow(
            runs, LENGTHS[i - 1] // LENGTHS[i] if i > 0 else FIRST_PARTS, LENGTHS[i], score_rows, stride_score_b,
            best_rows, stride_best_b, BLOCKS_OF_BEST, num_visible, num_read, out_rows, stride_out_k, INIT_BLOCKS,
            LOCAL_BLOCKS, TOPK, K, SCORE_VECTOR, LOADS, OWN_LOADS, i == 0,
        )  # fmt: skip
    PARTS: tl.constexpr = LENGTHS[-2] if len(LENGTHS) > 1 else FIRST_PARTS
    score = _best_of_parts(runs, PARTS, 1, score_rows, stride_score_b, 1, num_read, SCORE_VECTOR, LOADS, OWN_LOADS)
    first = _parts(runs, PARTS, 1)
    rank = rank_of_runs(score, first, 1, num_visible[:, None], INIT_BLOCKS, LOCAL_BLOCKS)
    selected = tl.minimum(num_visible, TOPK)
    slot = tl.arange(0, K)[None, :]
    is_selected, place = choose(rank, selected, K, len(LENGTHS) == 1)
    tl.store(out_rows + place * stride_out_k, first, mask=is_selected)
    is_pad = is_row[:, None] & (slot >= selected[:, None]) & (slot < TOPK)
    tl.store(out_rows + slot * stride_out_k, tl.full([ROWS, K], -1, tl.int32), mask=is_pad)


def minimax_m3_index_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    plan: PrefillPlan,
    out: torch.Tensor | None = None,
    superblock_score: torch.Tensor | None = None,
) -> torch.Tensor:
    """Select from the scores of a prefill batch.

    Args:
        score: [H, T, max_blocks] fp32, any strides; only the entries of visible blocks are read, and only in
            rows that see more than K blocks.
        batch: the batch scored; its lengths say what each row sees.
        plan: built for this batch's lengths.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.
        superblock_score: [H, T, ceil(max_blocks / plan.superblock)] fp32, any strides: the best score
            in each superblock, as `minimax_m3_index_score` leaves it. With it the selection reads few block scores.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_plan(plan, batch)
    check_score(score, batch)
    if superblock_score is not None:
        check_score(superblock_score, batch, plan.superblock)
    out = own_out(out, batch)
    launch_slab_topk(batch, plan, plan.whole, score, superblock_score, out)
    return out[:, : batch.total_q]


def launch_slab_topk(
    batch: PagedBatch,
    plan: PrefillPlan,
    slab: Slab,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None,
    out: torch.Tensor,
) -> Launched | None:
    """Launch the selection for the tokens of a slab, on checked arguments; scores as `launch_score` leaves them."""
    return launch_topk(
        score,
        batch,
        out,
        plan.topk_rows,
        plan.max_row_blocks,
        plan.max_tile_rows,
        tiles=plan.topk_tiles[slab.topk_tiles],
        slab_token=slab.first_token,
        superblock_score=superblock_score,
        superblock=plan.superblock,
    )


def launch_topk(
    score: torch.Tensor,
    batch: PagedBatch,
    out: torch.Tensor,
    rows: int,
    max_row_blocks: int,
    max_rows_each: int,
    *,
    tiles: torch.Tensor | None = None,
    slab_token: int = 0,
    superblock_score: torch.Tensor | None = None,
    superblock: int = 0,
    score_vector: int = 1,
    is_early: bool = False,
) -> Launched | None:
    """Launch the selection kernel on checked arguments.

    rows: rows per program. max_row_blocks: visible blocks of the longest row. tiles: the query tiles of a plan, or None
    for a grid from shapes alone. max_rows_each: rows of the longest tile, or of the longest request where there are no
    tiles. slab_token: whose scores come first. score_vector: scores of a row that one load may read; rows start at
    multiples of it, and are -inf from their last visible block up to one. is_early: the kernel before it in the
    stream lets it start before the scores are complete, and it waits for them on the GPU.
    """
    config = batch.config
    programs_each = triton.cdiv(max_rows_each, rows)
    num_programs = (batch.num_reqs if tiles is None else len(tiles)) * programs_each
    if num_programs == 0:
        return None
    architecture = architecture_of(batch.device)
    k = next_power_of_2(config.topk_blocks)
    best = score if superblock_score is None else superblock_score
    each = superblock if superblock_score is not None and superblock > 1 else 0
    max_runs = number(MAX_RUNS_OF_BEST if each else MAX_RUNS, architecture)
    lengths, width = rounds(k, max_row_blocks, each, max_runs)
    num_warps = topk_warps(max_row_blocks // max(1, each))
    return launched(
        batch.device,
        _topk_kernel,
        (num_programs,),
        score,
        best,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        out,
        slab_token,
        *score.stride(),
        *best.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
        programs_each,
        H=config.num_index_heads,
        S=config.block_size,
        TOPK=config.topk_blocks,
        INIT_BLOCKS=config.init_blocks,
        LOCAL_BLOCKS=config.local_blocks,
        ROWS=rows,
        K=k,
        LENGTHS=lengths,
        WIDTH=width,
        FIRST_PARTS=score_vector if width >= max(score_vector, number(VECTOR_WIDTH, architecture)) else 1,
        BLOCKS_OF_BEST=each,
        SCORE_VECTOR=score_vector,
        LOADS=LOADS_PER_THREAD * 32 * num_warps,
        OWN_LOADS=number(OWN_LOADS, architecture),
        HAS_TILES=tiles is not None,
        IS_EARLY=is_early,
        num_warps=num_warps,
        **({"launch_pdl": True} if is_early else {}),
    )


def is_served(batch: PagedBatch) -> bool:
    """True if this selection takes the scores of a decode batch: it takes all."""
    return True


def is_interleaved(batch: PagedBatch) -> bool:
    """True if this selection reads a batch's scores faster where they lie interleaved: it never does."""
    return False


def launch_decode_topk(
    score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool
) -> Launched | None:
    """Launch on checked arguments, with scores [H, T, V, SCORE_VECTOR] of `new_vector_score`.

    is_early: the scorer may still run.
    """
    return launch_topk(
        score.flatten(2),
        batch,
        out,
        number(TOPK_ROWS, architecture_of(batch.device)),
        batch.max_blocks,
        rows_per_req,
        score_vector=SCORE_VECTOR,
        is_early=is_early,
    )


def rounds(k: int, max_row_blocks: int, superblock: int, max_runs: int) -> tuple[tuple[int, ...], int]:
    """Blocks of a run, round by round, down to 1; and how many runs the first round ranks.

    k: a power of two. superblock: blocks of the runs whose best scores are given, 0 for none. max_runs: runs that
    the first round ranks, unless a later one ranks more. All results are powers of two.
    """
    unit = superblock or max(2, max_runs // 2 // k)
    widest = k * unit if superblock else max(k, max_runs)
    if max_row_blocks <= widest:
        return (1,), min(widest, max(k, MIN_WIDTH, next_power_of_2(max_row_blocks)))
    lengths, width, group = [unit, 1], triton.cdiv(max_row_blocks, unit), 1
    while width > max(max_runs, k * group):  # one more round in front, by groups of what the first one ranks
        group = 2
        while width > group * max(max_runs, k * group) and k * group * 2 <= MAX_CANDIDATES.value:
            group *= 2
        lengths, width = [lengths[0] * group, *lengths], triton.cdiv(width, group)
    return tuple(lengths), max(k, next_power_of_2(width))

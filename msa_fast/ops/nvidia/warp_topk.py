"""Selection on Hopper and Blackwell, in decode and in prefill without superblocks: as `topk`, by single warps.

The rounds are the same, from long runs to single blocks, but each row takes as many as it needs: the
table of a captured batch is as wide as the longest context, and most rows are short. A warp takes a
few hundred steps, each of which waits for the one before, so time is saved by saving steps: every
thread finds the best of its runs alone, the threads of a warp vote on the cut and on the chosen runs
(`warp_votes`), and each thread counts the votes before its own. Candidates are [ROWS, 32, EACH]: a
lane has EACH of every row, and all reductions end in one instruction of the warp. ROWS is one, except
for very many rows.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.language.extra.cuda import gdc_wait

from msa_fast.ops.buffers import SCORE_VECTOR
from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.launch_table import MAX_WARP_TOPK, architecture_of, next_power_of_2, num_processors
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvidia.warp_choice import put_best, ranked, runs_of_best
from msa_fast.ops.nvidia.warp_runs import RUN, best_of_parts, best_of_runs, side_by_side
from msa_fast.ops.nvidia.warp_votes import any_row
from msa_fast.ops.prefill_plan import PrefillPlan, Slab
from msa_ref.batch import PagedBatch

ARCHITECTURES = ("sm_90", "sm_100", "sm_103")
ONE_ROUND = gl.constexpr(MAX_WARP_TOPK["sm_90"] * RUN.value)
"""Blocks of the longest row that takes one round. A longer row has more runs than are selected."""
TWO_ROUNDS = gl.constexpr(ONE_ROUND.value * RUN.value)
MANY_ROWS = 2048
"""From this many rows on, a program has two, whose steps wait side by side: launch cost dominates. Registers are
capped, so that all programs start beside the scorer."""
ROWS_OF_MANY = 2
REGISTERS_OF_MANY = 32
MAX_BLOCKS_OF_MANY = 128
"""Blocks of the widest table for which two rows fit the cap."""
SOME_ROWS = 128
"""From this many rows on, scores are interleaved: fewer lines written outweighs the extra read steps."""
SPREADS = (1, 2, 3, 4, 6, 8, 12)
"""Programs of a multiprocessor, at most, where few wait beside a scorer that may still run: they would crowd where its
programs end first, and there take up to three times as long."""
SHARED_KIB = 228
"""Shared memory of a multiprocessor, of which a program takes 1 KiB more than it asks for."""
REGISTERS_OF_FEW = 160
"""Register cap for fewer rows than SOME_ROWS, and for long ones, of more than TWO_ROUNDS blocks: the assembler would
take 64, and loads of a row would wait for each other."""
REGISTERS_OF_FEW_LONG = 224
"""The same for rows that are both: the loads of two turns are on their way at once."""
FIRST_ROUNDS = (
    (32, 32, 1),
    (64, 64, 1),
    (128, 128, 1),
    (ONE_ROUND.value, 256, 1),
    (512, 64, RUN.value),
    (1024, 128, RUN.value),
    (TWO_ROUNDS.value, 256, RUN.value),
    (8192, 128, RUN.value**2),
    (16384, 256, RUN.value**2),
)
"""First rounds: (blocks of the longest row, candidates, blocks of a candidate). Every further candidate of a thread
costs in every turn of the search."""


@gluon.jit(
    do_not_specialize=["slab_token", "stride_out_h", "stride_out_t", "stride_out_k"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "tiles_ptr", "out_ptr"],
)
def _topk_warp_kernel(
    score_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    tiles_ptr,
    out_ptr,
    slab_token,
    stride_score_h,
    stride_score_t,
    stride_score_v,
    stride_seq_lens,
    stride_cu,
    stride_out_h,
    stride_out_t,
    stride_out_k,
    H: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    INIT_BLOCKS: gl.constexpr,
    LOCAL_BLOCKS: gl.constexpr,
    ROWS: gl.constexpr,
    K: gl.constexpr,
    MAX_BLOCKS: gl.constexpr,
    WIDTHS: gl.constexpr,
    LENGTHS: gl.constexpr,
    VECTOR: gl.constexpr,
    HAS_TILES: gl.constexpr,
    IS_EARLY: gl.constexpr,
    ROOM: gl.constexpr,
):
    """Grid: requests, or query tiles, x programs of one warp, each with ROWS rows (token, head).

    Writes as `_topk_kernel`. Scores of a row lie side by side in vectors of VECTOR, the last of which is -inf behind
    its last visible block; the scores of rows that see no more than TOPK blocks are not read. Strides of scores count
    vectors. slab_token: whose scores come first.
    MAX_BLOCKS, WIDTHS, LENGTHS: the first rounds that rows of this table may take, columns of FIRST_ROUNDS.
    ROOM: KiB of shared memory that a program asks for and leaves alone, which bounds how many a multiprocessor takes.
    """
    by_rows: gl.constexpr = gl.BlockedLayout([ROWS, 1], [1, 32], [1, 1], [1, 0])
    req = gl.program_id(0)
    first_row = gl.program_id(1) * ROWS
    if HAS_TILES:
        tile = tiles_ptr + req * 2
        req = gl.load(tile)
        first_row += gl.load(tile + 1)
    row = first_row + gl.arange(0, ROWS, layout=gl.SliceLayout(1, by_rows))
    token = row // H
    head = (row % H).to(gl.int64)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    is_row = token < query_len
    num_visible = (gl.maximum(context_len + token + 1, 0) + S - 1) // S
    # Padding rows read the scores of the request's last row.
    at = (q_start + gl.minimum(token, query_len - 1)).to(gl.int64)
    out_rows = out_ptr + at * stride_out_t + head * stride_out_h
    score_rows = score_ptr + ((at - slab_token) * stride_score_t + head * stride_score_h) * VECTOR
    stride_v = stride_score_v * VECTOR
    is_short = is_row & (num_visible <= TOPK)
    if any_row(is_short):  # all of them, whatever they score: their scores may not be there
        slot = gl.arange(0, 32 if K < 32 else K, layout=gl.SliceLayout(0, by_rows))[None, :]
        block = gl.where(slot < num_visible[:, None], slot, -1)
        gl.store(out_rows[:, None] + slot * stride_out_k, block, mask=is_short[:, None] & (slot < TOPK))
    num_ranked = gl.where(is_row & ~is_short, num_visible, 0)
    if ROOM > 0:
        room = gl.allocate_shared_memory(gl.int32, [ROOM, 256], gl.SwizzledSharedLayout(1, 1, 1, [0]))
        if slab_token < 0:  # never, which the compiler does not know: it would drop what nobody uses
            room.index(0).store(gl.full([256], 0, gl.int32, gl.BlockedLayout([1], [32], [1], [0])))
    if IS_EARLY:  # the scorer may still run; from here on its scores are there, and no program ends before it
        gdc_wait()
    runs = gl.full([ROWS, 32], 0, gl.int32, by_rows)  # the first blocks of those chosen so far
    for i in gl.static_range(len(LENGTHS)):
        is_mine = (num_ranked > (MAX_BLOCKS[i - 1] if i > 0 else 0)) & (num_ranked <= MAX_BLOCKS[i])
        if any_row(is_mine):
            num_mine = gl.where(is_mine, num_ranked, 0)
            best, first = best_of_runs(score_rows, stride_v, num_mine, WIDTHS[i], LENGTHS[i], VECTOR)
            BESIDE: gl.constexpr = side_by_side(WIDTHS[i], LENGTHS[i], VECTOR)
            rank, first = ranked(best, first, LENGTHS[i], num_mine, INIT_BLOCKS, LOCAL_BLOCKS)
            if LENGTHS[i] == 1:
                put_best(rank, first, BESIDE, TOPK, K, True, out_rows, stride_out_k)
            else:
                runs = gl.convert_layout(runs_of_best(rank, first, BESIDE, TOPK, K, True), by_rows)
    if LENGTHS[len(LENGTHS) - 1] > RUN and any_row(num_ranked > TWO_ROUNDS):
        num_mine = gl.where(num_ranked > TWO_ROUNDS, num_ranked, 0)
        best, first = best_of_parts(score_rows, stride_v, runs, num_mine, TOPK, K, RUN, VECTOR)
        rank, first = ranked(best, first, RUN, num_mine, INIT_BLOCKS, LOCAL_BLOCKS)
        runs = gl.convert_layout(runs_of_best(rank, first, 1, TOPK, K, False), by_rows)
    if LENGTHS[len(LENGTHS) - 1] > 1 and any_row(num_ranked > ONE_ROUND):
        num_mine = gl.where(num_ranked > ONE_ROUND, num_ranked, 0)
        best, first = best_of_parts(score_rows, stride_v, runs, num_mine, TOPK, K, 1, VECTOR)
        rank, first = ranked(best, first, 1, num_mine, INIT_BLOCKS, LOCAL_BLOCKS)
        beside: gl.constexpr = rank.shape[2]
        put_best(rank, first, beside, TOPK, K, False, out_rows, stride_out_k)


def is_served(batch: PagedBatch, max_row_blocks: int | None = None) -> bool:
    """True if this selection takes the scores of a batch: by architecture and shapes alone."""
    max_row_blocks = batch.max_blocks if max_row_blocks is None else max_row_blocks
    is_short = max_row_blocks <= FIRST_ROUNDS[-1][0] and batch.config.topk_blocks <= MAX_WARP_TOPK["sm_90"]
    return is_short and architecture_of(batch.device) in ARCHITECTURES


def is_interleaved(batch: PagedBatch) -> bool:
    """True if this selection takes a batch, and reads its scores faster where they lie interleaved."""
    return is_served(batch) and batch.total_q * batch.config.num_index_heads >= SOME_ROWS


def launch_decode_topk(
    score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool
) -> Launched:
    """Launch on checked arguments that are served: scores [H, T, V, SCORE_VECTOR] as a decode scorer leaves them."""
    start = SelectionStart.NEAR_END if is_early else SelectionStart.BEHIND
    return _launch(score, batch, out, None, 0, rows_per_req, batch.max_blocks, start)


def launch_prefill_topk(
    score: torch.Tensor, batch: PagedBatch, plan: PrefillPlan, slab: Slab, out: torch.Tensor, start: SelectionStart
) -> Launched:
    """Launch for the tokens of a slab, on checked arguments that are served: scores as `launch_decode_topk` takes them.

    start: that of the scorer before it.
    """
    tiles = plan.topk_tiles[slab.topk_tiles]
    return _launch(score, batch, out, tiles, slab.first_token, plan.max_tile_rows, plan.max_row_blocks, start)


def _launch(
    score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, tiles: torch.Tensor | None, slab_token: int,
    rows_each: int, max_row_blocks: int, start: SelectionStart,
) -> Launched:  # fmt: skip
    """Launch for the requests, or for the query tiles if there are any, of up to rows_each rows each."""
    config = batch.config
    max_blocks, widths, lengths = zip(*first_rounds(max_row_blocks), strict=True)
    num_each = batch.num_reqs if tiles is None else len(tiles)
    rows = rows_of_a_program(num_each * rows_each, max_row_blocks)
    is_early, is_at_once = start != SelectionStart.BEHIND, start == SelectionStart.AT_ONCE
    return launched(
        batch.device,
        _topk_warp_kernel,
        (num_each, -(-rows_each // rows)),
        score,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        out,
        slab_token,
        *(stride // SCORE_VECTOR for stride in score.stride()[:3]),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
        H=config.num_index_heads,
        S=config.block_size,
        TOPK=config.topk_blocks,
        INIT_BLOCKS=config.init_blocks,
        LOCAL_BLOCKS=config.local_blocks,
        ROWS=rows,
        K=max(16, next_power_of_2(config.topk_blocks)),
        MAX_BLOCKS=max_blocks,
        WIDTHS=widths,
        LENGTHS=lengths,
        VECTOR=SCORE_VECTOR,
        HAS_TILES=tiles is not None,
        IS_EARLY=is_early,
        ROOM=room_of_a_program(num_each, rows_each, rows, batch.device) if is_at_once else 0,
        num_warps=1,
        **registers_of_a_program(num_each * rows_each, rows, max_row_blocks),
        **({"launch_pdl": True} if is_early else {}),
    )


def rows_of_a_program(num_rows: int, max_row_blocks: int) -> int:
    """Rows per program for a batch of num_rows rows."""
    return ROWS_OF_MANY if num_rows >= MANY_ROWS and max_row_blocks <= MAX_BLOCKS_OF_MANY else 1


def room_of_a_program(num_each: int, rows_each: int, rows: int, device: torch.device) -> int:
    """KiB of shared memory by which a multiprocessor takes its share of programs, as SPREADS has it, and no more.

    num_each, rows_each: requests or query tiles, and the rows of each. rows: those of a program.
    """
    share = -(-num_each * -(-rows_each // rows) // num_processors(device))
    at_most = next((spread for spread in SPREADS if spread >= share), 0)
    return SHARED_KIB // (at_most + 1) if at_most else 0


def registers_of_a_program(num_rows: int, rows: int, max_row_blocks: int) -> dict[str, int]:
    """Triton's options that cap the registers of a program of `rows` rows, of a batch of num_rows."""
    if rows > 1:
        return {"maxnreg": REGISTERS_OF_MANY}
    is_few, is_long = num_rows < SOME_ROWS, max_row_blocks > TWO_ROUNDS.value
    if is_few and is_long:
        return {"maxnreg": REGISTERS_OF_FEW_LONG}
    return {"maxnreg": REGISTERS_OF_FEW} if is_few or is_long else {}


def first_rounds(max_row_blocks: int) -> list[tuple[int, int, int]]:
    """The FIRST_ROUNDS that rows of up to max_row_blocks may take, the last no wider than they need."""
    num_rounds = 1 + sum(bound < max_row_blocks for bound, _, _ in FIRST_ROUNDS)
    *shorter, (max_blocks, width, length) = FIRST_ROUNDS[:num_rounds]
    return [*shorter, (max_blocks, max(32, min(width, next_power_of_2(-(-max_row_blocks // length)))), length)]

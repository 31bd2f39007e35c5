"""Selection for decode on Hopper: that of `msa_fast.ops.topk` for one row and one warp, with every layout said.

The rounds are the same, long runs and then single blocks; so is the search for the cut. Written in
Gluon, where it can be said that a thread holds candidates that lie side by side: it reads them at
once, finds the best of its runs without asking another, and counts its own before the warp's. It
serves rows of up to MOST_BLOCKS; longer ones go to the selection for everyone.
"""

import torch
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.language.extra.cuda import gdc_wait

from msa_fast.ops.best import above_and_tied, find_cut_of_one, settle
from msa_fast.ops.launch import SCORE_VECTOR, next_power_of_2
from msa_fast.ops.rank import rank_of_runs
from msa_fast.ops.sm90 import barrier
from msa_fast.ops.table import architecture_of
from msa_ref.batch import PagedBatch

MOST_TOPK = 32
RUN = gl.constexpr(8)
"""Blocks of a run."""
ONE_ROUND = 256
"""Blocks of a row that is settled in one round."""
LEAST_WIDTH = 64
"""Candidates of a round, at least: fewer are no faster, and a variant more."""
MOST_BLOCKS = ONE_ROUND * RUN.value


@gluon.jit
def _chosen(
    score, first, LENGTH: gl.constexpr, num_visible, k, INIT_BLOCKS: gl.constexpr, LOCAL_BLOCKS: gl.constexpr,
    GROUPS: gl.constexpr,
):  # fmt: skip
    """Of the runs of LENGTH blocks from `first` [W] on: (first, whether one is of the k best, its place among them).

    Runs are in ascending order; the answers have the layout that the counts want.
    """
    flat: gl.constexpr = gl.BlockedLayout([score.shape[0] // 32], [32], [1], [0])
    score = gl.convert_layout(score, flat)  # they lie there already; a scan asks for the name
    first = gl.convert_layout(first, flat)
    rank = rank_of_runs(score, first, LENGTH, num_visible, INIT_BLOCKS, LOCAL_BLOCKS)
    cut = find_cut_of_one(rank, k, GROUPS)
    both = above_and_tied(rank, cut)
    is_chosen, place = settle(rank, cut, tl.cumsum(both, axis=0), gl.sum(both, axis=0), k)
    return first, is_chosen, place


@gluon.jit(
    do_not_specialize=["stride_out_h", "stride_out_t", "stride_out_k", "rows_per_req"],
    do_not_specialize_on_alignment=["seq_lens_ptr", "cu_seqlens_q_ptr", "out_ptr"],
)
def _topk_sm90_kernel(
    score_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    out_ptr,
    stride_score_h,
    stride_score_t,
    stride_seq_lens,
    stride_cu,
    stride_out_h,
    stride_out_t,
    stride_out_k,
    rows_per_req,
    H: gl.constexpr,
    S: gl.constexpr,
    TOPK: gl.constexpr,
    INIT_BLOCKS: gl.constexpr,
    LOCAL_BLOCKS: gl.constexpr,
    K: gl.constexpr,
    WIDTH: gl.constexpr,
    HAS_RUNS: gl.constexpr,
    VECTOR: gl.constexpr,
    IS_EARLY: gl.constexpr,
):
    """Grid: a program of one warp per row (token, head), rows_per_req of every request. Writes as `_topk_kernel`.

    Scores of a row lie side by side, rows start at multiples of VECTOR and are -inf from their last
    visible block up to one. WIDTH: candidates of the first round, runs of RUN blocks (HAS_RUNS) or blocks.
    """
    EACH: gl.constexpr = WIDTH // 32
    LENGTH: gl.constexpr = RUN if HAS_RUNS else 1
    # A thread's candidates lie side by side, and so do the blocks of each.
    wide: gl.constexpr = gl.BlockedLayout([EACH, LENGTH], [32, 1], [1, 1], [1, 0])
    flat: gl.constexpr = gl.SliceLayout(1, wide)
    req = gl.program_id(0) // rows_per_req
    row = gl.program_id(0) % rows_per_req
    token = row // H
    head = (row % H).to(gl.int64)
    q_start = gl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = gl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = gl.load(seq_lens_ptr + req * stride_seq_lens) - query_len
    if IS_EARLY:  # the scorer may still run; from here on its scores are there, and nobody ends before it
        gdc_wait()
    if token < query_len:
        num_visible = (gl.maximum(context_len + token + 1, 0) + S - 1) // S
        at = (q_start + token).to(gl.int64)
        score_row = score_ptr + at * stride_score_t + head * stride_score_h
        out_row = out_ptr + at * stride_out_t + head * stride_out_h
        first = gl.arange(0, WIDTH, layout=flat) * LENGTH
        blocks = first[:, None] + gl.arange(0, LENGTH, layout=gl.SliceLayout(0, wide))[None, :]
        # All of a vector are read if its first is visible: behind the last visible block scores are -inf.
        score = gl.load(score_row + blocks, mask=blocks // VECTOR * VECTOR < num_visible, other=float("-inf"))
        best = gl.max(score, axis=1)
        selected = gl.minimum(num_visible, TOPK)
        if HAS_RUNS:
            kept = gl.minimum((num_visible + LENGTH - 1) // LENGTH, TOPK)
            first, is_kept, place = _chosen(best, first, LENGTH, num_visible, kept, INIT_BLOCKS, LOCAL_BLOCKS, K)
            # The row's own part of `out` carries them from the threads that find them to those that go on.
            gl.store(out_row + place * stride_out_k, first, mask=is_kept)
            barrier()
            vectors: gl.constexpr = gl.BlockedLayout([K * LENGTH // VECTOR // 32, VECTOR], [32, 1], [1, 1], [1, 0])
            vector = gl.arange(0, K * LENGTH // VECTOR, layout=gl.SliceLayout(1, vectors))
            slot = vector // (LENGTH // VECTOR)
            run = gl.load(out_row + slot * stride_out_k, mask=slot < kept, other=0)
            barrier()  # read before they are written again
            start = gl.where(slot < kept, run, num_visible) + vector % (LENGTH // VECTOR) * VECTOR
            within = gl.arange(0, VECTOR, layout=gl.SliceLayout(0, vectors))
            # Said as a multiple, for the compiler to see that VECTOR of them are one load.
            blocks = (start // VECTOR * VECTOR)[:, None] + within[None, :]
            is_read = (start < num_visible)[:, None] & (within >= 0)[None, :]
            score = gl.load(score_row + blocks, mask=is_read, other=float("-inf"))
            best = score.reshape([K * LENGTH])
            first = (start[:, None] + within[None, :]).reshape([K * LENGTH])
        first, is_selected, place = _chosen(best, first, 1, num_visible, selected, INIT_BLOCKS, LOCAL_BLOCKS, K)
        gl.store(out_row + place * stride_out_k, first, mask=is_selected)
        slot = gl.arange(0, 32 if K < 32 else K, layout=gl.BlockedLayout([1], [32], [1], [0]))
        gl.store(out_row + slot * stride_out_k, -1, mask=(slot >= selected) & (slot < TOPK))


def is_served(batch: PagedBatch) -> bool:
    """Whether this selection takes the scores of a decode batch: by architecture and shapes alone."""
    is_short = batch.max_blocks <= MOST_BLOCKS and batch.config.topk_blocks <= MOST_TOPK
    return is_short and architecture_of(batch.device) == "sm_90"


def launch_topk(score: torch.Tensor, batch: PagedBatch, out: torch.Tensor, rows_per_req: int, is_early: bool) -> None:
    """Launch on checked arguments that are served: scores as a decode scorer leaves them in memory of `new_score`."""
    config = batch.config
    has_runs, width = first_round(batch.max_blocks)
    _topk_sm90_kernel[(batch.num_reqs * rows_per_req,)](
        score,
        batch.seq_lens,
        batch.cu_seqlens_q,
        out,
        *score.stride()[:2],
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *out.stride(),
        rows_per_req,
        H=config.num_index_heads,
        S=config.block_size,
        TOPK=config.topk_blocks,
        INIT_BLOCKS=config.init_blocks,
        LOCAL_BLOCKS=config.local_blocks,
        K=max(16, next_power_of_2(config.topk_blocks)),
        WIDTH=width,
        HAS_RUNS=has_runs,
        VECTOR=SCORE_VECTOR,
        IS_EARLY=is_early,
        num_warps=1,
        **({"launch_pdl": True} if is_early else {}),
    )


def first_round(most_blocks: int) -> tuple[bool, int]:
    """Of rows of up to most_blocks: whether the first round ranks runs of RUN blocks, not blocks, and how many, 2^n."""
    has_runs = most_blocks > ONE_ROUND
    candidates = -(-most_blocks // RUN.value) if has_runs else most_blocks
    return has_runs, max(LEAST_WIDTH, next_power_of_2(candidates))

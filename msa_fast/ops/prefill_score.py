"""Prefill scores for every architecture: each page is read once per tile of query rows."""

from math import gcd

import torch
import triton
import triton.language as tl

from msa_fast.ops.dispatch import SelectionStart
from msa_fast.ops.dot import dot_fp8, dot_fp32, multiplied_as
from msa_fast.ops.launch_table import (
    PROGRAM_ROWS,
    SCORE,
    architecture_of,
    entry_for,
    key_kind,
)
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvfp4 import in_words, nvfp4_keys
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref.batch import PagedBatch

SELECTION_START = SelectionStart.BEHIND
IS_INTERLEAVED = False


@triton.jit
def _token_scores(
    q, pages_ptr, page, stride_page, stride_page_s, stride_page_d, S: tl.constexpr, D: tl.constexpr,
    IS_NATIVE: tl.constexpr,
):  # fmt: skip
    """fp32 [ROWS, S]: every query row of q [ROWS, D] against every key of one page."""
    offs_s = tl.arange(0, S)
    offs_d = tl.arange(0, D)
    page_ptr = pages_ptr + page.to(tl.int64) * stride_page
    if (pages_ptr.dtype.element_ty == tl.uint8) | (pages_ptr.dtype.element_ty == tl.int64):
        k = tl.trans(nvfp4_keys(page_ptr, stride_page_s, stride_page_d, S, D))
    else:
        k = tl.load(page_ptr + offs_d[:, None] * stride_page_d + offs_s[None, :] * stride_page_s)
    if IS_NATIVE:
        return dot_fp8(q, k)
    return dot_fp32(q, k)


@triton.jit(
    do_not_specialize=["slab_token", "stride_table_b", "stride_score_b", "stride_best_b"],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _score_kernel(
    q_ptr,
    pages_ptr,
    block_table_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    tiles_ptr,
    score_ptr,
    best_ptr,
    slab_token,
    stride_q_t,
    stride_q_h,
    stride_q_d,
    stride_page,
    stride_page_s,
    stride_page_d,
    stride_table_r,
    stride_table_b,
    stride_seq_lens,
    stride_cu,
    stride_score_h,
    stride_score_t,
    stride_score_b,
    stride_best_h,
    stride_best_t,
    stride_best_b,
    H: tl.constexpr,
    D: tl.constexpr,
    S: tl.constexpr,
    ROWS: tl.constexpr,
    SUPERBLOCK: tl.constexpr,
    VECTOR: tl.constexpr,
    IS_NATIVE: tl.constexpr,
):
    """Grid: score tiles x parts of a tile: ROWS rows (token, head) of a request against some blocks.

    Writes score[h, t, b] for its rows and the blocks of its range that its last token sees, t
    counted from slab_token; blocks that an earlier token of the tile does not see get -inf. With
    SUPERBLOCK also best[h, t, s], the best of SUPERBLOCK blocks; a range starts with a superblock.
    Behind the last block -inf up to a multiple of VECTOR. Leaves all else alone.
    Masks: rows past the request; key tokens past a row's visible length, on the diagonal blocks
    alone, since a block before the first token's own needs none. Products accumulate in fp32;
    with IS_NATIVE those of e4m3 as the matrix unit for them does.
    """
    tile = tiles_ptr + tl.program_id(0) * 4
    req = tl.load(tile)
    first_row = tl.load(tile + 1) + tl.program_id(1) * ROWS
    first_block = tl.load(tile + 2)
    end_block = tl.load(tile + 3)
    q_start = tl.load(cu_seqlens_q_ptr + req * stride_cu)
    query_len = tl.load(cu_seqlens_q_ptr + (req + 1) * stride_cu) - q_start
    context_len = tl.load(seq_lens_ptr + req * stride_seq_lens) - query_len

    row = first_row + tl.arange(0, ROWS)
    token = row // H
    head = row % H
    is_row = token < query_len
    first_token = first_row // H
    # Padding rows reuse the last token, and are never stored.
    token = tl.minimum(token, query_len - 1)
    token = tl.maximum(token, 0)  # an empty tile of a plan made on the device may belong to a request without tokens
    visible_len = context_len + token + 1
    last_token = tl.minimum((first_row + ROWS - 1) // H, query_len - 1)
    num_blocks = tl.cdiv(tl.maximum(context_len + last_token + 1, 0), S)
    end_block = tl.minimum(end_block, num_blocks)
    end_block = tl.where(first_token < query_len, end_block, 0)  # a part without rows
    full_blocks = tl.maximum(context_len + first_token + 1, 0) // S  # seen whole by every row
    middle = tl.minimum(tl.maximum(first_block, full_blocks), tl.maximum(end_block, first_block))

    offs_d = tl.arange(0, D)
    rows = (q_start + token).to(tl.int64)
    q_rows = q_ptr + rows * stride_q_t + head.to(tl.int64) * stride_q_h
    q = tl.load(q_rows[:, None] + offs_d[None, :] * stride_q_d)
    if not IS_NATIVE:
        q = multiplied_as(q)
    # Masked after the load: the result of a select stays in registers as the left operand, which leaves
    # the bandwidth of shared memory to the keys.
    q = tl.where(is_row[:, None], q, 0.0)
    rows -= slab_token
    score_rows = score_ptr + rows * stride_score_t + head.to(tl.int64) * stride_score_h
    best_rows = best_ptr + rows * stride_best_t + head.to(tl.int64) * stride_best_h
    super_best = tl.full([ROWS], float("-inf"), tl.float32)
    table_row = block_table_ptr + req.to(tl.int64) * stride_table_r

    # The next page id is loaded a block ahead, as a plain scalar: a load that another load waits for would
    # get a stage and barriers of its own in the software pipeline.
    # The two loops repeat their body: apart, each has mutants of its own.
    page = tl.load(table_row + first_block.to(tl.int64) * stride_table_b, mask=first_block < end_block, other=0)
    for block in range(first_block, middle):
        token_score = _token_scores(q, pages_ptr, page, stride_page, stride_page_s, stride_page_d, S, D, IS_NATIVE)
        page = tl.load(table_row + tl.cast(block + 1, tl.int64) * stride_table_b, mask=block + 1 < end_block, other=0)
        best = tl.max(token_score, axis=1)
        best = tl.where(best == best, best, float("-inf"))  # NaN only if every token's score is
        tl.store(score_rows + tl.cast(block, tl.int64) * stride_score_b, best, mask=is_row)
        if SUPERBLOCK > 0:
            super_best = tl.where(block % SUPERBLOCK == 0, best, tl.maximum(super_best, best))
            is_whole = ((block + 1) % SUPERBLOCK == 0) | (block + 1 == end_block)
            best_b = best_rows + tl.cast(block // SUPERBLOCK, tl.int64) * stride_best_b
            tl.store(best_b, super_best, mask=is_row & is_whole)

    for block in range(middle, end_block):
        token_score = _token_scores(q, pages_ptr, page, stride_page, stride_page_s, stride_page_d, S, D, IS_NATIVE)
        page = tl.load(table_row + tl.cast(block + 1, tl.int64) * stride_table_b, mask=block + 1 < end_block, other=0)
        key_pos = block * S + tl.arange(0, S)
        token_score = tl.where(key_pos[None, :] < visible_len[:, None], token_score, float("-inf"))
        best = tl.max(token_score, axis=1)
        best = tl.where(best == best, best, float("-inf"))
        tl.store(score_rows + tl.cast(block, tl.int64) * stride_score_b, best, mask=is_row)
        if SUPERBLOCK > 0:
            super_best = tl.where(block % SUPERBLOCK == 0, best, tl.maximum(super_best, best))
            is_whole = ((block + 1) % SUPERBLOCK == 0) | (block + 1 == end_block)
            best_b = best_rows + tl.cast(block // SUPERBLOCK, tl.int64) * stride_best_b
            tl.store(best_b, super_best, mask=is_row & is_whole)

    # The selection reads whole vectors.
    for i in tl.static_range(VECTOR - 1):
        filler = num_blocks + i
        is_filler = is_row & (filler // VECTOR == (num_blocks - 1) // VECTOR)
        is_filler &= (first_block < end_block) & (end_block == num_blocks)
        nothing = tl.full([ROWS], float("-inf"), tl.float32)
        tl.store(score_rows + filler.to(tl.int64) * stride_score_b, nothing, mask=is_filler)


def is_served(
    batch: PagedBatch, plan: PrefillPlan, score: torch.Tensor | None, superblock_score: torch.Tensor | None
) -> bool:
    """True if this scorer takes a call: it takes all."""
    return True


def launch_score(
    batch: PagedBatch,
    plan: PrefillPlan,
    tiles: torch.Tensor,
    slab_token: int,
    score: torch.Tensor,
    superblock_score: torch.Tensor | None,
    is_followed: bool = False,
    is_native: bool = False,
) -> Launched:
    """Launch on checked arguments: tiles of the plan, of the slab whose first token is slab_token.

    score: [H, T, B], or [H, T, V, SCORE_VECTOR] with a row's vectors side by side. is_followed changes nothing.
    is_native: give e4m3 queries and keys to the matrix unit as they are (`msa_fast.ops.product`).
    """
    best = score if superblock_score is None else superblock_score
    config = batch.config
    architecture = architecture_of(batch.device)
    kind = key_kind(batch.index_k_pages.dtype)
    pages = in_words(batch.index_k_pages)
    launch = entry_for(SCORE, architecture, kind)
    rows = gcd(plan.score_rows, entry_for(PROGRAM_ROWS, architecture, kind))
    return launched(
        batch.device,
        _score_kernel,
        (len(tiles), triton.cdiv(plan.score_rows, rows)),
        batch.index_q,
        pages,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        tiles,
        score,
        best,
        slab_token,
        *batch.index_q.stride(),
        *pages.stride(),
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *score.stride()[:2],
        score.stride(score.ndim - 1),
        *best.stride()[:2],
        best.stride(best.ndim - 1),
        H=config.num_index_heads,
        D=config.index_head_dim,
        S=config.block_size,
        ROWS=rows,
        SUPERBLOCK=0 if superblock_score is None else plan.superblock,
        VECTOR=score.shape[3] if score.ndim == 4 else 1,
        IS_NATIVE=is_native,
        **launch.options(architecture),
    )

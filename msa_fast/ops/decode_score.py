"""Decode scores for every architecture: programs share the live blocks of all requests evenly.

The grid depends on shapes alone. The kernel reads the number of blocks on the device, and splits the
blocks that exist, not those that the table could hold. So a graph captured for long requests serves short
ones with the whole GPU, and also one long request among short ones.
"""

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents
from triton.tools.tensor_descriptor import TensorDescriptor

from msa_fast.ops.buffers import SCORE_VECTOR
from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.dot import dot_fp8, dot_fp32, multiplied_as
from msa_fast.ops.launch_table import (
    DECODE,
    TENSOR_COPY,
    architecture_of,
    entry_for,
    key_kind,
    next_power_of_2,
    number,
)
from msa_fast.ops.launching import Launched, launched
from msa_fast.ops.nvfp4 import in_words, nvfp4_keys
from msa_ref.batch import PagedBatch

TAKES_INTERLEAVED = False
"""True if scores may lie interleaved (`new_vector_score`): this scorer stores those of a row side by side."""
PROGRAMS = 2
"""Programs of a multiprocessor."""


@triton.jit
def _pick_two(is_here, a, b):
    """The scalars (a, b) where is_here [REQS] holds, once, of two int32 [REQS]: one reduction for both."""
    both = tl.join(a, b)
    return tl.split(tl.sum(tl.where(is_here[:, None], both, 0), axis=0))


@triton.jit
def _pick_four(is_here, a, b, c, d):
    """The same of four."""
    four = tl.join(tl.join(a, b), tl.join(c, d))
    ab, cd = tl.split(tl.sum(tl.where(is_here[:, None, None], four, 0), axis=0))
    a, b = tl.split(ab)
    c, d = tl.split(cd)
    return a, b, c, d


@triton.jit(
    do_not_specialize=[
        "stride_table_r",
        "stride_table_b",
        "num_reqs",
        "stride_score_h",
        "stride_score_t",
        "stride_score_b",
    ],
    do_not_specialize_on_alignment=["block_table_ptr", "seq_lens_ptr", "cu_seqlens_q_ptr"],
)
def _decode_score_kernel(
    q_ptr,
    pages_ptr,
    keys,
    block_table_ptr,
    seq_lens_ptr,
    cu_seqlens_q_ptr,
    score_ptr,
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
    num_reqs,
    H: tl.constexpr,
    D: tl.constexpr,
    S: tl.constexpr,
    TOPK: tl.constexpr,
    REQS: tl.constexpr,
    ROWS: tl.constexpr,
    SCORE_VECTOR: tl.constexpr,
    IS_FOLLOWED: tl.constexpr,
    IS_NATIVE: tl.constexpr,
):
    """Grid: any number of programs; they share the live blocks of all requests evenly.

    Writes score[h, t, b] for every block b that the request's last token sees (-inf where t sees
    none of it), if it sees more than TOPK of them. Leaves all else alone. Masks: rows past the
    request; key tokens past a row's visible length. REQS >= num_reqs and ROWS >= query_len * H are
    powers of two. Keys are the M side of the product: a page goes to the matrix unit as it lies.
    Products accumulate in fp32; with IS_NATIVE those of e4m3 as the matrix unit for them does. keys: a tensor
    descriptor of the pages, or None. IS_FOLLOWED: the next kernel of the stream waits for this one on the GPU, and may
    be launched at once.
    """
    if IS_FOLLOWED:
        gdc_launch_dependents()
    reqs = tl.arange(0, REQS)
    is_req = reqs < num_reqs
    q_starts = tl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    q_ends = tl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    seq_lens = tl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    # A request's last token sees seq_len tokens. Requests without queries, and those that select all their
    # blocks, need no scores.
    num_blocks = (tl.maximum(seq_lens, 0) + S - 1) // S
    num_blocks = tl.where((q_ends > q_starts) & (num_blocks > TOPK), num_blocks, 0)
    ends = tl.cumsum(num_blocks, axis=0)
    total = tl.sum(num_blocks, axis=0)
    share, rest = total // tl.num_programs(0), total % tl.num_programs(0)
    program = tl.program_id(0)
    position = program * share + tl.minimum(program, rest)
    end = position + share + (program < rest).to(tl.int32)

    row = tl.arange(0, ROWS)
    offs_s = tl.arange(0, S)
    offs_d = tl.arange(0, D)
    while position < end:
        # One request holds the position (one without blocks holds none). Its lengths are picked from
        # registers: another load would delay the first key by a trip to memory.
        is_here = (ends > position) & (ends - num_blocks <= position)
        req, stop = _pick_two(is_here, reqs, ends)
        q_start, q_end, seq_len, start = _pick_four(is_here, q_starts, q_ends, seq_lens, ends - num_blocks)
        num_scores = stop - start
        stop = tl.minimum(stop, end)
        query_len = q_end - q_start
        context_len = seq_len - query_len

        token = row // H
        head = (row % H).to(tl.int64)
        is_row = token < query_len
        # In this order: `token + 1` becomes a packed addition, which ptxas may get wrong (compile gate: "packed").
        visible_len = context_len + 1 + token
        rows = (q_start + token).to(tl.int64)
        q_rows = q_ptr + rows * stride_q_t + head * stride_q_h
        q = tl.load(q_rows[None, :] + offs_d[:, None] * stride_q_d, mask=is_row[None, :], other=0.0)
        if not IS_NATIVE:
            q = multiplied_as(q)
        score_rows = score_ptr + rows * stride_score_t + head * stride_score_h
        table_row = block_table_ptr + req.to(tl.int64) * stride_table_r

        # The next block's page is fetched a block ahead, as in the prefill scorer.
        page = tl.load(table_row + (position - start).to(tl.int64) * stride_table_b)
        for block in range(position - start, stop - start):
            page_ptr = pages_ptr + page.to(tl.int64) * stride_page
            if (pages_ptr.dtype.element_ty == tl.uint8) | (pages_ptr.dtype.element_ty == tl.int64):
                k = nvfp4_keys(page_ptr, stride_page_s, stride_page_d, S, D)
            elif keys is None:
                k = tl.load(page_ptr + offs_s[:, None] * stride_page_s + offs_d[None, :] * stride_page_d)
            else:
                k = keys.load([page, 0, 0]).reshape(S, D)
            is_more = block + 1 < stop - start
            page = tl.load(table_row + tl.cast(block + 1, tl.int64) * stride_table_b, mask=is_more, other=0)
            token_score = dot_fp8(k, q) if IS_NATIVE else dot_fp32(k, q)
            key_pos = block * S + offs_s
            token_score = tl.where(key_pos[:, None] < visible_len[None, :], token_score, float("-inf"))
            best = tl.max(token_score, axis=0)
            best = tl.where(best == best, best, float("-inf"))  # NaN only if every token's score is
            tl.store(score_rows + tl.cast(block, tl.int64) * stride_score_b, best, mask=is_row)
        if stop - start == num_scores:  # the request's last block was among them
            nothing = tl.full([ROWS], float("-inf"), tl.float32)
            for filler in range(num_scores, (num_scores + SCORE_VECTOR - 1) // SCORE_VECTOR * SCORE_VECTOR):
                tl.store(score_rows + tl.cast(filler, tl.int64) * stride_score_b, nothing, mask=is_row)
        position = stop


def is_served(batch: PagedBatch, decode_query_len: int) -> bool:
    """True if this scorer takes a call: it takes all."""
    return True


def programs_per_processor(batch: PagedBatch, decode_query_len: int) -> int:
    """Programs that a multiprocessor should have at once."""
    return PROGRAMS


def launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int, is_followed: bool,
    is_native: bool = False,
) -> Launched:  # fmt: skip
    """Launch on checked arguments. num_reqs: REQS of the kernel. is_native: as in `prefill_score.launch_score`."""
    config = batch.config
    architecture = architecture_of(batch.device)
    # With a descriptor one thread starts the copy of a page, and most address arithmetic is gone.
    is_copied = number(TENSOR_COPY, architecture) and is_tensor_copied(batch.index_k_pages)
    page = [1, config.block_size, config.index_head_dim]
    keys = TensorDescriptor.from_tensor(batch.index_k_pages, page) if is_copied else None
    pages = in_words(batch.index_k_pages)
    launch = entry_for(DECODE, architecture, key_kind(batch.index_k_pages.dtype))
    return launched(
        batch.device,
        _decode_score_kernel,
        (num_programs,),
        batch.index_q,
        pages,
        keys,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        score,
        *batch.index_q.stride(),
        *pages.stride(),
        *batch.block_table.stride(),
        *batch.seq_lens.stride(),
        *batch.cu_seqlens_q.stride(),
        *score.flatten(2).stride(),
        batch.num_reqs,
        H=config.num_index_heads,
        D=config.index_head_dim,
        S=config.block_size,
        TOPK=config.topk_blocks,
        REQS=num_reqs,
        ROWS=max(16, next_power_of_2(decode_query_len * config.num_index_heads)),
        SCORE_VECTOR=SCORE_VECTOR,
        IS_FOLLOWED=is_followed,
        IS_NATIVE=is_native,
        **launch.options(architecture),
    )

"""Decode: split-K scores of a few query tokens per request, then the selection.

The grid depends on shapes alone. How many blocks there are is read on the device, and the programs
share them evenly: what is there is split, not what might be, so a graph captured for long requests
serves short ones with the whole GPU, and one long request among short ones too.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents
from triton.tools.tensor_descriptor import TensorDescriptor

from msa_fast.ops.checks import (
    MAX_PRODUCT_ROWS,
    MAX_SCORED_REQS,
    SCORE_VECTOR,
    check_batch,
    check_decode,
    is_tensor_copied,
    new_decode_score,
    next_power_of_2,
    num_processors,
    own_out,
)
from msa_fast.ops.decode_topk import launch_decode_topk
from msa_fast.ops.dot import dot_fp32
from msa_fast.ops.hopper import decode as hopper_decode
from msa_fast.ops.hopper import topk as hopper_topk
from msa_fast.ops.launch_table import (
    DECODE,
    EARLY,
    TENSOR_COPY,
    architecture_of,
    choose,
    number,
)
from msa_ref.batch import PagedBatch
from msa_ref.config import require

MAX_SPLITS = 256
PROGRAMS = 2
"""Programs of a multiprocessor."""


@triton.jit
def _pick_two(is_here, a, b):
    """The scalars (a, b) where is_here [REQS] holds, once, of two int32 [REQS]: one reduction for both."""
    both = tl.join(a, b)
    return tl.split(tl.sum(tl.where(is_here[:, None], both, 0), axis=0))


@triton.jit
def _pick_four(is_here, a, b, c, d):
    """As `_pick_two`, of four."""
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
):
    """Grid: any number of programs; they share the live blocks of all requests evenly.

    Writes score[h, t, b] for every block b that the request's last token sees (-inf where t sees
    none of it), if it sees more than TOPK of them. Leaves all else alone. Masks: rows past the
    request; key tokens past a row's visible length. REQS >= num_reqs and ROWS >= query_len * H are
    powers of two. Keys are the M side of the product: a page goes to the matrix unit as it lies.
    Products accumulate in fp32. keys: a tensor descriptor of the pages, or None. IS_FOLLOWED: the
    next kernel of the stream waits for this one on the GPU, and may be launched at once.
    """
    if IS_FOLLOWED:
        gdc_launch_dependents()
    reqs = tl.arange(0, REQS)
    is_req = reqs < num_reqs
    q_starts = tl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)
    q_ends = tl.load(cu_seqlens_q_ptr + (reqs + 1) * stride_cu, mask=is_req, other=0)
    seq_lens = tl.load(seq_lens_ptr + reqs * stride_seq_lens, mask=is_req, other=0)
    # A request's last token sees seq_len tokens. Without queries, or with no more blocks than are
    # selected, nobody asks for a score.
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
        # One request holds the position (none without blocks does). What is known of it is picked
        # from registers: loading it anew would put one more trip to memory before the first key.
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
        # In this order: `token + 1` would be a packed addition, which ptxas may get wrong (compile gate: "packed").
        visible_len = context_len + 1 + token
        rows = (q_start + token).to(tl.int64)
        q_rows = q_ptr + rows * stride_q_t + head * stride_q_h
        q = tl.load(q_rows[None, :] + offs_d[:, None] * stride_q_d, mask=is_row[None, :], other=0.0)
        score_rows = score_ptr + rows * stride_score_t + head * stride_score_h
        table_row = block_table_ptr + req.to(tl.int64) * stride_table_r

        # The next block's page is fetched a block ahead, as in the prefill scorer.
        page = tl.load(table_row + (position - start).to(tl.int64) * stride_table_b)
        for block in range(position - start, stop - start):
            if keys is None:
                page_ptr = pages_ptr + page.to(tl.int64) * stride_page
                k = tl.load(page_ptr + offs_s[:, None] * stride_page_s + offs_d[None, :] * stride_page_d)
            else:
                k = keys.load([page, 0, 0]).reshape(S, D)
            is_more = block + 1 < stop - start
            page = tl.load(table_row + tl.cast(block + 1, tl.int64) * stride_table_b, mask=is_more, other=0)
            token_score = dot_fp32(k, q)
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


def minimax_m3_index_decode(
    batch: PagedBatch,
    decode_query_len: int,
    num_splits: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Score and select for decode requests. Capturable: the grid comes from shapes alone.

    The keys of a request that sees no more than topk_blocks blocks are not read: it selects them all.

    Args:
        batch: bf16, fp16 or fp32, on a GPU (on the CPU under Triton's interpreter).
        decode_query_len: no request has more query tokens than this, 1 .. 8; fewer, or none, is fine.
        num_splits: programs per request, 1 .. 256, on average: all programs share all live blocks
            evenly. By default as many as fill the GPU. Changes speed, never a bit of the answer.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    return _decode(batch, decode_query_len, num_splits, out)[0]


def minimax_m3_index_decode_with_score(
    batch: PagedBatch,
    decode_query_len: int,
    num_splits: int | None = None,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`minimax_m3_index_decode`, and the scores [H, T, max_blocks] fp32 that it selected by.

    Scores of a request that sees no more than topk_blocks blocks are whatever was in that memory.
    """
    topk_idx, score = _decode(batch, decode_query_len, num_splits, out)
    return topk_idx, score.flatten(2)[..., : batch.max_blocks]


def _decode(
    batch: PagedBatch, decode_query_len: int, num_splits: int | None, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`minimax_m3_index_decode`, and its scores in memory of `new_decode_score`."""
    check_batch(batch)
    check_decode(decode_query_len, batch.num_reqs, batch.total_q, batch.max_blocks)
    is_count = num_splits is None or (isinstance(num_splits, int) and 1 <= num_splits <= MAX_SPLITS)
    require(is_count, "num_splits", f"must be an int from 1 to {MAX_SPLITS}", repr(num_splits))
    out = own_out(out, batch)
    heads = _heads_each(batch, decode_query_len)
    is_sm90 = hopper_decode.is_served(_heads_of(batch, slice(heads)), decode_query_len)
    # The scorer for everyone stores the scores of a row side by side.
    score = new_decode_score(batch, is_sm90 and hopper_topk.is_interleaved(batch))
    if batch.total_q == 0:
        return out[:, :0], score

    is_early = bool(number(EARLY, architecture_of(batch.device)))
    launch_score = hopper_decode.launch_score if is_sm90 else _launch_score
    for part, part_score in _parts(batch, score, heads):
        if num_splits is None:
            per_processor = (
                hopper_decode.programs_of_a_processor(part.config, decode_query_len) if is_sm90 else PROGRAMS
            )
            num_programs = default_num_programs(part, per_processor)
        else:
            num_programs = part.num_reqs * num_splits
        num_reqs = next_power_of_2(part.num_reqs)
        launch_score(part, part_score, num_programs, num_reqs, decode_query_len, is_early)
    launch_decode_topk(score, batch, out, decode_query_len * batch.config.num_index_heads, is_early)
    return out[:, : batch.total_q], score


def _heads_each(batch: PagedBatch, decode_query_len: int) -> int:
    """Heads whose rows (token, head) one product takes: all of the batch's, if it can."""
    heads = batch.config.num_index_heads
    max_rows = MAX_PRODUCT_ROWS[batch.index_q.element_size()]
    return heads if heads * decode_query_len <= max_rows else max_rows // next_power_of_2(decode_query_len)


def _heads_of(batch: PagedBatch, heads: slice) -> PagedBatch:
    """The batch with some of its heads."""
    index_q = batch.index_q[:, heads]
    if index_q.shape[1] == batch.config.num_index_heads:
        return batch
    return replace(batch, config=replace(batch.config, num_index_heads=index_q.shape[1]), index_q=index_q)


def _parts(batch: PagedBatch, score: torch.Tensor, heads_each: int) -> Iterator[tuple[PagedBatch, torch.Tensor]]:
    """The parts of a batch, of its requests and its heads, that one launch scores each; and where their scores go."""
    for head in range(0, batch.config.num_index_heads, heads_each):
        heads = slice(head, head + heads_each)
        part = _heads_of(batch, heads)
        if batch.num_reqs <= MAX_SCORED_REQS:
            yield part, score[heads]
            continue
        for req in range(0, batch.num_reqs, MAX_SCORED_REQS):
            end = min(req + MAX_SCORED_REQS, batch.num_reqs)
            yield (
                replace(
                    part,
                    block_table=batch.block_table[req:end],
                    seq_lens=batch.seq_lens[req:end],
                    cu_seqlens_q=batch.cu_seqlens_q[req : end + 1],
                ),
                score[heads],
            )


def _launch_score(
    batch: PagedBatch, score: torch.Tensor, num_programs: int, num_reqs: int, decode_query_len: int, is_followed: bool
) -> None:
    """Launch the scorer for everyone on checked arguments. num_reqs: its REQS."""
    config = batch.config
    architecture = architecture_of(batch.device)
    # A page is then one copy that one thread starts, and most of the address arithmetic is gone.
    is_copied = number(TENSOR_COPY, architecture) and is_tensor_copied(batch.index_k_pages)
    page = [1, config.block_size, config.index_head_dim]
    keys = TensorDescriptor.from_tensor(batch.index_k_pages, page) if is_copied else None
    launch = choose(DECODE, architecture, batch.index_q.element_size())
    _decode_score_kernel[(num_programs,)](
        batch.index_q,
        batch.index_k_pages,
        keys,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
        score,
        *batch.index_q.stride(),
        *batch.index_k_pages.stride(),
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
        **launch.options(architecture),
    )


def default_num_programs(batch: PagedBatch, per_processor: int) -> int:
    """As many as fill the GPU with so many on a multiprocessor, or as there can be blocks; from shapes alone."""
    return max(1, min(per_processor * num_processors(batch.device), batch.num_reqs * batch.max_blocks))

"""Decode: scores of a few query tokens per request, then the selection."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from msa_fast.ops import decode_score
from msa_fast.ops.blackwell import decode as blackwell_decode
from msa_fast.ops.buffers import new_vector_score, own_out
from msa_fast.ops.checks import (
    MAX_PRODUCT_ROWS,
    MAX_SCORED_REQS,
    check_batch,
    check_decode,
    check_num_splits,
    operand_bytes,
)
from msa_fast.ops.decode_topk import decode_selection
from msa_fast.ops.dispatch import DecodeScorer, DecodeSelection
from msa_fast.ops.hopper import decode as hopper_decode
from msa_fast.ops.hopper import decode_e4m3 as hopper_decode_e4m3
from msa_fast.ops.launch_table import (
    ANY,
    EARLY,
    architecture_of,
    next_power_of_2,
    num_processors,
    number,
)
from msa_fast.ops.launching import Launched
from msa_fast.ops.product import NativeDecode, check_product
from msa_ref.batch import PagedBatch

DECODE_SCORERS: tuple[DecodeScorer, ...] = (blackwell_decode, hopper_decode, hopper_decode_e4m3, decode_score)
"""Asked in order; the first that serves a call scores it."""
SCORED_REQS = {"interpreter": 68, ANY: MAX_SCORED_REQS}
"""Requests that one launch of a decode scorer takes; further launches score the others. Few on the interpreter, so that
it launches several times; more than 64, so that one launch has more requests than few bits or a small tile hold."""


def minimax_m3_index_decode(
    batch: PagedBatch,
    decode_query_len: int,
    num_splits: int | None = None,
    out: torch.Tensor | None = None,
    product: str = "exact",
) -> torch.Tensor:
    """Score and select for decode requests. Capturable: the grid comes from shapes alone.

    The keys of a request that sees no more than topk_blocks blocks are not read: it selects them all.

    Args:
        batch: on a GPU (on the CPU under Triton's interpreter).
        decode_query_len: no request has more query tokens than this, 1 .. 8; fewer, or none, is fine. Rows of
            index_q behind the last request are not read, and their rows of `out` stay untouched.
        num_splits: programs per request, 1 .. 256, on average: all programs share all live blocks
            evenly. By default as many as fill the GPU. Changes speed, never a bit of the answer.
        out: [H, >= T, K] int32, any strides that do not overlap; rows past T stay untouched.
        product: `exact`, or `fp8`: e4m3 queries and keys go to the GPU's unit for them, of which Hopper's may select
            other blocks (`msa_fast.ops.product`).

    Returns:
        topk_idx [H, T, K] int32: ids ascending, then PAD; a view of `out` where it was given.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    return _decode(batch, decode_query_len, num_splits, out, product)[0]


def minimax_m3_index_decode_with_score(
    batch: PagedBatch,
    decode_query_len: int,
    num_splits: int | None = None,
    out: torch.Tensor | None = None,
    product: str = "exact",
) -> tuple[torch.Tensor, torch.Tensor]:
    """`minimax_m3_index_decode`, and the scores [H, T, max_blocks] fp32 that it selected by.

    Scores of a request that sees no more than topk_blocks blocks are not specified.
    """
    topk_idx, score = _decode(batch, decode_query_len, num_splits, out, product)
    return topk_idx, score.flatten(2)[..., : batch.max_blocks]


def _decode(
    batch: PagedBatch, decode_query_len: int, num_splits: int | None, out: torch.Tensor | None, product: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """`minimax_m3_index_decode`, and its scores in memory of `new_vector_score`."""
    choice = choose_decode(batch, decode_query_len, num_splits, product)
    out = own_out(out, batch)
    score = new_vector_score(batch, choice.is_interleaved)
    launch_decode(batch, choice, out, score)
    return out[:, : batch.total_q], score


@dataclass(frozen=True)
class DecodeChoice:
    """The choices that serve a call: its scorer, heads of one launch, its selection, how scores lie."""

    decode_query_len: int
    num_splits: int | None
    scorer: DecodeScorer
    heads_each: int
    selection: DecodeSelection
    is_interleaved: bool


def choose_decode(
    batch: PagedBatch, decode_query_len: int, num_splits: int | None, product: str = "exact"
) -> DecodeChoice:
    """Check a call, and choose what serves it.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_batch(batch)
    check_decode(decode_query_len, batch.num_reqs, batch.total_q, batch.max_blocks)
    check_num_splits(num_splits)
    check_product(product, batch)
    heads_each = _heads_each(batch, decode_query_len)
    first_heads = _with_heads(batch, slice(heads_each))
    scorers = DECODE_SCORERS if product == "exact" else (NativeDecode(),)
    scorer = next(scorer for scorer in scorers if scorer.is_served(first_heads, decode_query_len))
    selection = decode_selection(batch)
    is_interleaved = scorer.TAKES_INTERLEAVED and selection.is_interleaved(batch)
    return DecodeChoice(decode_query_len, num_splits, scorer, heads_each, selection, is_interleaved)


def launch_decode(batch: PagedBatch, choice: DecodeChoice, out: torch.Tensor, score: torch.Tensor) -> list[Launched]:
    """Launch on checked arguments, with scores of `new_vector_score`. Returns what was launched."""
    if batch.total_q == 0:
        return []
    scorer, decode_query_len, num_splits = choice.scorer, choice.decode_query_len, choice.num_splits
    is_early = bool(number(EARLY, architecture_of(batch.device)))
    launches = []
    for part, part_score in _parts(batch, score, choice.heads_each):
        if num_splits is None:
            num_programs = default_num_programs(part, scorer.programs_per_processor(part, decode_query_len))
        else:
            num_programs = part.num_reqs * num_splits
        num_reqs = next_power_of_2(part.num_reqs)
        launches.append(scorer.launch_score(part, part_score, num_programs, num_reqs, decode_query_len, is_early))
    is_early &= launches[-1] is not None  # else the kernel before may be anyone's
    rows_per_req = decode_query_len * batch.config.num_index_heads
    launches.append(choice.selection.launch_decode_topk(score, batch, out, rows_per_req, is_early))
    return [launch for launch in launches if launch is not None]


def _heads_each(batch: PagedBatch, decode_query_len: int) -> int:
    """Heads whose rows (token, head) one product takes: all of the batch's, if it can."""
    heads = batch.config.num_index_heads
    max_rows = MAX_PRODUCT_ROWS[operand_bytes(batch)]
    return heads if heads * decode_query_len <= max_rows else max_rows // next_power_of_2(decode_query_len)


def _with_heads(batch: PagedBatch, heads: slice) -> PagedBatch:
    """The batch with some of its heads; the batch itself, unsliced, where those are all."""
    if heads.stop - (heads.start or 0) >= batch.config.num_index_heads:
        return batch
    index_q = batch.index_q[:, heads]
    return replace(batch, config=replace(batch.config, num_index_heads=index_q.shape[1]), index_q=index_q)


def _with_reqs(batch: PagedBatch, first: int, num_reqs: int) -> PagedBatch:
    """The batch with some of its requests. Query tokens stay where they are: `cu_seqlens_q` counts from the first."""
    end = min(first + num_reqs, batch.num_reqs)
    return replace(
        batch,
        block_table=batch.block_table[first:end],
        seq_lens=batch.seq_lens[first:end],
        cu_seqlens_q=batch.cu_seqlens_q[first : end + 1],
    )


def _parts(batch: PagedBatch, score: torch.Tensor, heads_each: int) -> Iterator[tuple[PagedBatch, torch.Tensor]]:
    """The parts that one launch each scores, some heads of some requests, and their scores. Mostly one: the batch."""
    reqs_each = number(SCORED_REQS, architecture_of(batch.device))
    for head in range(0, batch.config.num_index_heads, heads_each):
        heads = slice(head, head + heads_each)
        part, part_score = _with_heads(batch, heads), score[heads]
        if batch.num_reqs <= reqs_each:
            yield part, part_score
            continue
        for first in range(0, batch.num_reqs, reqs_each):
            yield _with_reqs(part, first, reqs_each), part_score


def default_num_programs(batch: PagedBatch, per_processor: int) -> int:
    """per_processor for each multiprocessor, but at most one per entry of the block table: from shapes alone."""
    return max(1, min(per_processor * num_processors(batch.device), batch.num_reqs * batch.max_blocks))

"""The facts of one call that a profile may ask for, from a batch here; a harness may know them without tensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig
from msa_ref.indexer import scored_chunks

Strides = Literal["any", "contiguous", "aligned"]
"""Words for the strides of some tensors; each promises more than the one before."""

ALIGNMENT = 16
"""Bytes, whose multiple the address of an "aligned" tensor is: the widest load of one thread."""

ROUNDING = 2.0**-10
"""Share of sum |q * k| by which a kernel's score may be off, far above any bound of `msa_ref.precision` in use."""


@dataclass(frozen=True)
class CallFacts:
    """The demands of a call on a target, apart from the sizes of its scores.

    dtypes: of queries and of keys.
    visible_blocks, query_len, num_reqs, total_q, table_blocks: the greatest number of blocks that a row sees and of
        query tokens of a request; requests; query tokens; columns of the block table.
    is_uniform: whether all requests have equally many query tokens.
    has_padding_rows: whether some query token sees nothing.
    has_padded_queries: whether index_q has rows after the last request's tokens.
    strides: of the tensors that the target is given.
    is_of_scores: whether the target is given scores, in place of queries and keys.
    has_nan, has_infinities: whether the values that it must read, queries and keys or scores, hold some; false
        where nobody looked.
    has_subnormals: whether queries or keys hold some, or are so small that their products' sums may be; likewise.
    """

    config: IndexerConfig
    dtypes: tuple[torch.dtype, ...]
    visible_blocks: int
    query_len: int
    num_reqs: int
    total_q: int
    table_blocks: int
    is_uniform: bool
    has_padding_rows: bool
    has_padded_queries: bool
    strides: Strides
    is_of_scores: bool
    has_nan: bool
    has_infinities: bool
    has_subnormals: bool = False


def facts_of(batch: PagedBatch, score: torch.Tensor | None = None, looks_at_values: bool = True) -> CallFacts:
    """The facts of a batch, and of the scores [H, T, N] that a target is given with it. Synchronizes."""
    query_lens = batch.query_lens().tolist()
    given = [batch.index_q, batch.index_k_pages] if score is None else [score]
    read = _read_values(batch, score) if looks_at_values else torch.empty(0)
    return CallFacts(
        config=batch.config,
        dtypes=(batch.index_q.dtype, batch.index_k_pages.dtype),
        visible_blocks=batch.max_visible_blocks(),
        query_len=max(query_lens, default=0),
        num_reqs=batch.num_reqs,
        total_q=batch.total_q,
        table_blocks=batch.max_blocks,
        is_uniform=len(set(query_lens)) <= 1,
        has_padding_rows=bool((batch.visible_lens() == 0).any()),
        has_padded_queries=sum(query_lens) < batch.total_q,
        strides=strides_of([*given, batch.block_table, batch.seq_lens, batch.cu_seqlens_q]),
        is_of_scores=score is not None,
        has_nan=bool(read.isnan().any()),
        has_infinities=bool(read.isinf().any()),
        has_subnormals=looks_at_values and score is None and _may_be_subnormal(batch),
    )


def _may_be_subnormal(batch: PagedBatch) -> bool:
    """True if a number that a kernel must read is subnormal, or if a sum of products may be.

    Products, rounded to float32, are multiples of 2**-23 times the least of them, and so are their sums.
    """
    least = 1.0
    for values, row in ((_own_queries(batch), batch.query_format), (_live_keys(batch), batch.key_format)):
        sizes = values.abs()
        smallest = float(sizes[sizes > 0].min()) if bool((sizes > 0).any()) else 1.0
        if smallest < row.min_normal:
            return True
        least *= smallest
    return least < torch.finfo(torch.float32).smallest_normal * 2**23


def _read_values(batch: PagedBatch, score: torch.Tensor | None) -> torch.Tensor:
    """1-D, every value that the target must read."""
    if score is not None:
        return visible_scores(batch, score)
    return torch.cat([_own_queries(batch).flatten(), _live_keys(batch).flatten()])


def _own_queries(batch: PagedBatch) -> torch.Tensor:
    """[tokens, H, D] float32, the queries of all requests' tokens."""
    return batch.query_format.values(batch.index_q[: int(batch.cu_seqlens_q[-1])])


def _live_keys(batch: PagedBatch) -> torch.Tensor:
    """[keys, D] float32, the keys of all requests' tokens."""
    return batch.key_format.values(batch.index_k_pages[batch.live_slots()])


def strides_of(tensors: Iterable[torch.Tensor]) -> Strides:
    """The strongest word that is true of all of some tensors."""
    tensors = list(tensors)
    if not all(tensor.is_contiguous() for tensor in tensors):
        return "any"
    return "aligned" if all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in tensors) else "contiguous"


def visible_scores(batch: PagedBatch, score: torch.Tensor) -> torch.Tensor:
    """1-D, the scores that are some row's visible blocks', of a matrix [H, T, N]."""
    is_visible = torch.arange(score.shape[-1], device=score.device) < batch.num_visible_blocks()[:, None]
    return score[is_visible.expand(score.shape)]


def greatest_score(batch: PagedBatch, score: torch.Tensor | None, enough: float) -> float:
    """The greatest |score| that a kernel may find for a visible block; infinite where one may be NaN.

    score: as in `facts_of`. Without it a bound by the values is the answer where it is below `enough`: it costs little.
    """
    if score is not None:
        return _greatest(visible_scores(batch, score))
    queries, keys = (
        values.abs().nan_to_num(0.0, torch.inf)
        for values in (batch.query_format.values(batch.index_q), _live_keys(batch))
    )
    if queries.numel() == 0 or keys.numel() == 0:
        return 0.0
    by_values = float(queries.sum(-1).max() * keys.max()) * (1 + ROUNDING)
    if by_values < enough:
        return by_values
    found, num_visible_blocks = 0.0, batch.num_visible_blocks()
    for rows, scores in scored_chunks(batch):
        block = torch.arange(scores.shape[-1], device=scores.device)
        is_visible = (block < num_visible_blocks[rows, None]).expand(scores.shape)
        found = max(found, _greatest(scores[is_visible]))
    return found + by_values * ROUNDING


def _greatest(score: torch.Tensor) -> float:
    return float(score.abs().nan_to_num(torch.inf, torch.inf).max()) if score.numel() else 0.0

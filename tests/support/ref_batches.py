"""Small batches for the tests of the reference: by hand, or as a Hypothesis strategy."""

import math
import random
from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from msa_ref import IndexerConfig, PagedBatch

NAN, INF = math.nan, math.inf

POOLS = {
    "ties": [-1.0, 0.0, 1.0],
    "lattice": [float(value) for value in range(-8, 9)],
    "signed zeros": [0.0, -0.0, 1.0, -1.0],
    "infinities": [0.0, 1.0, -1.0, INF, -INF],
    "nan": [0.0, 1.0, 2.0, NAN],
    "anything": [0.0, -0.0, 1.0, -2.0, 3.0, INF, -INF, NAN],
}
"""Values whose dot products are exact in every order of summation, or not finite in any."""


def int32(values: Sequence) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def make_batch(
    config: IndexerConfig,
    query_lens: Sequence[int],
    seq_lens: Sequence[int],
    rng: random.Random,
    pool: Sequence[float] = POOLS["lattice"],
    dtype: torch.dtype = torch.float32,
    spare_pages: int = 2,
    spare_columns: int = 1,
    dead_entry: int = -1,
) -> PagedBatch:
    """A valid batch on shuffled pages: unused pages and unseen page tails hold NaN."""
    num_blocks = [config.num_blocks(seq_len) for seq_len in seq_lens]
    num_pages = sum(num_blocks) + spare_pages
    free_pages = list(range(num_pages))
    rng.shuffle(free_pages)
    max_blocks = max(num_blocks, default=0) + spare_columns
    shape = (num_pages, config.block_size, config.index_head_dim)
    pages = torch.full(shape, NAN, dtype=dtype)
    block_table = torch.full((len(seq_lens), max_blocks), dead_entry, dtype=torch.int32)
    for req, seq_len in enumerate(seq_lens):
        for block in range(num_blocks[req]):
            page = free_pages.pop()
            block_table[req, block] = page
            live = min(config.block_size, seq_len - block * config.block_size)
            pages[page, :live] = values((live, config.index_head_dim), rng, pool, dtype)
    total_q = sum(query_lens)
    cu_seqlens_q = [sum(query_lens[:req]) for req in range(len(query_lens) + 1)]
    index_q = values((total_q, config.num_index_heads, config.index_head_dim), rng, pool, dtype)
    return PagedBatch(config, index_q, pages, block_table, int32(seq_lens), int32(cu_seqlens_q)).validate()


def values(shape: tuple[int, ...], rng: random.Random, pool: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(rng.choices(pool, k=math.prod(shape)), dtype=dtype).reshape(shape)


def row_batch(config: IndexerConfig, query: Sequence, keys: Sequence, dtype: torch.dtype = torch.float32) -> PagedBatch:
    """One decode token over `keys` [tokens][D], oldest first; query [H][D]. What a worked example needs."""
    num_blocks = config.num_blocks(len(keys))
    pages = torch.full((num_blocks, config.block_size, config.index_head_dim), NAN, dtype=dtype)
    for pos, key in enumerate(keys):
        pages[pos // config.block_size, pos % config.block_size] = torch.tensor(key, dtype=dtype)
    block_table = torch.arange(num_blocks, dtype=torch.int32)[None]
    index_q = torch.tensor(query, dtype=dtype)[None]
    return PagedBatch(config, index_q, pages, block_table, int32([len(keys)]), int32([0, 1])).validate()


@st.composite
def batches(draw: st.DrawFn, pools: Sequence[str] = tuple(POOLS), min_reqs: int = 0) -> PagedBatch:
    """Ragged batches of up to 3 requests, padding rows and seq_len < query_len among them."""
    init_blocks, local_blocks = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    config = IndexerConfig(
        num_index_heads=draw(st.integers(1, 3)),
        index_head_dim=draw(st.integers(1, 3)),
        block_size=draw(st.integers(1, 4)),
        topk_blocks=draw(st.integers(max(1, init_blocks + local_blocks), 5)),
        init_blocks=init_blocks,
        local_blocks=local_blocks,
    )
    num_reqs = draw(st.integers(min_reqs, 3))
    lens = st.lists(st.integers(0, 5), min_size=num_reqs, max_size=num_reqs)
    query_lens = draw(lens)
    seq_lens = draw(st.lists(st.integers(0, 30), min_size=num_reqs, max_size=num_reqs))
    rng = random.Random(draw(st.integers(0, 2**32)))
    pool = POOLS[draw(st.sampled_from(list(pools)))]
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    dead_entry = draw(st.sampled_from([-1, 0, 2**31 - 1]))
    return make_batch(config, query_lens, seq_lens, rng, pool, dtype, dead_entry=dead_entry)

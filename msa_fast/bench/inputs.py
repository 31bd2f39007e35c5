"""Random normal inputs whose key pools rotate, so that no cache holds the keys of the next call."""

import torch

from msa_fast.bench.shapes import Shape
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig
from msa_ref.formats import SHORT_PAIRS, ElementFormat

POOL_BYTES = 512 * 2**20
"""Bytes of keys that a rotation walks through: several times any L2 cache."""


def make_batches(shape: Shape, device: str = "cuda", seed: int = 0) -> list[PagedBatch]:
    """Batches of one shape, at most 64, whose keys together pass POOL_BYTES.

    All share one pool of pages. Each batch maps its blocks to pages of its own, in random order,
    until the pool is used up; then pages repeat in another order.
    """
    config = IndexerConfig(num_index_heads=shape.num_heads)
    generator = torch.Generator(device).manual_seed(seed)
    seq_lens = shape.all_seq_lens
    blocks = [config.num_blocks(seq_len) for seq_len in seq_lens]
    formats = SHORT_PAIRS[shape.formats]
    queries, keys = formats.queries, formats.keys
    row_len = keys.row_len(config.index_head_dim)
    page_bytes = config.block_size * row_len * keys.num_bytes
    num_batches = min(64, max(1, -(-POOL_BYTES // max(1, sum(blocks) * page_bytes))))
    num_pages = max(sum(blocks), POOL_BYTES // page_bytes)

    pages = _drawn(keys, (num_pages, config.block_size, row_len), generator)
    total_q = shape.query_len * len(seq_lens)
    cu_seqlens_q = torch.arange(len(seq_lens) + 1, dtype=torch.int32, device=device) * shape.query_len
    batches = []
    order = torch.randperm(num_pages, generator=generator, device=device).int()
    for i in range(num_batches):
        own = order.roll(-i * sum(blocks))
        width = max(*blocks, config.num_blocks(shape.captured_for))
        table = torch.zeros(len(seq_lens), width, dtype=torch.int32, device=device)
        start = 0
        for req, num_blocks in enumerate(blocks):
            table[req, :num_blocks] = own[start : start + num_blocks]
            start += num_blocks
        q_shape = (total_q, config.num_index_heads, config.index_head_dim)
        q = _drawn(queries, q_shape, generator)
        lens = torch.tensor(seq_lens, dtype=torch.int32, device=device)
        batches.append(PagedBatch(config, q, pages, table, lens, cu_seqlens_q))
    return batches


def _drawn(element: ElementFormat, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random normal numbers in a format; for NVFP4 random codes, and scales from 1/4 to 1."""
    if element.short_name == "nvfp4":
        keys = torch.randint(0, 256, shape, generator=generator, device=generator.device, dtype=torch.uint8)
        num_scales = shape[-1] // 9  # of 72 bytes for 128 elements
        keys[..., -num_scales:] = keys[..., -num_scales:] % 16 + 0x28
        return keys
    if element.num_bytes == 1:
        wide = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.bfloat16)
        return wide.to(element.dtype)
    return torch.randn(shape, generator=generator, device=generator.device, dtype=element.dtype)

"""Small batches in the formats whose elements have one byte: any bytes, or such that sums are exact."""

from dataclasses import replace

import torch

from msa_ref import IndexerConfig, PagedBatch
from msa_ref.formats import ELEMENTS, FORMAT_PAIRS
from tests.support.kernel_batches import make_batch

PAIRS = [(pair.queries.name, pair.keys.name) for pair in FORMAT_PAIRS.values() if pair.keys.num_bytes == 1]
CONFIG = IndexerConfig(3, 32, 16, topk_blocks=3)
QUERY_LENS, SEQ_LENS = [2, 5, 1, 3], [300, 97, 5, 0]


def batch_of(pair: tuple[str, str], device: str, has_every_byte: bool) -> PagedBatch:
    """A small batch in a pair of formats: bytes whose sums are exact, or any."""
    generator = torch.Generator().manual_seed(7)
    queries, keys = (ELEMENTS[name] for name in pair)
    batch = make_batch(CONFIG, QUERY_LENS, SEQ_LENS, torch.float32, "cpu")

    def numbers(like: torch.Tensor) -> torch.Tensor:
        """All e4m3 numbers and NaN, or the multiples of 1/8 up to 3.5 that e4m3 holds."""
        codes = torch.randint(0, 256, like.shape, generator=generator).byte()
        if not has_every_byte:
            codes = (
                torch.randint(-28, 29, like.shape, generator=generator).div(8).to(torch.float8_e4m3fn).view(torch.uint8)
            )
        return codes.view(torch.float8_e4m3fn)

    index_q = numbers(batch.index_q)
    if queries.num_bytes > 1:
        index_q = index_q.to(queries.dtype)
    shape = (*batch.index_k_pages.shape[:2], keys.row_len(CONFIG.index_head_dim))
    if keys.name == "nvfp4":
        pages = torch.randint(0, 256, shape, generator=generator).byte()
        if not has_every_byte:  # scales 1/4 to 1: the codes' numbers are multiples of 1/8 then
            scales = torch.tensor([0.25, 0.5, 1.0, -0.5]).to(torch.float8_e4m3fn).view(torch.uint8)
            at = torch.randint(0, 4, pages[..., CONFIG.index_head_dim // 2 :].shape, generator=generator)
            pages[..., CONFIG.index_head_dim // 2 :] = scales[at]
    else:
        pages = numbers(torch.empty(shape))
    made = replace(batch, index_q=index_q, index_k_pages=pages).validate()
    return PagedBatch(made.config, *(getattr(made, name).to(device) for name in (
        "index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")))  # fmt: skip

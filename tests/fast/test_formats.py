"""Kernels on e4m3 and NVFP4 keys: exact where sums are exact, and inside derived intervals on every byte."""

from dataclasses import replace

import pytest
import torch

from msa_fast import minimax_m3_index_decode, minimax_m3_index_decode_with_score, minimax_m3_index_score
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref import IndexerConfig, PagedBatch, block_scores, index_topk
from msa_ref.certified import certify
from msa_ref.formats import ELEMENTS, FORMAT_PAIRS
from tests.support.kernel_batches import make_batch, prefill

PAIRS = [pair for pair in FORMAT_PAIRS if ELEMENTS[pair[1]].num_bytes == 1]
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
            at = torch.randint(0, 4, pages[..., 16:].shape, generator=generator)
            pages[..., CONFIG.index_head_dim // 2 :] = scales[at]
    else:
        pages = numbers(torch.empty(shape))
    made = replace(batch, index_q=index_q, index_k_pages=pages).validate()
    return PagedBatch(made.config, *(getattr(made, name).to(device) for name in (
        "index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")))  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_selection_on_bytes_is_the_reference(pair: tuple[str, str], device: str) -> None:
    batch = batch_of(pair, device, has_every_byte=False)
    expected = index_topk(batch)
    assert torch.equal(prefill(batch, QUERY_LENS, SEQ_LENS), expected)
    assert torch.equal(minimax_m3_index_decode(batch, 5, num_splits=2), expected)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_scores_of_bytes_are_the_references(pair: tuple[str, str], device: str) -> None:
    batch = batch_of(pair, device, has_every_byte=False)
    plan = PrefillPlan.build(CONFIG, QUERY_LENS, SEQ_LENS, device)
    by_prefill = minimax_m3_index_score(batch, plan)
    _, by_decode = minimax_m3_index_decode_with_score(batch, 5)
    expected = block_scores(batch, slice(0, 2))
    for score in (by_prefill, by_decode):
        assert torch.equal(score[:, :2, : expected.shape[-1]].double(), expected)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_byte_is_the_number_that_it_stands_for(pair: tuple[str, str], device: str) -> None:
    batch = batch_of(pair, device, has_every_byte=True)
    for answer in (prefill(batch, QUERY_LENS, SEQ_LENS), minimax_m3_index_decode(batch, 5)):
        certificate = certify(batch, answer)
        assert certificate.violations == []
        assert certificate.certified_share > 0.9


def test_each_code_alone_scores_its_number(device: str) -> None:
    config = IndexerConfig(1, 16, 16, topk_blocks=1, local_blocks=0)
    pages = torch.zeros(257, 16, 16).to(torch.float8_e4m3fn)
    pages[:, :, 5] = -448.0
    pages[:256, 3, 5] = torch.arange(256).byte().view(torch.float8_e4m3fn)  # block n has code n in one place
    query = torch.zeros(1, 1, 16).to(torch.float8_e4m3fn)
    query[0, 0, 5] = 1.0
    table, seq_lens, starts = torch.arange(257).int()[None], torch.tensor([257 * 16]).int(), torch.tensor([0, 1]).int()
    batch = PagedBatch(config, *(tensor.to(device) for tensor in (query, pages, table, seq_lens, starts)))
    _, score = minimax_m3_index_decode_with_score(batch, 1)
    numbers = torch.arange(256).byte().view(torch.float8_e4m3fn).float()
    assert torch.equal(score[0, 0, :256].cpu(), numbers.nan_to_num(nan=-448.0))

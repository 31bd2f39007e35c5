"""Kernels on e4m3 and NVFP4 keys: exact where sums are exact, and inside derived intervals on every byte."""

import pytest
import torch

from msa_fast import minimax_m3_index_decode, minimax_m3_index_decode_with_score, minimax_m3_index_score
from msa_fast.ops.bound import DecodeLaunch
from msa_fast.ops.launch_table import KEY_WORDS, architecture_of, number
from msa_fast.ops.nvfp4 import in_words
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_ref import IndexerConfig, PagedBatch, block_scores, index_topk
from msa_ref.certified import certify
from tests.support.byte_batches import CONFIG, PAIRS, QUERY_LENS, SEQ_LENS, batch_of
from tests.support.kernel_batches import prefill


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


def test_words_of_nvfp4_keys_and_their_bytes_give_the_same_bits(device: str) -> None:
    generator = torch.Generator().manual_seed(1)
    config = IndexerConfig(4, 128, 16, topk_blocks=3)
    query = torch.randn(1, 4, 128, generator=generator).to(torch.float8_e4m3fn)
    pages = torch.randint(0, 256, (9, 16, 72), generator=generator).byte()
    pages[:8, :, 64:] &= 0xF7  # in all blocks but one no scale is NaN
    table, seq_lens, starts = torch.arange(9).int()[None], torch.tensor([9 * 16]).int(), torch.tensor([0, 1]).int()
    pages, answers = pages.to(device), []
    odd = torch.zeros(9, 16, 73, dtype=torch.uint8, device=device)[..., 1:].copy_(pages)  # rows begin at any byte
    for keys, dtype in ((pages, torch.int64), (odd, torch.uint8)):
        batch = PagedBatch(config, query.to(device), keys, *(one.to(device) for one in (table, seq_lens, starts)))
        has_words = dtype == torch.int64 and number(KEY_WORDS, architecture_of(batch.device))
        assert in_words(batch.index_k_pages).dtype == (torch.int64 if has_words else torch.uint8)
        topk_idx, score = minimax_m3_index_decode_with_score(batch, 1)
        assert certify(batch, topk_idx).violations == []
        by_prefill = minimax_m3_index_score(batch, PrefillPlan.build(config, [1], [9 * 16], device))
        answers.append(torch.cat([score[..., :9], by_prefill[..., :9]]))
    assert torch.equal(*answers)


def test_bound_launches_read_the_nvfp4_keys_of_other_layers(device: str) -> None:
    generator = torch.Generator().manual_seed(2)
    config = IndexerConfig(2, 128, 16, topk_blocks=3)
    layers = torch.randint(0, 0x70, (3, 9, 16, 72), generator=generator).byte().to(device)
    query = torch.randn(1, 2, 128, generator=generator).to(torch.float8_e4m3fn).to(device)
    table, seq_lens, starts = (
        one.to(device) for one in (torch.arange(9).int()[None], torch.tensor([140]).int(), torch.tensor([0, 1]).int())
    )
    launch, out = (
        DecodeLaunch(config, 1, table, seq_lens, starts, 1),
        torch.zeros(2, 1, 3, dtype=torch.int32).to(device),
    )
    for pages in layers:
        batch = PagedBatch(config, query, pages, table, seq_lens, starts)
        assert torch.equal(launch(query, pages, out), minimax_m3_index_decode(batch, 1))
    assert launch.num_bound == 1


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

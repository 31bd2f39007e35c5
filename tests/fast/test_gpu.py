"""Kernels as only a GPU can show them: full-size tiles, graphs, offsets past 2^31."""

from dataclasses import replace

import pytest
import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_score
from msa_fast.ops.decode import minimax_m3_index_decode_with_score
from msa_fast.ops.decode_topk import minimax_m3_index_decode_topk
from msa_fast.ops.nvidia import warp_topk
from msa_ref import IndexerConfig, PagedBatch, block_scores, index_topk
from tests.support.kernel_batches import make_batch, prefill

pytestmark = pytest.mark.gpu


def test_prefill_at_full_size_is_the_reference():
    config = IndexerConfig()
    query_lens, seq_lens = [4200, 1, 130, 0, 640], [9000, 1, 150_000, 5, 20_000]
    batch = make_batch(config, query_lens, seq_lens, torch.bfloat16, "cuda")
    assert torch.equal(prefill(batch, query_lens, seq_lens), index_topk(batch))


@pytest.mark.parametrize("seq_len", [127, 8192, 131_072, 1_048_576])
def test_decode_at_full_size_is_the_reference(seq_len):
    config = IndexerConfig()
    batch = make_batch(config, [1, 4, 0, 2], [seq_len, 70_000, 9, 1], torch.bfloat16, "cuda")
    expected = index_topk(batch)
    for num_splits in (None, 1, 3, 256):
        assert torch.equal(minimax_m3_index_decode(batch, 4, num_splits), expected)


@pytest.mark.parametrize(("num_heads", "query_len"), [(4, 8), (3, 7)])
def test_decode_of_very_many_rows_is_the_reference(num_heads, query_len):
    config = IndexerConfig(num_heads)
    seq_lens = [query_len + 137 * req % 5_300 for req in range(128)]
    batch = make_batch(config, [query_len] * 128, seq_lens, torch.bfloat16, "cuda")
    assert torch.equal(minimax_m3_index_decode(batch, query_len), index_topk(batch))


@pytest.mark.parametrize(("num_heads", "query_len"), [(3, 5), (5, 3), (6, 5), (12, 1)])
def test_decode_fills_heads_up_to_a_power_of_two(num_heads, query_len):
    """A query token's rows are as many as heads up to a power of two: those that are none go nowhere."""
    config = IndexerConfig(num_heads, local_blocks=0)
    seq_lens = [query_len + 1_733 * req % 9_000 for req in range(12)]
    batch = make_batch(config, [query_len] * 12, seq_lens, torch.bfloat16, "cuda")
    assert torch.equal(minimax_m3_index_decode(batch, query_len), index_topk(batch))


@pytest.mark.parametrize("held", [float("inf"), 1e30])
def test_decode_in_memory_that_held_great_scores_is_the_reference(held):
    """What lies behind a request's last score is read with it."""
    seq_lens = [51_995, 37_608, 53_870, 5_283, 31_790]
    batch = make_batch(IndexerConfig(2, local_blocks=0), [3] * 5, seq_lens, torch.bfloat16, "cuda")
    expected = index_topk(batch)
    torch.cuda.empty_cache()
    memory = [torch.full((2**size,), held, device="cuda") for size in range(10, 25, 2)]
    del memory
    assert torch.equal(minimax_m3_index_decode(batch, 3), expected)


@pytest.mark.parametrize("is_interleaved", [False, True])
@pytest.mark.parametrize("num_blocks", [32, 33, 65, 256, 257, 513, 1025, 2048, 2049, 8193, 16_384])
def test_decode_in_any_number_of_rounds_is_the_reference(num_blocks, is_interleaved, monkeypatch):
    monkeypatch.setattr(warp_topk, "SOME_ROWS", 0 if is_interleaved else 2**30)
    num_pages = min(num_blocks, 3001)
    seq_lens = [128 * num_pages, 128 * num_pages - 300, 64 * num_pages]
    batch = make_batch(IndexerConfig(2), [2, 1, 2], seq_lens, torch.bfloat16, "cuda")
    turns = torch.arange(num_blocks, device="cuda") % num_pages  # of pages, in the longest request
    batch = replace(batch, block_table=batch.block_table[:, turns].contiguous(), seq_lens=batch.seq_lens.clone())
    batch.seq_lens[0] = 128 * num_blocks
    topk_idx, score = minimax_m3_index_decode_with_score(batch, 2)
    expected = index_topk(batch)
    assert torch.equal(topk_idx, expected)
    assert torch.equal(minimax_m3_index_decode_topk(score, batch, 2), expected)


@pytest.mark.parametrize("query_len", [2, 5, 8])
@pytest.mark.parametrize("num_heads", [3, 5, 6, 12])
@pytest.mark.parametrize(("dtype", "head_dim"), [(torch.float32, 32), (torch.float32, 128), (torch.bfloat16, 64)])
def test_rows_of_any_number_of_heads_score_their_token(num_heads, query_len, dtype, head_dim):
    """Its best: ptxas 12.8 to 13.0 had lost the one of `token + 1`, where two rows are added at once."""
    config = IndexerConfig(num_heads, head_dim, 64, topk_blocks=2)
    seq_lens = [513, 4162, 64 * 9 + query_len]
    batch = make_batch(config, [query_len] * 3, seq_lens, dtype, "cuda")
    for req, seq_len in enumerate(seq_lens):
        for token in range(query_len):
            block, place = divmod(seq_len - query_len + token, 64)
            query = batch.index_q[req * query_len + token, token % num_heads]
            batch.index_k_pages[batch.block_table[req, block], place] = 8 * query.sign()
    _, score = minimax_m3_index_decode_with_score(batch, query_len)
    expected = block_scores(batch, slice(0, batch.total_q))
    is_seen = expected > -torch.inf
    assert torch.equal(score[..., : expected.shape[2]].double()[is_seen], expected[is_seen])


def test_decode_beyond_hoppers_own_selection_is_the_reference():
    batch = make_batch(IndexerConfig(1, 16, 16, topk_blocks=128), [1, 2], [40_000, 1_000], torch.bfloat16, "cuda")
    table = torch.full((2, 2**15), 2**31 - 1, dtype=torch.int32, device="cuda")
    table[:, : batch.max_blocks] = batch.block_table
    wide = replace(batch, block_table=table)
    assert torch.equal(minimax_m3_index_decode(wide, 2), index_topk(batch))


def test_one_captured_decode_serves_lengths_that_grow_and_shrink():
    """Captured at the maximum; then lengths and pages change in place, padding rows come and go."""
    config = IndexerConfig()
    batch = make_batch(config, [2] * 6, [100_000] * 6, torch.bfloat16, "cuda")
    out = torch.empty(4, 12, 16, dtype=torch.int32, device="cuda")
    minimax_m3_index_decode(batch, 2, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        minimax_m3_index_decode(batch, 2, out=out)
    for seq_lens in ([100_000] * 6, [1, 0, 2, 127, 128, 129], [0] * 6, [99_999, 3000, 0, 0, 64_000, 1]):
        batch.seq_lens.copy_(torch.tensor(seq_lens))
        live = batch.block_table[:, : config.num_blocks(100_000)]
        live.copy_(live.flatten()[torch.randperm(live.numel(), device="cuda")].view_as(live))
        out.fill_(-77)
        graph.replay()
        assert torch.equal(out, index_topk(batch)), seq_lens


def test_two_streams_do_not_disturb_each_other():
    config = IndexerConfig()
    batches = [make_batch(config, [1] * 4, [60_000, 5, 0, 900], torch.bfloat16, "cuda", seed=i) for i in range(2)]
    expected = [index_topk(batch) for batch in batches]
    streams = [torch.cuda.Stream() for _ in batches]
    torch.cuda.synchronize()
    for _ in range(20):
        got = []
        for batch, stream in zip(batches, streams, strict=True):
            with torch.cuda.stream(stream):
                got.append(minimax_m3_index_decode(batch, 1))
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_score_offsets_may_pass_2_to_the_31():
    """8,192 rows x 262,145 blocks; seven pages take turns, so every seventh block scores the same."""
    config = IndexerConfig(4, 16, 16)
    num_blocks, num_pages, total_q = 2**18 + 1, 7, 2048
    seq_len = num_blocks * config.block_size
    generator = torch.Generator("cuda").manual_seed(0)
    ints = {"device": "cuda", "generator": generator, "dtype": torch.int32}
    q = torch.randint(-3, 4, (total_q, 4, 16), **ints).bfloat16()
    pages = torch.randint(-3, 4, (num_pages, 16, 16), **ints).bfloat16()
    table = (torch.arange(num_blocks, device="cuda", dtype=torch.int32) % num_pages)[None]
    lens = torch.tensor([seq_len], dtype=torch.int32, device="cuda")
    batch = PagedBatch(config, q, pages, table, lens, torch.tensor([0, total_q], dtype=torch.int32, device="cuda"))
    plan = PrefillPlan.build(config, [total_q], [seq_len], "cuda")
    score = minimax_m3_index_score(batch, plan)
    assert score.numel() > 2**31
    expected = torch.einsum("thd,psd->htps", q.float(), pages.float()).amax(-1)
    seen_by_all = (seq_len - total_q) // config.block_size
    for page in range(num_pages):
        assert (score[..., page:seen_by_all:num_pages] == expected[..., page, None]).all()

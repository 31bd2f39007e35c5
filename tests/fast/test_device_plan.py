"""A plan made on the device lists every row and block of a batch once; captured prefill is the reference."""

import random
from dataclasses import replace

import pytest
import torch

from msa_fast import minimax_m3_index_prefill
from msa_fast.ops.device_plan import NO_ROW, plan_on_device
from msa_ref import IndexerConfig, PagedBatch, index_topk
from tests.support.kernel_batches import make_batch

CONFIG = IndexerConfig(3, 16, 16, topk_blocks=4)
UNTOUCHED = -7


def on_device(device: str, query_lens: list[int], seq_lens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.tensor([0, *query_lens]).cumsum(0).int()
    return torch.tensor(seq_lens, dtype=torch.int32, device=device), starts.to(device)


@pytest.mark.parametrize("num_more", [1, 7, None])
def test_a_plan_lists_every_row_and_block_once(num_more: int | None, device: str) -> None:
    rng, longest = random.Random(0), 900
    for _ in range(6):
        lens = [(rng.choice((0, 1, 40, 90)), rng.randint(0, longest)) for _ in range(rng.randint(1, 5))]
        query_lens, seq_lens = [query_len for query_len, _ in lens], [seq_len for _, seq_len in lens]
        plan = plan_on_device(
            CONFIG, *on_device(device, query_lens, seq_lens), 450, CONFIG.num_blocks(longest), num_more
        )
        rows, blocks = set(), set()
        for req, first in plan.topk_tiles.tolist():
            if first != NO_ROW.value:
                mine = {(req, row) for row in range(first, min(first + plan.score_rows, query_lens[req] * 3))}
                assert mine
                assert not rows & mine
                rows |= mine
        for req, row, first, end in plan.score_tiles.tolist():
            assert first % plan.superblock == 0
            mine = {(req, row, block) for block in range(first, end)}
            assert not blocks & mine
            blocks |= mine
        assert rows == {(req, row) for req, query_len in enumerate(query_lens) for row in range(query_len * 3)}
        expected = set()
        for req, (query_len, seq_len) in enumerate(lens):
            for row in range(0, query_len * 3, plan.score_rows):
                last = min((row + plan.score_rows - 1) // 3, query_len - 1)
                needed = CONFIG.num_blocks(max(0, seq_len - query_len + last + 1))
                expected |= {(req, row, block) for block in range(needed)}
        assert blocks == expected


def steps(batch: PagedBatch) -> list[tuple[list[int], list[int]]]:
    """Lengths within the bounds of a batch of 40 tokens, 4 requests and 300 tokens each."""
    return [
        ([40, 0, 0, 0], [300, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 1, 0, 30], [5, 299, 0, 31]),
        ([10, 10, 10, 10], [10, 150, 300, 9]),
    ]


def judge(batch: PagedBatch, out: torch.Tensor, query_lens: list[int], seq_lens: list[int]) -> None:
    total = sum(query_lens)
    own = replace(batch, index_q=batch.index_q[:total])
    assert torch.equal(out[:, :total], index_topk(own)), (query_lens, seq_lens)
    assert (out[:, total:] == UNTOUCHED).all()


def test_prefill_by_a_plan_of_the_device_is_the_reference(device: str) -> None:
    batch = make_batch(CONFIG, [10, 10, 10, 10], [300] * 4, torch.bfloat16, device)
    for query_lens, seq_lens in steps(batch):
        now, starts = on_device(device, query_lens, seq_lens)
        batch = replace(batch, seq_lens=now, cu_seqlens_q=starts)
        out = torch.full((3, 40, 4), UNTOUCHED, dtype=torch.int32, device=device)
        minimax_m3_index_prefill(batch, plan_on_device(CONFIG, now, starts, 40, batch.max_blocks), out)
        judge(batch, out, query_lens, seq_lens)


@pytest.mark.gpu
@pytest.mark.parametrize("config", [CONFIG, IndexerConfig()], ids=["small", "MiniMax-M3"])
def test_one_captured_prefill_serves_lengths_that_grow_and_shrink(config: IndexerConfig) -> None:
    heads, k = config.num_index_heads, config.topk_blocks
    batch = make_batch(config, [10, 10, 10, 10], [300] * 4, torch.bfloat16, "cuda")
    out = torch.empty(heads, 40, k, dtype=torch.int32, device="cuda")

    def step() -> None:
        plan = plan_on_device(config, batch.seq_lens, batch.cu_seqlens_q, 40, batch.max_blocks)
        minimax_m3_index_prefill(batch, plan, out)

    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for query_lens, seq_lens in steps(batch) * 3:
        now, starts = on_device("cuda", query_lens, seq_lens)
        batch.seq_lens.copy_(now)
        batch.cu_seqlens_q.copy_(starts)
        out.fill_(UNTOUCHED)
        graph.replay()
        judge(batch, out, query_lens, seq_lens)


REFUSED = {
    "max_total_q must be an int >= 0; got None": {"max_total_q": None},
    "max_row_blocks must hold <= 1048576 blocks of a request; got 1048577": {"max_row_blocks": 2**20 + 1},
    "num_more must be an int >= 1; got 0": {"num_more": 0},
    "workspace_bytes must be >= 20736 for max_total_q = 40 and max_row_blocks = 20; got 1": {"workspace_bytes": 1},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_bound_that_cannot_be_kept_is_refused(sentence: str, device: str) -> None:
    arguments = {"max_total_q": 40, "max_row_blocks": 20} | REFUSED[sentence]
    with pytest.raises(ValueError, match=r"; got ") as refusal:
        plan_on_device(CONFIG, *on_device(device, [1], [1]), **arguments)
    assert str(refusal.value) == sentence

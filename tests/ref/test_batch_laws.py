"""Each law between runs accepts the reference, and catches its canary by name."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from msa_ref import IndexerConfig, PagedBatch, index_topk, laws
from msa_ref.contract import Violation, judge
from msa_ref.laws import BATCH_LAWS
from msa_ref.transform import exchange_pages, live_entries, poison, query_window, relabel_pages, take_requests
from tests.support.ref_batches import POOLS, batches, int32, make_batch, row_batch

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=4, block_size=4, topk_blocks=3, init_blocks=0, local_blocks=1)


def some_batch(seed: int = 0, query_lens=(4, 1, 3), seq_lens=(26, 39, 17)) -> PagedBatch:
    return make_batch(CONFIG, query_lens, seq_lens, random.Random(seed), POOLS["lattice"], torch.bfloat16)


def of_inputs(**changes: Callable[[PagedBatch], torch.Tensor]) -> Callable[[PagedBatch], torch.Tensor]:
    """The reference, run on inputs that a defect replaced."""
    return lambda batch: index_topk(replace(batch, **{name: change(batch) for name, change in changes.items()}))


def identity_pages(batch: PagedBatch) -> torch.Tensor:
    """Block b of every request read from page b."""
    return torch.arange(batch.max_blocks, dtype=torch.int32).expand_as(batch.block_table)


def last_row_for_all(batch: PagedBatch) -> torch.Tensor:
    """D12: every query token of a request selects as its last one does."""
    last = batch.cu_seqlens_q[1:].long()[batch.token_reqs()] - 1
    return index_topk(batch)[:, last]


def seeing_too_little_in_decode(batch: PagedBatch) -> torch.Tensor:
    """D11: a decode token does not see itself."""
    is_decode = int((batch.query_lens() <= 1).all())
    return index_topk(replace(batch, seq_lens=(batch.seq_lens - is_decode).clamp(min=0)))


def other_heads_in_company(batch: PagedBatch) -> torch.Tensor:
    """D34: another path where the batch has more than one request."""
    return index_topk(batch).roll(int(batch.num_reqs > 1), 0)


def other_ranking_at_odd_lengths(batch: PagedBatch) -> torch.Tensor:
    odd = (batch.seq_lens % 2 == 1)[batch.token_reqs()][:, None, None]
    return index_topk(replace(batch, index_q=torch.where(odd, -batch.index_q, batch.index_q)))


def seeing_the_page_tail(batch: PagedBatch) -> torch.Tensor:
    """D10: the last page of a request is read to its end."""
    size = batch.config.block_size
    return index_topk(replace(batch, seq_lens=(batch.seq_lens + size - 1) // size * size))


def table_read_as_packed(batch: PagedBatch) -> torch.Tensor:
    """D25: the table is read as if its rows lay side by side."""
    table = batch.block_table
    return table.as_strided(table.shape, (table.shape[1], 1), table.storage_offset())


class Unsteady:
    """D20: a counter that is not reset."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, batch: PagedBatch) -> torch.Tensor:
        self.runs += 1
        return index_topk(batch).roll(int(self.runs == 3), 0)


CANARIES = {
    "PageRelabel": of_inputs(block_table=identity_pages),
    "RequestPermutation": of_inputs(block_table=lambda batch: batch.block_table[:1].expand_as(batch.block_table)),
    "NeighbourIndependence": other_heads_in_company,
    "HeadIndependence": lambda batch: index_topk(batch)[:1].expand(2, -1, -1),
    "ChunkedPrefill": last_row_for_all,
    "DecodeIsLastPrefillRow": seeing_too_little_in_decode,
    "PowerOfTwoScale": of_inputs(index_q=lambda batch: batch.index_q.clamp(-5, 5)),
    "AppendOne": other_ranking_at_odd_lengths,
    "PoisonBlind": seeing_the_page_tail,
    "ViewBlind": of_inputs(block_table=table_read_as_packed),
    "RepeatDeterminism": Unsteady(),
}


def test_every_batch_law_has_a_canary():
    assert set(CANARIES) == set(BATCH_LAWS)


@pytest.mark.parametrize("law", BATCH_LAWS)
def test_a_batch_law_catches_its_canary_by_name(law):
    batch = some_batch()
    if law == "RequestPermutation":  # block_table[0] must be wide enough for all
        batch = some_batch(query_lens=(1, 1, 1), seq_lens=(40, 39, 38))
    if law == "PoisonBlind":  # a forced last block would be selected whatever its tail holds
        batch = replace(batch, config=replace(CONFIG, local_blocks=0))
    if law == "ViewBlind":  # a table whose rows lie apart, and those of others between them
        wide = torch.cat([batch.block_table, batch.block_table.flip(0)], dim=1)
        batch = replace(batch, block_table=wide[:, : batch.max_blocks])
    found = list(BATCH_LAWS[law].breaks(batch, CANARIES[law]))
    assert found
    assert {violation.law for violation in found} == {law}
    for violation in found:
        start, stop = batch.cu_seqlens_q[violation.req : violation.req + 2].tolist()
        assert start <= violation.token < stop


@pytest.mark.parametrize("law", BATCH_LAWS)
def test_the_reference_keeps_a_batch_law(law):
    @settings(max_examples=100, deadline=None, database=None)
    @given(batch=batches())
    def holds(batch: PagedBatch) -> None:
        assert [str(violation) for violation in BATCH_LAWS[law].breaks(batch, index_topk)] == []

    holds()


@pytest.mark.parametrize("law", BATCH_LAWS)
def test_a_batch_law_takes_an_empty_batch(law):
    empty = make_batch(CONFIG, [], [], random.Random(0))
    assert list(BATCH_LAWS[law].breaks(empty, index_topk)) == []


def test_a_violation_says_what_was_asked_and_shows_both_answers():
    batch = row_batch(replace(CONFIG, index_head_dim=1, num_index_heads=1), [[1.0]], [[1.0]] * 4 * 5)
    answers = iter([index_topk(batch), int32([[[2, 3, 4]]])])
    found = list(laws.repeat_determinism(batch, lambda _: next(answers), times=2))
    assert [str(violation) for violation in found] == [
        "RepeatDeterminism: head 0, token 0, request 0: in run 2: [2, 3, 4], not [0, 1, 4]"
    ]


def test_a_run_may_return_the_same_buffer_every_time():
    """Otherwise an answer would be compared with itself."""
    buffer = torch.empty(2, 8, 3, dtype=torch.int32)

    class SameBuffer(Unsteady):
        def __call__(self, batch: PagedBatch) -> torch.Tensor:
            return buffer.copy_(super().__call__(batch))

    assert {violation.law for violation in laws.repeat_determinism(some_batch(), SameBuffer())} == {"RepeatDeterminism"}


@settings(max_examples=200, deadline=None)
@given(batch=batches())
def test_transformed_batches_are_valid(batch):
    relabel_pages(batch, 1).validate()
    exchange_pages(batch).validate()
    poison(batch, float("nan"), -1).validate()
    query_lens = batch.query_lens()
    query_window(batch, query_lens // 2, query_lens)[0].validate()
    take_requests(batch, list(range(batch.num_reqs))[::-1])[0].validate()


def test_pages_that_are_shared_change_places():
    batch = some_batch(query_lens=(1, 1), seq_lens=(10, 6))
    table = torch.arange(batch.block_table.numel(), dtype=torch.int32).reshape(batch.block_table.shape)
    table[1, :2] = table[0, :2]
    pages = torch.randn(table.numel(), *batch.index_k_pages.shape[1:]).to(batch.index_k_pages.dtype)
    batch = replace(batch, block_table=table, index_k_pages=pages)
    exchanged = exchange_pages(batch)
    shared = set(table[0, :2].tolist())
    assert len(shared & set(exchanged.block_table[0, :2].tolist())) == 1
    assert torch.equal(index_topk(exchanged), index_topk(batch))


def test_live_entries_are_those_of_blocks_with_a_token():
    batch = some_batch(query_lens=(1, 1, 1), seq_lens=(4, 5, 0))
    assert live_entries(batch).sum(-1).tolist() == [1, 2, 0]


def test_the_power_of_two_scale_passes_over_rows_whose_scale_rounds():
    """Twice 40000 is no fp16 number, so nothing is promised for a query that holds it."""
    config = replace(CONFIG, index_head_dim=1, num_index_heads=1, block_size=1, topk_blocks=1, local_blocks=0)
    batch = row_batch(config, [[40000.0]], [[1.0], [2.0]], torch.float16)
    assert index_topk(batch).tolist() == [[[1]]]
    assert list(laws.power_of_two_scale(batch, index_topk)) == []
    small = replace(batch, index_q=batch.index_q / 2**14)
    assert list(laws.power_of_two_scale(small, CANARIES["PowerOfTwoScale"])) == []
    anyhow = lambda batch: int32([[[int(batch.index_q.item() > 3)]]])  # noqa: E731
    assert [violation.law for violation in laws.power_of_two_scale(small, anyhow)] == ["PowerOfTwoScale"]
    assert all(isinstance(violation, Violation) for violation in judge(batch, int32([[[0]]])))

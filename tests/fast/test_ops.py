"""The kernels give the reference's answer, and only change what is theirs."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msa_fast import (
    PrefillPlan,
    minimax_m3_index_decode,
    minimax_m3_index_decode_topk,
    minimax_m3_index_decode_with_score,
    minimax_m3_index_score,
    minimax_m3_index_topk,
)
from msa_fast.ops import launch_table
from msa_fast.ops.buffers import new_score
from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.cut import MAX_CANDIDATES
from msa_fast.ops.nvidia import warp_topk
from msa_fast.ops.nvidia.decode_blocks import reciprocal_of
from msa_fast.ops.topk import rounds
from msa_ref import IndexerConfig, PagedBatch, index_topk, select_blocks
from msa_ref.staged import stages
from tests.support.kernel_batches import make_batch, prefill

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
MARK = -77


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8])
def test_prefill_is_the_reference_for_every_dtype_and_head_count(heads, dtype, device):
    config = IndexerConfig(heads, 16, 16, topk_blocks=5, init_blocks=1, local_blocks=2)
    query_lens, seq_lens = [40, 0, 7, 1], [700, 33, 5, 0]
    batch = make_batch(config, query_lens, seq_lens, dtype, device)
    assert torch.equal(prefill(batch, query_lens, seq_lens), index_topk(batch))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8])
def test_decode_is_the_reference_for_every_dtype_and_head_count(heads, dtype, device):
    config = IndexerConfig(heads, 16, 16, topk_blocks=3)
    batch = make_batch(config, [1, 2, 0, 8, 3], [400, 33, 50, 700, 0], dtype, device)
    assert torch.equal(minimax_m3_index_decode(batch, 8), index_topk(batch))


@pytest.mark.parametrize("decode_query_len", range(1, 9))
def test_decode_is_the_reference_for_every_decode_query_len(decode_query_len, device):
    config = IndexerConfig(4, 16, 16, topk_blocks=4)
    batch = make_batch(config, [decode_query_len] * 3, [300, decode_query_len - 1, 0], torch.bfloat16, device)
    assert torch.equal(minimax_m3_index_decode(batch, decode_query_len), index_topk(batch))


@pytest.mark.parametrize("num_splits", [1, 2, 3, 7, 64])
def test_no_split_count_changes_a_bit(num_splits, device):
    config = IndexerConfig(2, 16, 16, topk_blocks=4)
    query_lens, seq_lens = [3, 1, 2], [650, 90, 17]
    batch = make_batch(config, query_lens, seq_lens, torch.float16, device)
    expected = index_topk(batch)
    assert torch.equal(prefill(batch, query_lens, seq_lens, num_splits=num_splits), expected)
    assert torch.equal(minimax_m3_index_decode(batch, 3, num_splits), expected)


def superblock_best(score: torch.Tensor, batch: PagedBatch, superblock: int) -> torch.Tensor:
    """[H, T, ceil(max_blocks / superblock)]: the best visible score of each superblock, NaN as -inf."""
    is_visible = torch.arange(batch.max_blocks, device=score.device) < batch.num_visible_blocks()[:, None]
    seen = torch.where(is_visible & ~score.isnan(), score, float("-inf"))
    padded = torch.nn.functional.pad(seen, (0, -batch.max_blocks % superblock), value=float("-inf"))
    return padded.unflatten(-1, (-1, superblock)).amax(-1)


@pytest.mark.parametrize("num_splits", [1, 3, 64])
def test_the_scorer_keeps_the_best_score_of_every_superblock(num_splits, device):
    config = IndexerConfig(3, 16, 16, topk_blocks=4)
    batch = make_batch(config, [7, 0, 1], [200, 40, 90], torch.bfloat16, device)
    plan = PrefillPlan.build(config, [7, 0, 1], [200, 40, 90], device, num_splits)
    best = new_score(batch, blocks_each=plan.superblock)
    score = minimax_m3_index_score(batch, plan, superblock_score=best)
    expected = superblock_best(score, batch, plan.superblock)
    is_seen = torch.arange(best.shape[-1], device=device) * plan.superblock < batch.num_visible_blocks()[:, None]
    assert torch.equal(best.masked_fill(~is_seen, 0.0), expected.masked_fill(~is_seen, 0.0))


@pytest.mark.parametrize("rows", [1, 4, 64])
@pytest.mark.parametrize("num_blocks", [1, 17, 64, 65, 300])
def test_every_tile_of_the_table_selects_the_same(rows, num_blocks, device, monkeypatch):
    """Designed scores with ties, infinities, NaN and both zeros, in one round and in two."""
    for architecture in launch_table.TOPK_ROWS:
        monkeypatch.setitem(launch_table.TOPK_ROWS, architecture, rows)
    config = IndexerConfig(3, 16, 16, topk_blocks=4, init_blocks=1)
    query_lens, seq_lens = [11], [num_blocks * 16]
    batch = make_batch(config, query_lens, seq_lens, torch.bfloat16, device)
    values = torch.tensor([-torch.inf, -1.0, -0.0, 0.0, 1.0, torch.inf, torch.nan])
    generator = torch.Generator().manual_seed(num_blocks)
    score = values[torch.randint(7, (3, 11, batch.max_blocks), generator=generator)].to(device)
    plan = PrefillPlan.build(config, query_lens, seq_lens, device)
    assert plan.topk_rows == rows
    expected = select_blocks(score, batch.num_visible_blocks(), config)
    assert torch.equal(minimax_m3_index_topk(score, batch, plan), expected)
    best = superblock_best(score, batch, plan.superblock)
    assert torch.equal(minimax_m3_index_topk(score, batch, plan, superblock_score=best), expected)


@pytest.mark.parametrize("rows", [16, 32, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_any_number_of_programs_may_share_a_score_tile(dtype, rows, device, monkeypatch):
    kinds = ("interpreter", dtype.itemsize), (launch_table.ANY, dtype.itemsize)
    for kind in kinds:
        monkeypatch.setitem(launch_table.PROGRAM_ROWS, kind, rows)
    config = IndexerConfig(6, 16, 16, topk_blocks=4)
    query_lens, seq_lens = [24, 1, 30], [200, 40, 35]
    batch = make_batch(config, query_lens, seq_lens, dtype, device)
    assert torch.equal(prefill(batch, query_lens, seq_lens), index_topk(batch))


@pytest.mark.parametrize("layout", ["head-major", "token-major", "slot-major"])
@pytest.mark.parametrize("run", ["prefill", "decode"])
def test_out_takes_any_strides_and_rows_past_the_batch_stay(run, layout, device):
    config = IndexerConfig(3, 16, 16, topk_blocks=5)
    query_lens, seq_lens = [3, 2], [200, 20]
    batch = make_batch(config, query_lens, seq_lens, torch.bfloat16, device)
    order = {"head-major": (0, 1, 2), "token-major": (1, 0, 2), "slot-major": (2, 1, 0)}[layout]
    sizes = (3, 9, 5)
    whole = torch.full([sizes[axis] + 2 for axis in order], MARK, dtype=torch.int32, device=device)
    whole = whole.permute([order.index(axis) for axis in range(3)])
    out = whole[1:-1, 1:-1, 1:-1]
    got = prefill(batch, query_lens, seq_lens, out) if run == "prefill" else minimax_m3_index_decode(batch, 3, out=out)
    assert got.data_ptr() == out.data_ptr()
    assert torch.equal(out[:, :5], index_topk(batch))
    out[:, :5] = MARK
    assert (whole == MARK).all()


def test_inputs_of_any_strides_give_the_same_answer(device):
    config = IndexerConfig(2, 16, 16, topk_blocks=4)
    query_lens, seq_lens = [2, 3], [300, 40]
    batch = make_batch(config, query_lens, seq_lens, torch.bfloat16, device)

    def strided(tensor: torch.Tensor) -> torch.Tensor:
        """The same values behind other strides on every axis, and an odd offset."""
        spread = torch.zeros([2 * size + 3 for size in reversed(tensor.shape)], dtype=tensor.dtype, device=device)
        view = spread.permute(*reversed(range(tensor.ndim)))
        view = view[tuple(slice(1, 1 + 2 * size, 2) for size in tensor.shape)]
        view.copy_(tensor)
        return view

    tensors = (batch.index_q, batch.index_k_pages, batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
    other = PagedBatch(config, *(strided(tensor) for tensor in tensors)).validate()
    expected = index_topk(batch)
    assert torch.equal(prefill(other, query_lens, seq_lens), expected)
    assert torch.equal(minimax_m3_index_decode(other, 3), expected)


def test_an_empty_batch_is_answered_without_a_launch(device):
    config = IndexerConfig(2, 16, 16, topk_blocks=4)
    batch = make_batch(config, [0, 0], [40, 0], torch.bfloat16, device)
    assert prefill(batch, [0, 0], [40, 0]).shape == (2, 0, 4)
    assert minimax_m3_index_decode(batch, 1).shape == (2, 0, 4)


def test_plan_tiles_cover_every_row_and_block_once():
    config = IndexerConfig(3, 16, 16, topk_blocks=4)
    query_lens, seq_lens = [100, 0, 1, 7], [1000, 50, 1, 3]
    for num_splits in (None, 1, 5):
        plan = PrefillPlan.build(config, query_lens, seq_lens, "cpu", num_splits)
        seen = set()
        for req, row, first, end in plan.score_tiles.tolist():
            assert first < end
            for block in range(first, end):
                assert (req, row, block) not in seen
                seen.add((req, row, block))
        for req, (query_len, seq_len) in enumerate(zip(query_lens, seq_lens, strict=True)):
            for row in range(0, query_len * 3, plan.score_rows):
                last_token = min((row + plan.score_rows - 1) // 3, query_len - 1)
                needed = config.num_blocks(max(0, seq_len - query_len + last_token + 1))
                assert {block for r, t, block in seen if (r, t) == (req, row)} == set(range(needed))


@pytest.mark.parametrize(
    ("keys", "is_copied"),
    [
        (torch.zeros(4, 16, 64, dtype=torch.bfloat16), True),
        (torch.zeros(4, 32, 128, dtype=torch.float16)[:, ::2], True),
        (torch.zeros(4, 16, 64), False),  # four-byte keys
        (torch.zeros(4, 16, 32, dtype=torch.bfloat16), False),  # rows of 64 bytes
        (torch.zeros(4, 16, 68, dtype=torch.bfloat16)[..., :64], False),  # rows 136 bytes apart
        (torch.zeros(4, 16, 72, dtype=torch.bfloat16)[..., 4:68], False),  # a start between steps of 16 bytes
        (torch.zeros(4, 64, 16, dtype=torch.bfloat16).mT, False),  # rows in pieces
        (torch.zeros(16, 64, dtype=torch.bfloat16).expand(4, 16, 64), False),  # one page four times
    ],
)
def test_pages_are_tensor_copies_only_where_a_descriptor_fits(keys, is_copied):
    assert is_tensor_copied(keys) == is_copied


@pytest.mark.parametrize("architecture", ["interpreter", launch_table.ANY])
@pytest.mark.parametrize("k", [1, 16, 32, 64, 128])
def test_rounds_stay_within_the_search_and_cover_every_block(architecture: str, k: int) -> None:
    for has_best, max_runs in ((False, launch_table.MAX_RUNS), (True, launch_table.MAX_RUNS_OF_BEST)):
        superblock = launch_table.SUPERBLOCK[architecture] if has_best else 0
        for max_row_blocks in (1, 127, 1024, 1025, 8192, 16_384, 16_385, 65_537, 10**6):
            lengths, width = rounds(k, max_row_blocks, superblock, max_runs[architecture])
            later = [k * longer // shorter for longer, shorter in pairwise(lengths)]
            assert max([width, *later]) <= MAX_CANDIDATES.value
            assert width * lengths[0] >= max_row_blocks
            assert lengths[-1] == 1


@pytest.mark.parametrize("max_row_blocks", [1, 32, 33, 65, 129, 255, 256, 257, 512, 513, 2047, 2048, 2049, 8192, 16384])
def test_first_rounds_on_hopper_cover_every_block(
    max_row_blocks: int,
) -> None:
    table, run = warp_topk.first_rounds(max_row_blocks), warp_topk.RUN.value
    for num_blocks in range(1, max_row_blocks + 1):
        _, width, length = next(row for row in table if num_blocks <= row[0])
        assert width * length >= num_blocks
        rounds = (num_blocks > warp_topk.ONE_ROUND.value) + (num_blocks > warp_topk.TWO_ROUNDS.value)
        assert length == run**rounds
        assert 32 <= width <= 256
        assert width & (width - 1) == 0


def test_programs_that_wait_beside_a_scorer_spread_over_all_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A multiprocessor has room for its share of them, and for no more than the next number of SPREADS."""
    monkeypatch.setattr(warp_topk, "num_processors", lambda device: 132)
    for num_programs in range(1, 132 * 14):
        share, room = -(-num_programs // 132), warp_topk.room_of_a_program(num_programs, 1, 1, torch.device("cpu"))
        if share > warp_topk.SPREADS[-1]:
            assert room == 0
            continue
        fit = warp_topk.SHARED_KIB // (room + 1)
        assert share <= fit == min(spread for spread in warp_topk.SPREADS if spread >= share)


def test_decode_selects_the_same_from_the_scores_that_it_shows(device) -> None:
    config = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=4)
    batch = make_batch(config, [2, 0, 1], [150, 40, 33], torch.bfloat16, device)
    topk_idx, score = minimax_m3_index_decode_with_score(batch, 2)
    assert torch.equal(topk_idx, index_topk(batch))
    exact = stages(batch, topk_idx, score, is_lazy=True)
    assert not exact.score
    assert not exact.selection
    assert torch.equal(minimax_m3_index_decode_topk(score, batch, 2), topk_idx)


@given(st.integers(0, 2**30 - 1), st.integers(1, 2**30 - 1))
def test_estimated_quotient_is_at_most_one_too_small(number: int, by: int) -> None:
    assert number // by - (2 * number * reciprocal_of(by) >> 32) in (0, 1)

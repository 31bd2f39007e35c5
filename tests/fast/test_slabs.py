"""Prefill in slabs: one answer for every bound on the workspace, and no more memory than the bound."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fuzz.targets.own_driver import driver_stands_in
from msa_fast import PrefillPlan, minimax_m3_index_prefill
from msa_fast.bench.shapes import production_shapes
from msa_fast.ops import buffers, prefill
from msa_fast.ops.launch_table import WORKSPACE_BYTES
from msa_fast.ops.prefill_plan import scores_of_row
from msa_ref import IndexerConfig, index_topk
from tests.support.kernel_batches import make_batch

QUERY_LENS, SEQ_LENS = [60, 0, 1, 70, 9], [300, 33, 70, 75, 0]


def allocated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the scores that `minimax_m3_index_prefill` will ask for, one after another."""
    sizes = []

    def noted(new: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def new_and_noted(*args, **kwargs) -> torch.Tensor:
            score = new(*args, **kwargs)
            sizes.append(score.untyped_storage().nbytes())
            return score

        return new_and_noted

    for name in ("new_score", "new_vector_score"):
        monkeypatch.setattr(prefill, name, noted(getattr(buffers, name)))
    return sizes


def of_one_tile(config: IndexerConfig, plan: PrefillPlan) -> int:
    """Bytes of the scores of one query tile, which no bound can forbid: 16 tokens at least."""
    tokens = buffers.aligned((plan.score_rows - 1) // config.num_index_heads + 2)
    return 4 * config.num_index_heads * tokens * scores_of_row(plan.max_row_blocks, plan.superblock)


@pytest.mark.parametrize("heads", [1, 3, 4])
@pytest.mark.parametrize("workspace_bytes", [1, 10_000, 20_000, WORKSPACE_BYTES])
@pytest.mark.parametrize("num_splits", [None, 3])
def test_no_slab_bound_changes_a_bit_or_is_passed(workspace_bytes, heads, num_splits, device, monkeypatch):
    sizes = allocated(monkeypatch)
    config = IndexerConfig(heads, 16, 16, topk_blocks=4)
    batch = make_batch(config, QUERY_LENS, SEQ_LENS, torch.bfloat16, device)
    plan = PrefillPlan.build(config, QUERY_LENS, SEQ_LENS, device, num_splits, workspace_bytes)
    assert (len(plan.slabs) == 1) == (workspace_bytes == WORKSPACE_BYTES)
    assert torch.equal(minimax_m3_index_prefill(batch, plan), index_topk(batch))
    assert 0 < sum(sizes) <= max(workspace_bytes, of_one_tile(config, plan))


@pytest.mark.parametrize("heads", [1, 3, 4, 64])
@pytest.mark.parametrize("workspace_bytes", [1, 100_000, WORKSPACE_BYTES])
def test_slabs_hold_every_tile_once_and_every_token(workspace_bytes, heads):
    config = IndexerConfig(heads, 16, 16, topk_blocks=4)
    plan = PrefillPlan.build(config, QUERY_LENS, SEQ_LENS, "cpu", None, workspace_bytes)
    starts = torch.tensor([0, *QUERY_LENS]).cumsum(0).tolist()
    for name in ("score_tiles", "topk_tiles"):
        tiles = getattr(plan, name)
        assert torch.equal(torch.cat([tiles[getattr(slab, name)] for slab in plan.slabs]), tiles)
        for slab in plan.slabs:
            for req, row, *_ in tiles[getattr(slab, name)].tolist():
                last_row = min(row + plan.score_rows, QUERY_LENS[req] * heads) - 1
                assert slab.first_token <= starts[req] + row // heads
                assert starts[req] + last_row // heads < slab.first_token + slab.num_tokens
    rows = [(req, row) for req, query_len in enumerate(QUERY_LENS) for row in range(query_len * heads)]
    selected = [
        (req, row)
        for req, first in plan.topk_tiles.tolist()
        for row in range(first, min(first + plan.max_tile_rows, QUERY_LENS[req] * heads))
    ]
    assert sorted(selected) == rows


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_production_prefills_are_one_slab_within_the_bound(heads, monkeypatch):
    config = IndexerConfig(heads)
    for shape in production_shapes()["prefill_single_request"]:
        assert len(PrefillPlan.build(config, [shape["query_len"]], [shape["seq_len"]], "cpu").slabs) == 1
    plan = PrefillPlan.build(config, [16384], [8192 * 128], "cpu")
    tokens = max(slab.num_tokens for slab in plan.slabs)
    num_scores = scores_of_row(plan.max_row_blocks, plan.superblock)
    assert 4 * heads * buffers.aligned(tokens) * num_scores <= WORKSPACE_BYTES
    assert 4 * heads * (tokens + plan.score_rows) * num_scores >= 0.95 * WORKSPACE_BYTES


@pytest.mark.parametrize("key_dtype", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_scores_in_vectors_are_asked_for_once_and_lie_as_their_scorer_would_have_them(key_dtype, monkeypatch):
    sizes = allocated(monkeypatch)
    config, lens = IndexerConfig(2), ([40], [700])
    batch = make_batch(config, *lens, torch.bfloat16, "cpu")
    batch = replace(batch, index_k_pages=batch.index_k_pages.to(key_dtype))
    with driver_stands_in("msa_fast", "sm_90"):
        plan = PrefillPlan.build(config, *lens, "cpu", key_dtype=key_dtype)
        (score,) = prefill.prefill_scores(batch, plan)
    assert len(sizes) == 1
    assert (score.stride(2) == buffers.SCORE_VECTOR) == (key_dtype == torch.bfloat16)

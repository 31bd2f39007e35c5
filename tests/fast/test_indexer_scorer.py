"""The prefill scorer is chosen by name, stays visible, can be one's own, and is never replaced in silence."""

import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest
import torch

from fuzz.targets.own_vendor import StandIn
from msa_fast import prefill_scorer
from msa_fast.fmha_sm100 import fmha_sm100_score
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_fast.ops.score import minimax_m3_index_score
from msa_ref import IndexerConfig, PagedBatch, index_topk
from msa_ref.indexer import scored_chunks
from tests.support.fast_engine import Engine

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
M3 = IndexerConfig(topk_blocks=3)


def impl(choice: str | prefill_scorer.PrefillScorer, device: str = "cpu") -> MiniMaxM3IndexerMSAImpl:
    buffer = torch.empty(2, 32, 3, dtype=torch.int32, device=device)
    return MiniMaxM3IndexerMSAImpl(CONFIG, buffer, choice)


def test_triton_is_what_runs_unless_told_otherwise() -> None:
    by_default = MiniMaxM3IndexerMSAImpl(CONFIG, torch.empty(2, 32, 3, dtype=torch.int32))
    assert by_default.prefill_scorer == "triton"
    assert prefill_scorer.choose_scorer("triton", torch.device("cpu"), CONFIG) is minimax_m3_index_score


def test_a_function_of_ones_own_is_used_and_shown(device: str) -> None:
    calls = []

    def reference_scorer(batch: PagedBatch, plan: PrefillPlan, out: torch.Tensor) -> torch.Tensor:
        calls.append(batch.total_q)
        for rows, score in scored_chunks(batch):
            out[:, rows, : score.shape[-1]] = score.float()
        return out

    own = impl(reference_scorer, device)
    assert own.prefill_scorer is reference_scorer
    world = Engine(CONFIG, device, max_blocks=10, num_pages=20)
    step = [(world.start(70), 9), (world.start(0), 20)]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, device, max_num_reqs=2, max_model_len=160)
    index_query = world.queries(29)
    _, prefill_topk = own.forward(index_query, world.index_k_pages, builder.build(0, world.common(step)))
    assert calls == [29]
    assert prefill_topk is not None
    assert torch.equal(prefill_topk, index_topk(world.batch(step, index_query)))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prefill_scorer must be a function or one of .*; got 'trition'"):
        impl("trition")


def test_the_vendors_scorer_is_refused_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_scorer, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="only where the package fmha_sm100 is importable; got no such package"):
        impl("fmha_sm100")


def on_sm100_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_scorer, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (10, 0))


def test_the_vendors_scorer_is_refused_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    on_sm100_with_the_package(monkeypatch)
    with pytest.raises(ValueError, match="only where the device is SM100; got cpu"):
        impl("fmha_sm100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(ValueError, match="only where the device is SM100; got cuda:0"):
        prefill_scorer.choose_scorer("fmha_sm100", torch.device("cuda:0"), M3)


@pytest.mark.parametrize("change", [{"index_head_dim": 64}, {"block_size": 64}], ids=str)
def test_the_vendors_scorer_is_refused_for_undocumented_sizes(change, monkeypatch) -> None:
    on_sm100_with_the_package(monkeypatch)
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} must be 128 for fmha_sm100; got 64$"):
        prefill_scorer.choose_scorer("fmha_sm100", torch.device("cuda:0"), replace(M3, **change))


def test_the_vendors_scorer_is_imported_only_when_it_runs(monkeypatch) -> None:
    on_sm100_with_the_package(monkeypatch)
    assert prefill_scorer.choose_scorer("fmha_sm100", torch.device("cuda:0"), M3) is fmha_sm100_score
    assert "fmha_sm100" not in sys.modules


class StrictStandIn(StandIn):
    """The stand-in of `fmha_sm100`, held to the very calls that are documented; it counts plans and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[tuple] = []
        self.scored = 0

    def fmha_sm100_plan(
        self, qo_segment_lens, kv_segment_lens, *args, qo_offset=None, split_prefill_decode=True, **kwargs
    ):
        assert args == (M3.num_index_heads,)
        assert kwargs == {"num_kv_heads": 1, "page_size": 128, "output_maxscore": True, "causal": True}
        assert qo_offset is None
        assert not split_prefill_decode
        assert qo_segment_lens.device.type == kv_segment_lens.device.type == "cpu"
        lens = super().fmha_sm100_plan(qo_segment_lens, kv_segment_lens)
        plan = (False, 0, len(qo_segment_lens), lens, None)
        self.plans.append(plan)
        return plan

    def fmha_sm100(
        self,
        q,
        k,
        v,
        plan_info,
        kv_indices=None,
        kv_block_indexes=None,
        q_offset_override=None,
        out=None,
        max_score=None,
        **kwargs,
    ):
        assert kwargs == {"sm_scale": 1.0, "output_o": False, "output_maxscore": True}
        assert (kv_block_indexes, q_offset_override, out, max_score) == (None, None, None, None)
        assert any(plan_info is plan for plan in self.plans)
        assert k.shape[1:] == v.shape[1:] == (1, 128, 128)
        assert kv_indices.dtype == torch.int32
        query_lens, seq_lens = plan_info[3]
        num_pages = sum(-(-seq_len // 128) for seq_len in seq_lens)
        assert (num_pages, sum(query_lens)) == (len(kv_indices), len(q))
        self.scored += 1
        return super().fmha_sm100(q, k, v, plan_info[3], kv_indices)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> StrictStandIn:
    stand_in = StrictStandIn()
    monkeypatch.setitem(sys.modules, "fmha_sm100", stand_in)
    return stand_in


def test_the_calls_to_the_vendors_scorer_are_those_it_publishes(vendor: StrictStandIn, device: str) -> None:
    """Against a stand-in; the package itself has not run here. Two layers share one plan, on pages that moved."""
    world = Engine(M3, device, max_blocks=6, num_pages=24)
    step = [(world.start(130), 1), (world.start(500), 7), (world.start(0), 3)]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(M3, device, max_num_reqs=3, max_model_len=6 * 128)
    metadata = builder.build(0, world.common(step))
    buffer = torch.empty(M3.num_index_heads, 16, M3.topk_blocks, dtype=torch.int32, device=device)
    layer = MiniMaxM3IndexerMSAImpl(M3, buffer, fmha_sm100_score)
    for _ in range(2):
        index_query = world.queries(11)
        _, prefill_topk = layer.forward(index_query, world.index_k_pages, metadata)
        assert torch.equal(prefill_topk, index_topk(world.batch(step, index_query))[:, 1:])
        world.index_k_pages.neg_()
    assert (len(vendor.plans), vendor.scored) == (1, 2)


def test_what_the_vendors_documents_leave_open_is_refused(vendor: StrictStandIn) -> None:
    world = Engine(M3, "cpu", max_blocks=2, num_pages=4)
    step = [(world.start(20), 3)]
    world.grow(step)
    batch = world.batch(step, world.queries(3))
    plan = PrefillPlan.build(M3, [3], [23], "cpu")
    wide = torch.zeros(3, 5, 128, dtype=torch.bfloat16)
    for change, sentence in (
        ({"index_q": batch.index_q.half(), "index_k_pages": batch.index_k_pages.half()}, "index_q must be bf16"),
        ({"index_q": wide[:, 1:]}, "index_q must be contiguous for fmha_sm100; got strides"),
        ({"seq_lens": batch.seq_lens - 21}, "must have 1 <= query_len <= seq_len in every request"),
        ({"block_table": batch.block_table[:, :1].expand(1, 200)}, "block_table must have <= 128 columns"),
    ):
        with pytest.raises(ValueError, match=sentence):
            fmha_sm100_score(replace(batch, **change), replace(plan), torch.empty(0))

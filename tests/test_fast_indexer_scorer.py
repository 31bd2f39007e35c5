"""The prefill scorer is chosen by name, stays visible, can be one's own, and is never replaced in silence."""

import sys
from importlib.machinery import ModuleSpec

import pytest
import torch
from fast_engine import Engine

from msa_fast import scorer
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops.score import minimax_m3_index_score
from msa_fast.plan import PrefillPlan
from msa_ref import IndexerConfig, PagedBatch, index_topk
from msa_ref.indexer import scored_chunks

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)


def impl(choice: str | scorer.PrefillScorer, device: str = "cpu") -> MiniMaxM3IndexerMSAImpl:
    buffer = torch.empty(2, 32, 3, dtype=torch.int32, device=device)
    return MiniMaxM3IndexerMSAImpl(CONFIG, buffer, choice)


def test_triton_is_what_runs_unless_told_otherwise() -> None:
    by_default = MiniMaxM3IndexerMSAImpl(CONFIG, torch.empty(2, 32, 3, dtype=torch.int32))
    assert by_default.prefill_scorer == "triton"
    assert scorer.choose_scorer("triton", torch.device("cpu")) is minimax_m3_index_score


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
    monkeypatch.setattr(scorer, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="only where the package fmha_sm100 is importable; got no such package"):
        impl("fmha_sm100")


def test_the_vendors_scorer_is_refused_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(ValueError, match="only where the device is SM100; got cpu"):
        impl("fmha_sm100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(ValueError, match="only where the device is SM100; got cuda:0"):
        scorer.choose_scorer("fmha_sm100", torch.device("cuda:0"))


def test_the_vendors_scorer_is_refused_for_want_of_a_published_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (10, 0))
    with pytest.raises(ValueError, match="only where the layouts of its pages and scores are published"):
        scorer.choose_scorer("fmha_sm100", torch.device("cuda:0"))
    assert "fmha_sm100" not in sys.modules

"""Whatever the checks let through is launched by kernels that compile: no product and no request list is too large."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_decode_with_score
from msa_fast.ops import checks, decode
from msa_fast.ops.launch_table import ANY
from msa_ref import IndexerConfig, index_topk
from tests.support.kernel_batches import make_batch, prefill

CONFIG = IndexerConfig(2, 16, 16, topk_blocks=4)
MANY_HEADS = (8, 12, 33, 64)
RECORD = f"""
import json
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.sweep import Call
calls = [Call("decode", dtype, heads, query_len=8, blocks=64) for dtype in ("bf16", "fp32") for heads in {MANY_HEADS}]
calls += [Call("decode", num_reqs=num_reqs, blocks=64) for num_reqs in (1024, 1025, 16_384, 16_385)]
sweep = run_calls(calls, ARCHITECTURES.values())
scorers = [(one.architecture, json.loads(one.spec)) for one in sweep.configurations if "decode_score" in one.kernel]
print(json.dumps([sweep.problems, scorers]))
"""
"""Prints the problems of a sweep of many heads and requests, and (architecture, specification) of its scorers."""


def test_scorers_of_many_heads_and_requests_stay_small() -> None:
    command, environment = [sys.executable, "-c", RECORD], os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    problems, scorers = json.loads(done.stdout)
    assert not problems
    assert {architecture for architecture, _ in scorers} == {"sm_90", "sm_100", "sm_103", "sm_120", "gfx942", "gfx950"}
    for _, spec in scorers:
        names, keys = list(spec["signature"]), (key[0] for key in spec["constant_keys"])
        constants = {names[key]: value for key, value in zip(keys, spec["constant_vals"], strict=True)}
        max_rows = checks.MAX_PRODUCT_ROWS[4 if spec["signature"].get("q_ptr") == "*fp32" else 2]
        assert constants["REQS"] <= checks.MAX_SCORED_REQS
        assert constants["ROWS"] <= max_rows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_64_heads_of_8_tokens_are_selected_right(dtype: torch.dtype, device: str) -> None:
    config = IndexerConfig(checks.MAX_HEADS, 16, 16, topk_blocks=4)
    query_lens, seq_lens = [8, 0, 3], [200, 40, 90]
    batch = make_batch(config, query_lens, seq_lens, dtype, device)
    assert torch.equal(minimax_m3_index_decode(batch, 8), index_topk(batch))
    assert torch.equal(prefill(batch, query_lens, seq_lens), index_topk(batch))


@pytest.mark.parametrize("num_splits", [None, 3])
def test_requests_of_several_launches_are_selected_right(
    num_splits: int | None, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(CONFIG, [2, 0, 1, 2, 1], [150, 40, 33, 120, 200], torch.bfloat16, device)
    whole, score = minimax_m3_index_decode_with_score(batch, 2, num_splits)
    monkeypatch.setattr(decode, "SCORED_REQS", {ANY: 2})
    in_parts, score_in_parts = minimax_m3_index_decode_with_score(batch, 2, num_splits)
    assert torch.equal(whole, index_topk(batch))
    assert torch.equal(in_parts, whole)
    assert torch.equal(score_in_parts[:, :2, :9], score[:, :2, :9])


def test_rows_of_as_many_blocks_as_ids_are_taken_and_of_more_refused(device: str) -> None:
    assert PrefillPlan.build(CONFIG, [1], [16 * 2**20], device).max_row_blocks == 2**20
    checks.check_decode(1, num_reqs=1, total_q=1, max_blocks=2**20)
    with pytest.raises(ValueError, match=r"^seq_lens must hold <= 1048576 blocks of a request; got 1048577$"):
        PrefillPlan.build(CONFIG, [1], [16 * 2**20 + 1], device)
    with pytest.raises(ValueError, match=r"^block_table must hold <= 1048576 blocks of a request; got 1048577$"):
        checks.check_decode(1, num_reqs=1, total_q=1, max_blocks=2**20 + 1)

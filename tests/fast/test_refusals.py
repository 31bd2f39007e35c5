"""Every bad argument of the launchers gets one sentence before anything is launched."""

from dataclasses import replace

import pytest
import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_score, minimax_m3_index_topk
from msa_fast.ops import checks
from msa_fast.ops.plan_memory import TileLists
from msa_ref import IndexerConfig
from tests.support.kernel_batches import make_batch

CONFIG = IndexerConfig(2, 16, 16, topk_blocks=4)
QUERY_LENS, SEQ_LENS = [2, 1], [40, 20]


def _args(device):
    batch = make_batch(CONFIG, QUERY_LENS, SEQ_LENS, torch.bfloat16, device)
    plan = PrefillPlan.build(CONFIG, QUERY_LENS, SEQ_LENS, device)
    return batch, plan, torch.zeros(2, 3, batch.max_blocks, device=device)


def _decode(**change):
    return lambda batch, plan, score: minimax_m3_index_decode(batch, **{"decode_query_len": 2} | change)


def _out(*shape, dtype=torch.int32, device=None):
    return lambda batch, plan, score: minimax_m3_index_decode(
        batch, 2, out=torch.empty(shape, dtype=dtype, device=device or batch.device)
    )


REFUSALS = {
    "decode_query_len must be an int from 1 to 8; got 9": _decode(decode_query_len=9),
    "decode_query_len must be an int from 1 to 8; got 0": _decode(decode_query_len=0),
    "decode_query_len must be >= total_q / num_reqs = 3 / 2; got 1": _decode(decode_query_len=1),
    "num_splits must be an int from 1 to 256; got 257": _decode(num_splits=257),
    "num_splits must be an int from 1 to 256; got 0": _decode(num_splits=0),
    "out must be int32; got torch.int64": _out(2, 3, 4, dtype=torch.int64),
    "out must be [2, >= 3, 4]; got shape [2, 2, 4]": _out(2, 2, 4),
    "out must be [2, >= 3, 4]; got shape [3, 2, 4]": _out(3, 2, 4),
    "out must be [2, >= 3, 4]; got shape [2, 3]": _out(2, 3),
    "out must be on index_q's device, DEVICE; got meta": _out(2, 3, 4, device="meta"),
    "out must not overlap itself; got strides [0, 4, 1]": lambda batch, plan, score: minimax_m3_index_topk(
        score, batch, plan, torch.empty(1, 3, 4, dtype=torch.int32, device=batch.device).expand(2, 3, 4)
    ),
    "out must be a tensor; got list": lambda batch, plan, score: minimax_m3_index_decode(batch, 2, out=[]),
    "batch must be a PagedBatch; got NoneType": lambda batch, plan, score: minimax_m3_index_decode(None, 2),
    "plan must be a PrefillPlan; got NoneType": lambda batch, plan, score: minimax_m3_index_score(batch, None),
    "plan must be built for num_reqs, total_q = (2, 3); got (1, 3)": lambda batch, plan, score: minimax_m3_index_score(
        batch, PrefillPlan.build(CONFIG, [3], [40], batch.device)
    ),
    "plan must be on index_q's device, DEVICE; got meta": lambda batch, plan, score: minimax_m3_index_score(
        batch, replace(plan, tiles=TileLists(plan.tiles.memory.to("meta"), 1, 1))
    ),
    "score must be [2, 3, 5]; got shape [2, 3, 4]": lambda batch, plan, score: minimax_m3_index_topk(
        score[..., :4], batch, plan
    ),
    "score must be float32; got torch.float64": lambda batch, plan, score: minimax_m3_index_topk(
        score.double(), batch, plan
    ),
    "query_lens must have an entry per request, 1; got 2": lambda batch, plan, score: PrefillPlan.build(
        CONFIG, [1, 2], [3], batch.device
    ),
    "seq_lens must be >= 0; got -1": lambda batch, plan, score: PrefillPlan.build(CONFIG, [1], [-1], batch.device),
    "workspace_bytes must be an int >= 1; got 0": lambda batch, plan, score: PrefillPlan.build(
        CONFIG, [1], [1], batch.device, workspace_bytes=0
    ),
    "index_head_dim must be a power of two from 16 to 128 for the kernels; got 24": (
        lambda batch, plan, score: PrefillPlan.build(IndexerConfig(2, 24, 16, 4), [1], [1], batch.device)
    ),
    "index_head_dim must be >= 32 for the kernels on NVFP4 keys; got 16": lambda batch, plan, score: (
        minimax_m3_index_decode(
            replace(
                batch,
                index_q=batch.index_q.to(torch.float8_e4m3fn),
                index_k_pages=batch.index_k_pages.to(torch.uint8)[..., :9],
            ),
            2,
        )
    ),
    "block_size must be a power of two from 16 to 128 for the kernels; got 8": (
        lambda batch, plan, score: PrefillPlan.build(IndexerConfig(2, 16, 8, 4), [1], [1], batch.device)
    ),
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_a_bad_argument_is_refused_by_its_sentence(sentence, device):
    batch, plan, score = _args(device)
    with pytest.raises(ValueError, match=r"; got ") as refusal:
        REFUSALS[sentence](batch, plan, score)
    assert str(refusal.value) == sentence.replace("DEVICE", str(batch.device))


def test_a_batch_on_a_device_without_kernels_is_refused():
    batch = make_batch(CONFIG, QUERY_LENS, SEQ_LENS, torch.bfloat16, "cpu")
    tensors = (batch.index_q, batch.index_k_pages, batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
    elsewhere = replace(
        batch,
        **dict(
            zip(
                ("index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q"),
                (tensor.to("meta") for tensor in tensors),
                strict=True,
            )
        ),
    )
    with pytest.raises(ValueError, match=r"^batch must live on the CPU under TRITON_INTERPRET=1 and on a GPU other"):
        minimax_m3_index_decode(elsewhere, 2)


@pytest.mark.parametrize("name", ["index_q", "index_k_pages", "seq_lens", "cu_seqlens_q", "out"])
def test_what_kernels_count_in_32_bits_may_not_lie_further_apart(name, device, monkeypatch):
    batch, _, _ = _args(device)
    out = torch.zeros(2, 3, 4, dtype=torch.int32, device=device)
    if name == "out":
        out = _apart(out)
    else:
        batch = replace(batch, **{name: _apart(getattr(batch, name))})
    monkeypatch.setattr(checks, "MAX_REACH", 1000)  # in place of memory for 2**31 elements
    with pytest.raises(ValueError, match=rf"^{name} must hold a (row|page|tensor) within 1000 elements; got \d+$"):
        minimax_m3_index_decode(batch, 2, out=out)


def _apart(tensor):
    """A copy of a tensor whose last axis has a stride of 1000."""
    return tensor[..., None].expand(*tensor.shape, 1000).contiguous()[..., 0]

"""Sharp edges of an engine's process: other default devices, modes, threads; host types that are not as promised."""

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_fast.graph import DecodeGraph
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import launching
from msa_fast.ops.checks import is_tensor_copied
from msa_ref import IndexerConfig, PagedBatch, index_topk
from tests.support.fast_engine import Engine
from tests.support.kernel_batches import make_batch, prefill

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
UNTOUCHED = -7


def builder(device: str, **more: Any) -> MiniMaxM3IndexerMSAMetadataBuilder:
    arguments = {"max_num_reqs": 4, "max_model_len": 160} | more
    return MiniMaxM3IndexerMSAMetadataBuilder(arguments.pop("config", CONFIG), device, **arguments)


def common(**change: Any) -> CommonAttentionMetadata:
    good = CommonAttentionMetadata.from_lens([1, 9], [50, 40], torch.zeros(2, 10, dtype=torch.int32))
    return CommonAttentionMetadata(**{**vars(good), **change})


def engines_own(**change: Any) -> SimpleNamespace:
    """A step as an engine's own object, whose fields nobody has checked."""
    return SimpleNamespace(**{**vars(common()), **change})


def without(name: str) -> SimpleNamespace:
    step = engines_own()
    delattr(step, name)
    return step


def new_impl(num_splits: Any = None) -> MiniMaxM3IndexerMSAImpl:
    return MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 8, 3, dtype=torch.int32), num_splits=num_splits)


def decode(**change: Any) -> torch.Tensor:
    batch = make_batch(CONFIG, [1], [40], torch.bfloat16, "cpu")
    return minimax_m3_index_decode(batch, **{"decode_query_len": 1} | change)


def plan(query_lens: Any, seq_lens: Any, **more: Any) -> PrefillPlan:
    return PrefillPlan.build(CONFIG, query_lens, seq_lens, "cpu", **more)


HOST_TYPES: dict[str, Any] = {
    "num_splits must be an int from 1 to 256; got True": lambda: decode(num_splits=True),
    "num_splits must be an int from 1 to 256; got 2.0": lambda: decode(num_splits=2.0),
    "num_splits must be an int from 1 to 256; got '2'": lambda: new_impl("2"),
    "num_splits must be an int from 1 to 256; got 257": lambda: new_impl(257),
    "num_splits must be an int >= 1; got True": lambda: plan([1], [40], num_splits=True),
    "decode_query_len must be an int from 1 to 8; got True": lambda: decode(decode_query_len=True),
    "query_lens must be a list of ints; got Tensor": lambda: plan(torch.ones(1), [40]),
    "query_lens must be a list of ints; got NoneType": lambda: plan(None, [40]),
    "query_lens must be a list of ints; got a list with float": lambda: plan([1.0], [40]),
    "seq_lens must be a list of ints; got a list with bool": lambda: plan([1], [True]),
    "workspace_bytes must be an int >= 1; got True": lambda: plan([1], [40], workspace_bytes=True),
    "config must be an IndexerConfig; got NoneType": lambda: builder("cpu", config=None),
    "max_num_reqs must be an int >= 1; got 4.0": lambda: builder("cpu", max_num_reqs=4.0),
    "max_model_len must be an int >= 1; got None": lambda: builder("cpu", max_model_len=None),
    "micro_batch must be an int >= 0; got '0'": lambda: builder("cpu", micro_batch="0"),
    "num_speculative_tokens must be an int from 0 to 7; got True": lambda: builder("cpu", num_speculative_tokens=True),
    "device must be a device; got None": lambda: builder(None),  # type: ignore[arg-type]
    "num_reqs must be an int from 1 to 4; got 5": lambda: builder("cpu").longest_decode_batch(5),
    "decode_query_len must be an int from 1 to 1; got 2": lambda: builder("cpu").longest_decode_batch(1, 2),
    "topk_indices_buffer must be a tensor; got list": lambda: MiniMaxM3IndexerMSAImpl(CONFIG, []),  # type: ignore
    "num_reqs must be an int >= 0; got 2.0": lambda: common(num_reqs=2.0),
    "max_seq_len must be an int >= 0; got None": lambda: common(max_seq_len=None),
    "seq_lens must be int32; got torch.int64": lambda: common(seq_lens=torch.tensor([50, 40])),
    "query_start_loc must be int32; got torch.int64": lambda: common(query_start_loc=torch.tensor([0, 1, 10])),
    "block_table_tensor must be int32; got torch.int64": lambda: common(block_table_tensor=torch.zeros(2, 10).long()),
    "block_table_tensor must be [num_reqs, max_blocks]; got shape [20]": lambda: common(
        block_table_tensor=torch.zeros(20, dtype=torch.int32)
    ),
    "seq_lens_cpu must be int32 or int64; got torch.float32": lambda: common(seq_lens_cpu=torch.tensor([50.0, 40.0])),
    "query_start_loc_cpu must be a tensor; got list": lambda: common(query_start_loc_cpu=[0, 1, 10]),
    "query_start_loc_cpu must start at 0 and never fall; got [0, 5, 4]": lambda: common(
        query_start_loc_cpu=torch.tensor([0, 5, 4])
    ),
    "query_start_loc_cpu must start at 0 and never fall; got [1, 2, 3]": lambda: common(
        query_start_loc_cpu=torch.tensor([1, 2, 3])
    ),
    "seq_lens_cpu must be >= 0; got -1": lambda: common(seq_lens_cpu=torch.tensor([50, -1])),
    "seq_lens_cpu must be a tensor; got NoneType": lambda: common(seq_lens_cpu=None),
    "slot_mapping must be a tensor; got NoneType": lambda: common(slot_mapping=None),
    "common_attn_metadata must have query_start_loc_cpu; got SimpleNamespace": lambda: builder("cpu").build(
        0, without("query_start_loc_cpu")
    ),
    "common_attn_metadata must have seq_lens_cpu or seq_lens_cpu_upper_bound; got SimpleNamespace": (
        lambda: builder("cpu").build(0, without("seq_lens_cpu"))
    ),
    "common_attn_metadata must have query_start_loc_cpu; got NoneType": lambda: builder("cpu").build(0, None),  # type: ignore
    "query_start_loc must be on the builder's device, cpu; got meta": lambda: builder("cpu").build(
        0, engines_own(query_start_loc=torch.zeros(3, dtype=torch.int32, device="meta"))
    ),
}
"""The refusal -> what is refused by it."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="the same on a GPU, whose tensors these are not")
@pytest.mark.parametrize("sentence", HOST_TYPES)
def test_a_host_type_that_was_not_promised_is_refused(sentence: str) -> None:
    with pytest.raises(ValueError, match=r"; got ") as refusal:
        HOST_TYPES[sentence]()
    assert str(refusal.value) == sentence


def one_step(device: str) -> tuple[Engine, list, torch.Tensor]:
    world = Engine(CONFIG, device, max_blocks=10, num_pages=48)
    step = [(world.start(50), 1), (world.start(20), 6)]
    world.grow(step)
    return world, step, world.queries(7)


def test_an_engine_that_knows_upper_bounds_alone_is_served(device: str) -> None:
    world, step, index_query = one_step(device)
    fields = vars(world.common(step))
    bound = SimpleNamespace(**fields, seq_lens_cpu_upper_bound=fields["seq_lens_cpu"].long() + 9)
    bound.seq_lens_cpu, bound.max_seq_len = None, bound.max_seq_len + 9
    out = torch.zeros(2, 7, 3, dtype=torch.int32, device=device)
    MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(
        index_query,
        world.index_k_pages,
        builder(device).build(0, bound),  # type: ignore[arg-type]
    )
    assert torch.equal(out, index_topk(world.batch(step, index_query)))


def test_metadata_is_refused_after_the_next_build(device: str) -> None:
    world, step, index_query = one_step(device)
    made = builder(device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 7, 3, dtype=torch.int32, device=device))
    stale = made.build(0, world.common(step))
    impl.forward(index_query, world.index_k_pages, stale)
    made.build(0, world.common(step[:1]))
    sentence = "^attn_metadata must be of its builder's newest build, number 2; got build 1$"
    with pytest.raises(ValueError, match=sentence):
        impl.forward(index_query, world.index_k_pages, stale)


@pytest.mark.parametrize("name", ["index_query", "index_k_pages"])
def test_a_layer_without_tensors_is_refused(name: str, device: str) -> None:
    world, step, index_query = one_step(device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 7, 3, dtype=torch.int32, device=device))
    tensors = {"index_query": index_query, "index_k_pages": world.index_k_pages} | {name: None}
    with pytest.raises(ValueError, match=f"^{name} must be a tensor; got NoneType$"):
        impl.forward(**tensors, attn_metadata=builder(device).build(0, world.common(step)))


def test_a_builder_made_in_inference_mode_serves_outside_of_it(device: str) -> None:
    world, step, index_query = one_step(device)
    with torch.inference_mode():
        made = builder(device)
    out = torch.zeros(2, 7, 3, dtype=torch.int32, device=device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, out)
    for mode in (False, True, False):
        with torch.inference_mode(mode):
            impl.forward(index_query, world.index_k_pages, made.build(0, world.common(step)))
    assert torch.equal(out, index_topk(world.batch(step, index_query)))


def test_host_tensors_stay_on_the_host_whatever_the_default_device(device: str) -> None:
    """An engine may have made its GPU the default device; here a device without memory stands for it."""
    world, step, index_query = one_step(device)
    block_table = world.block_table([request for request, _ in step])
    out = torch.zeros(2, 7, 3, dtype=torch.int32, device=device)
    torch.set_default_device("meta")
    try:
        described = CommonAttentionMetadata.from_lens([1, 6], [51, 26], block_table)
        metadata = builder(device).build(0, described)
        MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(index_query, world.index_k_pages, metadata)
    finally:
        torch.set_default_device(None)
    assert torch.equal(out, index_topk(world.batch(step, index_query)))


def test_kernels_are_launched_on_the_device_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    current, launched = [0], []

    class Guard:
        def __init__(self, device: torch.device) -> None:
            self.index = device.index

        def __enter__(self) -> None:
            current.append(self.index)

        def __exit__(self, *_: object) -> None:
            current.pop()

    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "device", Guard)
    kernel = {(1,): lambda *args: launched.append(current[-1])}
    for index in (1, 0):
        launching.launched(torch.device("cuda", index), kernel, (1,))
    assert launched == [1, 0]
    assert current == [0]


def of_nothing(shape: str, device: str) -> PagedBatch:
    """A batch without pages, columns, requests or tokens, in MiniMax-M3's own shape."""
    config = IndexerConfig(2)
    batch = make_batch(config, [1, 2], [0, 0], torch.bfloat16, device)
    if shape == "no pages":
        return replace(batch, index_k_pages=batch.index_k_pages[:0])
    if shape == "no columns":
        return replace(batch, index_k_pages=batch.index_k_pages[:0], block_table=batch.block_table[:, :0])
    if shape == "no requests":
        none = {"block_table": batch.block_table[:0], "seq_lens": batch.seq_lens[:0]}
        return replace(batch, index_q=batch.index_q[:0], cu_seqlens_q=batch.cu_seqlens_q[:1], **none)
    return replace(batch, index_q=batch.index_q[:0], cu_seqlens_q=torch.zeros_like(batch.cu_seqlens_q))


@pytest.mark.parametrize("shape", ["no pages", "no columns", "no requests", "no tokens"])
def test_a_batch_of_nothing_selects_nothing(shape: str, device: str) -> None:
    batch = of_nothing(shape, device)
    query_lens = [1, 2] if batch.total_q else [0] * batch.num_reqs
    expected = torch.full((2, batch.total_q, 16), -1, dtype=torch.int32, device=device)
    assert torch.equal(minimax_m3_index_decode(batch, 2), expected)
    assert torch.equal(prefill(batch, query_lens, [0] * batch.num_reqs), expected)


def test_no_tensor_descriptor_has_an_axis_of_zero() -> None:
    assert is_tensor_copied(torch.zeros(2, 128, 128, dtype=torch.bfloat16))
    assert not is_tensor_copied(torch.zeros(2, 128, 128, dtype=torch.bfloat16)[:0])


def test_rows_behind_the_last_request_stay_untouched(device: str) -> None:
    batch = make_batch(CONFIG, [1, 2], [50, 40], torch.bfloat16, device)
    longer = replace(batch, index_q=torch.cat([batch.index_q, batch.index_q.new_full((2, 2, 16), torch.nan)]))
    out = torch.full((2, 6, 3), UNTOUCHED, dtype=torch.int32, device=device)
    minimax_m3_index_decode(longer, 3, out=out)
    assert torch.equal(out[:, :3], index_topk(batch))
    assert (out[:, 3:] == UNTOUCHED).all()
    with pytest.raises(ValueError, match=r"^plan must be built for num_reqs, total_q = \(2, 5\); got \(2, 3\)$"):
        minimax_m3_index_prefill(longer, PrefillPlan.build(CONFIG, [1, 2], [50, 40], device))


@pytest.mark.gpu
def test_a_graph_is_captured_while_other_threads_allocate() -> None:
    """Each allocation of the other thread asks the driver for memory: in the capture mode `global` it would fail it."""
    world, _, index_query = one_step("cuda")
    is_done, sizes = threading.Event(), iter(np.arange(1, 10_000) * 2**21)

    def allocate() -> None:
        while not is_done.is_set():
            torch.empty(int(next(sizes)) % 2**30, dtype=torch.uint8, device="cuda")
            torch.cuda.empty_cache()

    other = threading.Thread(target=allocate)
    other.start()
    try:
        for _ in range(20):
            impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 7, 3, dtype=torch.int32, device="cuda"))
            DecodeGraph(impl, builder("cuda"), index_query, world.index_k_pages, num_reqs=4)
    finally:
        is_done.set()
        other.join()

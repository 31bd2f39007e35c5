"""The MSA impl against the reference: every kind of batch, every layout of the buffer, every refusal."""

import doctest
from dataclasses import replace

import pytest
import torch

import msa_fast.indexer_msa
from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_fast.indexer import MiniMaxM3IndexerBackend, MiniMaxM3IndexerImpl, MiniMaxM3IndexerMetadataBuilder
from msa_fast.indexer_metadata import MiniMaxM3IndexerMetadata, MiniMaxM3IndexerPrefillMetadata
from msa_fast.indexer_msa import (
    MiniMaxM3IndexerMSABackend,
    MiniMaxM3IndexerMSAImpl,
    MiniMaxM3IndexerMSAMetadata,
    MiniMaxM3IndexerMSAMetadataBuilder,
    MiniMaxM3IndexerMSAPrefillMetadata,
)
from msa_ref import IndexerConfig, index_topk
from tests.support.fast_engine import Engine

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
MAX_BLOCKS, MAX_TOKENS, MAX_REQS = 10, 64, 6
UNTOUCHED = -7


def buffer(layout: str, device: str, slots: int = 1, config: IndexerConfig = CONFIG) -> torch.Tensor:
    """[slots, H, MAX_TOKENS, K] int32 in one of the layouts that engines use."""
    heads, k = config.num_index_heads, config.topk_blocks
    if layout == "head-major":
        return torch.full((slots, heads, MAX_TOKENS, k), UNTOUCHED, dtype=torch.int32, device=device)
    if layout == "token-major":
        return torch.full((slots, MAX_TOKENS, heads, k), UNTOUCHED, dtype=torch.int32, device=device).transpose(1, 2)
    strided = torch.full((slots, heads + 1, MAX_TOKENS, 2 * k + 1), UNTOUCHED, dtype=torch.int32, device=device)
    return strided[:, 1:, :, 1::2]


def builder(
    device: str, drafts: int = 0, micro_batch: int = 0, config: IndexerConfig = CONFIG, **more: int
) -> MiniMaxM3IndexerMSAMetadataBuilder:
    return MiniMaxM3IndexerMSAMetadataBuilder(
        config,
        device,
        max_num_reqs=more.get("max_num_reqs", MAX_REQS),
        max_model_len=MAX_BLOCKS * CONFIG.block_size,
        num_speculative_tokens=drafts,
        micro_batch=micro_batch,
    )


def engine(device: str, seed: int = 0) -> Engine:
    return Engine(CONFIG, device, MAX_BLOCKS, num_pages=48, seed=seed)


STEPS = {
    "one token": (0, [(1, 0)]),
    "decodes": (0, [(1, 99), (1, 15), (1, 16), (1, 0)]),
    "speculative": (3, [(4, 96), (4, 13), (4, 0)]),
    "fewer drafts than the threshold": (3, [(2, 60), (2, 31)]),
    "prefills": (0, [(20, 0), (9, 70), (2, 16)]),
    "a decode before prefills": (0, [(1, 140), (17, 33), (5, 0)]),
    "speculative before prefills": (3, [(4, 100), (4, 50), (3, 80), (11, 0)]),
    "a short prefill after decodes": (0, [(1, 40), (1, 90), (2, 64)]),
    "not decode-first": (0, [(12, 30), (1, 120), (1, 50)]),
}
"""Name: (draft tokens, (query_len, context_len) of each request)."""


@pytest.mark.parametrize("layout", ["head-major", "token-major", "strided"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_equals_the_reference(name: str, layout: str, device: str) -> None:
    drafts, lens = STEPS[name]
    world = engine(device)
    step = [(world.start(context_len), query_len) for query_len, context_len in lens]
    slot_mapping = world.grow(step)
    out = buffer(layout, device)[0]
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, out)
    metadata = builder(device, drafts).build(0, world.common(step, slot_mapping))
    num_tokens = sum(query_len for query_len, _ in lens)
    index_query = world.queries(num_tokens + 3)

    decode_topk, prefill_topk = impl.forward(index_query, world.index_k_pages, metadata)

    expected = index_topk(world.batch(step, index_query))
    assert torch.equal(out[:, :num_tokens], expected)
    assert (out[:, num_tokens:] == UNTOUCHED).all()
    middle = metadata.num_decode_tokens
    assert middle + metadata.num_prefill_tokens == num_tokens
    for view, rows in ((decode_topk, slice(0, middle)), (prefill_topk, slice(middle, num_tokens))):
        if rows.start == rows.stop:
            assert view is None
        else:
            assert view is not None
            assert view.data_ptr() == out[:, rows].data_ptr()
            assert torch.equal(view, expected[:, rows])


@pytest.mark.parametrize("kv_dtype", ["fp8", "nvfp4"])
@pytest.mark.parametrize("is_bound", [False, True])
def test_a_step_on_byte_keys_equals_the_reference(kv_dtype: str, is_bound: bool, device: str) -> None:
    """The engine's steps of bf16, with its keys and queries in other formats, over two layers."""
    config = replace(CONFIG, index_head_dim=32)
    world = Engine(config, device, MAX_BLOCKS, num_pages=48)
    step = [(world.start(context_len), query_len) for query_len, context_len in [(1, 140), (17, 33), (5, 0)]]
    metadata = builder(device, config=config).build(0, world.common(step, world.grow(step)))
    out = buffer("head-major", device)[0]
    impl = MiniMaxM3IndexerMSAImpl(config, out, bind_launches=is_bound)
    backend = impl.indexer_backend_cls
    shape = backend.get_kv_cache_shape(48, config.block_size, 1, config.index_head_dim, kv_dtype)
    for layer in range(2):
        if kv_dtype == "fp8":
            keys = world.index_k_pages.nan_to_num(nan=3.0).roll(layer, 0).to(backend.get_kv_cache_dtype(kv_dtype))
        else:  # scales of 1 and any codes: sums are exact
            keys = torch.randint(0, 256, shape, generator=world.generator).byte().to(device)
            keys[..., config.index_head_dim // 2 :] = 0x38
        query = world.queries(23).to(torch.float8_e4m3fn)
        impl.forward(query, keys, metadata)
        batch = replace(world.batch(step, world.queries(23)), index_q=query, index_k_pages=keys)
        assert torch.equal(out[:, :23], index_topk(batch))


CONFIGS = {
    "one head": IndexerConfig(1, 16, 16, 3),
    "three heads": IndexerConfig(3, 32, 16, 4),
    "first blocks forced": IndexerConfig(2, 16, 32, 4, init_blocks=1, local_blocks=2),
    "nothing forced": IndexerConfig(2, 16, 16, 3, local_blocks=0),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_mixed_step_on_views_equals_the_reference(name: str, dtype: torch.dtype, device: str) -> None:
    """Queries are cut from a wider projection, pages from a cache that holds more than index keys."""
    config = CONFIGS[name]
    world = Engine(config, device, MAX_BLOCKS, num_pages=48, dtype=dtype)
    shape = (48, config.block_size, 2 * config.index_head_dim + 16)
    world.index_k_pages = torch.full(shape, torch.nan, dtype=dtype, device=device)[
        :, :, 16 : 16 + config.index_head_dim
    ]
    step = [(world.start(97), 2), (world.start(40), 2), (world.start(30), 19)]
    world.grow(step)
    index_query = torch.cat([world.queries(23), world.queries(23)], dim=2)[:, :, : config.index_head_dim]
    out = buffer("strided", device, config=config)[0]
    made = MiniMaxM3IndexerMSAMetadataBuilder(
        config,
        device,
        max_num_reqs=3,
        max_model_len=MAX_BLOCKS * config.block_size,
        num_speculative_tokens=1,
    )
    metadata = made.build(0, world.common(step))
    MiniMaxM3IndexerMSAImpl(config, out).forward(index_query, world.index_k_pages, metadata)
    assert (metadata.num_decodes, metadata.num_prefills) == (2, 1)
    assert torch.equal(out[:, :23], index_topk(world.batch(step, index_query)))
    assert (out[:, 23:] == UNTOUCHED).all()


def test_a_request_shorter_than_its_drafts_equals_the_reference(device: str) -> None:
    world = engine(device)
    step = [(world.start(2), 4), (world.start(50), 4), (world.start(0), 4)]
    out = buffer("head-major", device)[0]
    index_query = world.queries(12)
    metadata = builder(device, drafts=3).build(0, world.common(step))
    MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(index_query, world.index_k_pages, metadata)
    assert metadata.num_decodes == 3
    assert torch.equal(out[:, :12], index_topk(world.batch(step, index_query)))


def test_padding_requests_belong_to_neither_side(device: str) -> None:
    world = engine(device)
    step = [(world.start(50), 1), (world.start(20), 6)]
    world.grow(step)
    idle = world.start(30)
    padded = [*step, (idle, 0), (idle, 0)]
    out = buffer("head-major", device)[0]
    metadata = builder(device).build(0, world.common(padded))
    index_query = world.queries(7)
    MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(index_query, world.index_k_pages, metadata)
    assert (metadata.num_decodes, metadata.num_prefills) == (1, 1)
    assert torch.equal(out[:, :7], index_topk(world.batch(step, index_query)))
    assert (out[:, 7:] == UNTOUCHED).all()


def test_a_step_without_tokens_writes_nothing(device: str) -> None:
    world = engine(device)
    out = buffer("head-major", device)[0]
    metadata = builder(device).build(0, world.common([(world.start(30), 0)]))
    answer = MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(world.queries(0), world.index_k_pages, metadata)
    assert answer == (None, None)
    assert (out == UNTOUCHED).all()


def test_a_profiling_run_without_metadata_selects_nothing(device: str) -> None:
    world = engine(device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, buffer("head-major", device)[0])
    assert impl.forward(world.queries(4), world.index_k_pages, None) == (None, None)


def test_one_build_serves_every_layer(device: str) -> None:
    world = engine(device)
    step = [(world.start(99), 1), (world.start(40), 9)]
    world.grow(step)
    metadata = builder(device).build(0, world.common(step))
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, buffer("token-major", device)[0])
    for _ in range(2):
        index_query = world.queries(10)
        impl.forward(index_query, world.index_k_pages, metadata)
        assert torch.equal(impl.topk_indices_buffer[0, :, :10], index_topk(world.batch(step, index_query)))
        world.index_k_pages.neg_()


def test_a_fast_build_changes_the_plan_and_no_answer(device: str) -> None:
    world = engine(device)
    step = [(world.start(150), 8)]
    world.grow(step)
    index_query = world.queries(8)
    answers, tiles = [], []
    for fast_build in (False, True):
        metadata = builder(device).build(0, world.common(step), fast_build)
        impl = MiniMaxM3IndexerMSAImpl(CONFIG, buffer("head-major", device)[0])
        answers.append(impl.forward(index_query, world.index_k_pages, metadata)[1])
        assert metadata.prefill_msa is not None
        tiles.append(len(metadata.prefill_msa.plan.score_tiles))
    assert torch.equal(*answers)
    assert tiles[0] > tiles[1] == 1


def test_two_micro_batches_keep_to_their_slots(device: str) -> None:
    world = engine(device)
    out = buffer("token-major", device, slots=2)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, out)
    steps = [[(world.start(99), 1), (world.start(33), 4)], [(world.start(130), 1), (world.start(9), 1)]]
    queries = [world.queries(5), world.queries(2)]
    for step in steps:
        world.grow(step)
    built = [builder(device, micro_batch=slot).build(0, world.common(step)) for slot, step in enumerate(steps)]
    for slot in (1, 0):  # both are built before either runs
        impl.forward(queries[slot], world.index_k_pages, built[slot])
    for slot, step in enumerate(steps):
        expected = index_topk(world.batch(step, queries[slot]))
        assert torch.equal(out[slot, :, : len(queries[slot])], expected)
        assert (out[slot, :, len(queries[slot]) :] == UNTOUCHED).all()


def test_the_classes_say_what_they_serve() -> None:
    backend = MiniMaxM3IndexerMSABackend
    assert issubclass(backend, MiniMaxM3IndexerBackend)
    assert MiniMaxM3IndexerBackend.get_name() == "MINIMAX_M3_INDEXER"
    for abstract in (MiniMaxM3IndexerBackend.get_builder_cls, MiniMaxM3IndexerBackend.get_impl_cls):
        with pytest.raises(NotImplementedError):
            abstract()
    assert MiniMaxM3IndexerMSAMetadataBuilder.cudagraph_support == "UNIFORM_BATCH"
    assert backend.get_name() == "MINIMAX_M3_INDEXER_MSA"
    assert backend.get_builder_cls() is MiniMaxM3IndexerMSAMetadataBuilder
    assert backend.get_impl_cls() is MiniMaxM3IndexerMSAImpl
    assert MiniMaxM3IndexerMSAImpl.indexer_backend_cls is backend
    assert issubclass(MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerImpl)
    assert issubclass(MiniMaxM3IndexerMSAMetadata, MiniMaxM3IndexerMetadata)
    assert issubclass(MiniMaxM3IndexerMSAMetadataBuilder, MiniMaxM3IndexerMetadataBuilder)
    assert issubclass(MiniMaxM3IndexerMSAPrefillMetadata, MiniMaxM3IndexerPrefillMetadata)
    assert backend.get_supported_head_sizes() == [16, 32, 64, 128]
    assert backend.get_supported_kernel_block_sizes() == [16, 32, 64, 128]
    assert backend.get_kv_cache_shape(7, 128, 1, 64) == (7, 128, 64)
    assert backend.get_kv_cache_shape(7, 128, 1, 128, "nvfp4") == (7, 128, 72)
    assert backend.get_kv_cache_dtype() == backend.get_kv_cache_dtype("bf16") == torch.bfloat16
    assert backend.get_kv_cache_dtype("fp8") == backend.get_kv_cache_dtype("fp8_e4m3") == torch.float8_e4m3fn
    assert backend.supported_dtypes == (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((7, 128, 2, 64), "num_kv_heads must be 1: "),
        ((7, 48, 1, 64), "block_size must be a power of two"),
        ((7, 128, 1, 64, "mxfp4"), "indexer_kv_dtype must be one of auto, bf16, fp8, fp8_e4m3, nvfp4; got 'mxfp4'"),
    ],
)
def test_a_cache_that_no_kernel_serves_is_refused(args: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MiniMaxM3IndexerMSABackend.get_kv_cache_shape(*args)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda good: good.float(), "must be int32"),
        (lambda good: good.transpose(0, 1), "must be "),
        (lambda good: good[..., :1], "must be "),
        (lambda good: good[:, :1].expand(2, MAX_TOKENS, 3), "must not overlap itself"),
        (lambda good: good.expand(2, 2, MAX_TOKENS, 3), "must not overlap itself"),
    ],
)
def test_a_buffer_that_cannot_take_the_selections_is_refused(wrong, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"topk_indices_buffer {sentence}"):
        MiniMaxM3IndexerMSAImpl(CONFIG, wrong(buffer("head-major", "cpu")[0]))


def test_what_a_step_cannot_fit_into_is_refused(device: str) -> None:
    world = engine(device)
    step = [(world.start(99), 1), (world.start(33), 4)]
    world.grow(step)
    metadata = builder(device).build(0, world.common(step))
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, buffer("head-major", device)[0])
    with pytest.raises(ValueError, match="index_query must have >= 5 rows; got 4"):
        impl.forward(world.queries(4), world.index_k_pages, metadata)
    short = MiniMaxM3IndexerMSAImpl(CONFIG, buffer("head-major", device)[0, :, :4])
    with pytest.raises(ValueError, match="topk_indices_buffer must have >= 5 rows; got 4"):
        short.forward(world.queries(5), world.index_k_pages, metadata)
    other = builder(device, micro_batch=1).build(0, world.common(step))
    with pytest.raises(ValueError, match="micro_batch must be < the 1 slots of the buffer; got 1"):
        impl.forward(world.queries(5), world.index_k_pages, other)
    base = MiniMaxM3IndexerMetadata(0, torch.zeros(0), 0, 0, 0, 0)
    with pytest.raises(ValueError, match="attn_metadata must be a MiniMaxM3IndexerMSAMetadata"):
        impl.forward(world.queries(0), world.index_k_pages, base)


def test_the_usage_example_runs() -> None:
    results = doctest.testmod(msa_fast.indexer_msa)
    assert results.attempted > 15
    assert results.failed == 0


def test_an_engine_may_pass_longer_tensors_and_upper_bounds(device: str) -> None:
    world = engine(device)
    step = [(world.start(50), 1), (world.start(20), 6)]
    world.grow(step)
    exact = world.common(step)
    spare = torch.full((3,), 10**6, dtype=torch.int32)
    longer = CommonAttentionMetadata(
        query_start_loc=torch.cat([exact.query_start_loc, spare.to(device)]),
        query_start_loc_cpu=torch.cat([exact.query_start_loc_cpu, spare]),
        seq_lens=torch.cat([exact.seq_lens, spare.to(device)]),
        seq_lens_cpu=torch.cat([exact.seq_lens_cpu + 40, spare]),
        num_reqs=2,
        num_actual_tokens=7,
        max_query_len=exact.max_query_len,
        max_seq_len=exact.max_seq_len + 40,
        block_table_tensor=exact.block_table_tensor.repeat(2, 1),
        slot_mapping=exact.slot_mapping,
    )
    out = buffer("head-major", device)[0]
    index_query = world.queries(7)
    MiniMaxM3IndexerMSAImpl(CONFIG, out).forward(index_query, world.index_k_pages, builder(device).build(0, longer))
    assert torch.equal(out[:, :7], index_topk(world.batch(step, index_query)))

"""The host's work before the GPU starts, counted in calls of functions: a count is the same on every machine."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from msa_fast import PrefillPlan
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import binding, known_kernels, prefill_plan, sharing
from msa_fast.ops.launch_table import WORKSPACE_BYTES
from msa_ref import IndexerConfig
from tests.support.calls import num_calls
from tests.support.fast_engine import Engine

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)

MAX_LAYER_CALLS = {"prefill": 32, "decode": 31}
"""Calls of a bound layer of either side."""
MAX_FIRST_LAYER_CALLS = 390
"""Calls of the first layer of a later step of prefill that no earlier one serves, though its kernels are known."""
MAX_BUILD_CALLS = {"prefill": 71, "decode": 37}
"""Calls of a builder's step of one request of either side."""
MAX_PLAN_CALLS = {1: 88, 256: 175}
"""Requests -> calls that their plan takes, where it has no choice of tiles."""


@pytest.mark.parametrize("num_reqs", MAX_PLAN_CALLS)
def test_a_plan_takes_few_calls_however_many_its_requests(num_reqs: int) -> None:
    config = IndexerConfig()
    calls = num_calls(lambda: PrefillPlan.build(config, [64] * num_reqs, [4096] * num_reqs, "cpu"))
    assert calls <= MAX_PLAN_CALLS[num_reqs]


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans are made as for an H200, with the tilings that some releases of Triton have no use for."""
    monkeypatch.setattr(prefill_plan, "architecture_of", lambda device: "sm_90")
    monkeypatch.setattr(prefill_plan, "num_processors", lambda device: 132)
    monkeypatch.setattr(sharing, "IS_WIDE_FAST", True)
    sharing.tilings_of.cache_clear()
    yield
    sharing.tilings_of.cache_clear()


@pytest.mark.usefixtures("hopper")
def test_a_choice_of_tiles_takes_few_calls() -> None:
    planner = prefill_plan.Planner(IndexerConfig(), torch.device("cpu"))
    several = ([64] * 256, [4_096] * 256), 206
    for lens, most in (([171], [55_339]), 60), (([182], [17_718]), 60), (([338], [74_578]), 99), several:
        assert num_calls(partial(planner.plan, *lens)) <= most


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(
    ("heads", "query_len", "seq_len", "rows"),
    [
        (4, 1_404, 46_844, 256),
        (4, 64, 1_048_576, 256),
        (4, 64, 131_072, 256),
        (4, 338, 74_578, 256),  # whose last tile fills half its rows
        (1, 1_404, 46_844, 256),
        (4, 8_192, 8_192, 128),  # few blocks for each program
        (4, 171, 55_339, 192),
        (4, 182, 17_718, 192),
        (4, 16_384, 47_744, 192),
        (4, 8_192, 139_264, 192),
        (4, 2_000, 60_000, 192),
        (4, 182, 131_072, 192),
        (1, 338, 74_578, 192),
        (1, 347, 131_547, 192),
        (2, 171, 55_339, 192),
        (2, 338, 74_578, 192),
        (4, 140, 131_072, 192),
        (4, 520, 60_000, 192),
        (4, 190, 30_000, 192),
        (1, 700, 131_072, 192),
        (4, 45, 16_384, 192),
        (4, 45, 131_072, 192),
        (1, 182, 17_718, 192),
        (1, 370, 30_000, 192),
    ],
)
def test_query_tiles_have_the_rows_that_an_h200_scores_sooner(
    heads: int, query_len: int, seq_len: int, rows: int
) -> None:
    """As both were measured on one, in MiniMax-M3's shape with bf16 keys; others have the GPU's own tiles."""
    config = IndexerConfig(num_index_heads=heads)
    assert PrefillPlan.build(config, [query_len], [seq_len], "cpu").score_rows == rows
    of_e4m3 = PrefillPlan.build(config, [query_len], [seq_len], "cpu", key_dtype=torch.float8_e4m3fn)
    of_another_dim = PrefillPlan.build(replace(config, index_head_dim=64), [query_len], [seq_len], "cpu")
    assert (of_e4m3.score_rows, of_another_dim.score_rows) == (128, 128)


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The launches of a stand-in for the driver, which launches nothing: Triton's interpreter runs new kernels."""
    if torch.cuda.is_available():
        pytest.skip("a stand-in for the driver, for machines without a GPU")
    made: list[object] = []
    monkeypatch.setattr(binding, "is_by_driver", lambda device: True)
    monkeypatch.setattr(binding, "current_stream", lambda device: 0)
    monkeypatch.setattr(binding, "CompiledLaunch", lambda launch: launch)
    monkeypatch.setattr(binding, "DriverLaunch", lambda *launch: lambda stream, tensors: made.append(launch))
    monkeypatch.setattr(known_kernels, "_known", {})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    return made


@pytest.mark.parametrize("side", MAX_LAYER_CALLS)
def test_a_bound_layer_takes_few_calls(side: str, driven: list[object]) -> None:
    """The launches themselves are the driver's, and left out."""
    world = Engine(CONFIG, "cpu", max_blocks=10, num_pages=48)
    step = [(world.start(50), 1) if side == "decode" else (world.start(20), 6)]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", max_num_reqs=4, max_model_len=160)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 8, 3, dtype=torch.int32))
    metadata, index_query = builder.build(0, world.common(step)), world.queries(8)
    impl.forward(index_query, world.index_k_pages, metadata)
    assert num_calls(lambda: impl.forward(index_query, world.index_k_pages, metadata)) <= MAX_LAYER_CALLS[side]
    assert len(driven) == 4


def test_the_first_layer_of_a_later_step_takes_few_calls(driven: list[object]) -> None:
    """Its chunk is longer, on more tokens, than that of the step before it."""
    world = Engine(CONFIG, "cpu", max_blocks=10, num_pages=48)
    request = world.start(20)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", max_num_reqs=4, max_model_len=160)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, torch.zeros(2, 40, 3, dtype=torch.int32))
    index_query, layers = world.queries(40), []
    for query_len in (6, 18, 22):
        world.grow([(request, query_len)])
        metadata = builder.build(0, world.common([(request, query_len)]))
        layers.append(partial(impl.forward, index_query, world.index_k_pages, metadata))
        driven.clear()
        num = num_calls(layers[-1], is_first=True)
    assert num <= MAX_FIRST_LAYER_CALLS
    assert len(driven) == 2


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize("seq_len", [0, 1, 300, 2_176, 17_700, 55_000])
@pytest.mark.parametrize("query_len", [1, 64, 182, 2_048])
@pytest.mark.parametrize("topk_blocks", [16, 64])
def test_a_short_chunk_is_planned_as_arrays_plan_it(
    query_len: int, seq_len: int, topk_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = []
    of_arrays = prefill_plan._plan_of_arrays
    monkeypatch.setattr(prefill_plan, "_plan_of_arrays", lambda *args: arrays.append(args) or of_arrays(*args))
    config = IndexerConfig(topk_blocks=topk_blocks)
    for architecture, key_dtype in product(("sm_90", "sm_100", "sm_120"), (torch.bfloat16, torch.float8_e4m3fn)):
        monkeypatch.setattr(prefill_plan, "architecture_of", lambda device, name=architecture: name)
        for processors in (4, 132):
            monkeypatch.setattr(prefill_plan, "num_processors", lambda device, number=processors: number)
            arrays.clear()
            plan = PrefillPlan.build(config, [query_len], [seq_len], "cpu", key_dtype=key_dtype)
            assert len(arrays) <= (seq_len < query_len)
            assert_same(plan, of_arrays(*prefill_args(config, query_len, seq_len, architecture, key_dtype)))


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize("heads", [1, 3, 4, 16])
@pytest.mark.parametrize("block_size", [16, 128])
def test_chunks_of_any_length_on_any_gpu_are_planned_as_arrays_plan_them(
    heads: int, block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks whose programs are few or fill many waves, in small slabs: the steps tried depend on all of it."""
    rng = random.Random(heads * block_size)
    for _ in range(400):
        architecture, processors = rng.choice(["sm_90", "sm_100", "sm_120", "interpreter"]), int(2 ** rng.uniform(0, 8))
        monkeypatch.setattr(prefill_plan, "architecture_of", lambda device, name=architecture: name)
        monkeypatch.setattr(prefill_plan, "num_processors", lambda device, number=processors: number)
        config = IndexerConfig(num_index_heads=heads, block_size=block_size, topk_blocks=rng.choice([16, 64]))
        query_len = int(2 ** rng.uniform(0, 11))
        seq_len = query_len + int(2 ** rng.uniform(0, 20)) - 1
        workspace_bytes = rng.choice([WORKSPACE_BYTES, 1 << 20])
        key_dtype = rng.choice([torch.bfloat16, torch.float8_e4m3fn])
        tile_rows = rng.choice([None, 128, 192, 256])
        options = {"workspace_bytes": workspace_bytes, "key_dtype": key_dtype, "tile_rows": tile_rows}
        plan = PrefillPlan.build(config, [query_len], [seq_len], "cpu", **options)
        args = *prefill_args(config, query_len, seq_len, architecture, key_dtype, tile_rows)[:-1], workspace_bytes
        assert_same(plan, prefill_plan._plan_of_arrays(*args))


def assert_same(plan: PrefillPlan, expected: PrefillPlan) -> None:
    for tiles in ("score_tiles", "topk_tiles"):
        assert torch.equal(getattr(plan, tiles), getattr(expected, tiles)), tiles
    assert vars(plan) | {"tiles": None} == vars(expected) | {"tiles": None}


def prefill_args(
    config: IndexerConfig,
    query_len: int,
    seq_len: int,
    architecture: str,
    key_dtype: torch.dtype,
    tile_rows: int | None = None,
) -> tuple[object, ...]:
    lens, tilings = np.array([[query_len], [seq_len]]), sharing.tilings_of(config, architecture, key_dtype, tile_rows)
    return config, *lens, torch.device("cpu"), architecture, tilings, None, tile_rows is not None, WORKSPACE_BYTES


@pytest.mark.parametrize(("key_dtype", "at_once"), [(torch.bfloat16, 2), (torch.float8_e4m3fn, 3)])
def test_a_chunk_s_programs_are_whole_waves(
    key_dtype: torch.dtype, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the interpreter's table, which has three programs a multiprocessor for one-byte keys with any Triton."""
    processors = 132
    monkeypatch.setattr(prefill_plan, "num_processors", lambda device: processors)
    for lens in ([338], [74_578]), ([1_404], [46_844]), ([1_649], [135_537]):
        plan = PrefillPlan.build(IndexerConfig(), *lens, "cpu", key_dtype=key_dtype)
        in_last_wave = len(plan.score_tiles) % (at_once * processors) or at_once * processors
        assert in_last_wave >= 0.9 * at_once * processors


@pytest.mark.parametrize(("side", "lens"), [("prefill", (20, 6)), ("decode", (50, 1))])
def test_a_build_takes_few_calls(side: str, lens: tuple[int, int]) -> None:
    world = Engine(CONFIG, "cpu", max_blocks=10, num_pages=48)
    step = [(world.start(lens[0]), lens[1])]
    world.grow(step)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", max_num_reqs=4, max_model_len=160)
    common = world.common(step)
    assert num_calls(lambda: builder.build(0, common)) <= MAX_BUILD_CALLS[side]

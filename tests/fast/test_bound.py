"""A call that is bound once answers for every later layer as the operator does, whatever changes between them."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from msa_fast import PrefillPlan
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import bound
from msa_fast.ops.bound import DecodeLaunch, PrefillLaunch, StepLaunch
from msa_fast.ops.launch_table import architecture_of
from msa_fast.ops.product import FP8_ARCHITECTURES, PRODUCTS
from msa_ref import IndexerConfig, PagedBatch, index_topk
from tests.support.fast_engine import Engine
from tests.support.kernel_batches import make_batch

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
M3 = IndexerConfig(local_blocks=0)
UNTOUCHED, FIRST_TOKEN = -7, 2
LENS = {"prefill": ([20, 0, 5], [150, 33, 90]), "decode": ([2, 0, 1], [150, 33, 90])}


def config(device: str) -> IndexerConfig:
    """MiniMax-M3's own shape on a GPU, whose kernels for it copy by tensor descriptor; a small one elsewhere."""
    return M3 if device == "cuda" else CONFIG


def new_launch(side: str, batch: PagedBatch) -> StepLaunch:
    metadata = (batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
    if side == "decode":
        return DecodeLaunch(batch.config, 2, *metadata, batch.total_q, FIRST_TOKEN)
    return PrefillLaunch(PrefillPlan.build(batch.config, *LENS[side], batch.device), *metadata, FIRST_TOKEN)


def batch_of(side: str, device: str, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> PagedBatch:
    return make_batch(config(device), *LENS[side], dtype, device, seed)


def laid_out(values: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """The same values at a new address: contiguous, an odd number of elements behind it, or far apart."""
    kind = rng.choice(("same", "same", "same", "odd", "wide"))
    width = values.shape[-1] * (2 if kind == "wide" else 1)
    room = values.new_zeros(values.shape[:-1].numel() * width + 3)[3 if kind == "odd" else 0 :]
    view = room[: values.shape[:-1].numel() * width].view(*values.shape[:-1], width)[..., : values.shape[-1]]
    return view.copy_(values)


def layer(batch: PagedBatch, rng: random.Random) -> tuple[PagedBatch, torch.Tensor, torch.Tensor]:
    """Another layer of the step: (its batch, queries of all tokens, `out`), at other addresses."""
    q = torch.randint(-3, 4, (FIRST_TOKEN + batch.total_q + 1, *batch.index_q.shape[1:])).to(batch.index_q)
    q, pages = laid_out(q, rng), laid_out(batch.index_k_pages.flip(1) * rng.choice((1, -1)), rng)
    heads, tokens, k = batch.config.num_index_heads, len(q), batch.config.topk_blocks
    shape, order = rng.choice((((heads, tokens, k), (0, 1, 2)), ((tokens, heads, k), (1, 0, 2))))
    out = torch.full(shape, UNTOUCHED, dtype=torch.int32, device=q.device).permute(order)
    own = q[FIRST_TOKEN : FIRST_TOKEN + batch.total_q]
    return replace(batch, index_q=own, index_k_pages=pages), q, out


def run_layers(side: str, device: str, num_layers: int, seed: int = 0) -> StepLaunch:
    """Layers of one step, judged one by one. A disagreement raises AssertionError."""
    rng, batch = random.Random(seed), batch_of(side, device)
    launch = new_launch(side, batch)
    kept = []  # so that no layer gets the addresses of another
    for number in range(num_layers):
        own, q, out = layer(batch, rng)
        topk_idx = launch(q, own.index_k_pages, out)
        expected = index_topk(own)
        assert topk_idx.data_ptr() == out[:, FIRST_TOKEN:].data_ptr()
        assert topk_idx.stride() == out.stride()
        assert torch.equal(topk_idx, expected), f"layer {number} differs from the reference"
        rest = torch.cat([out[:, :FIRST_TOKEN], out[:, FIRST_TOKEN + batch.total_q :]], dim=1)
        assert (rest == UNTOUCHED).all(), f"layer {number} wrote rows of other tokens"
        kept.append((own, q, out))
    return launch


@pytest.mark.parametrize("side", LENS)
def test_bound_layers_equal_the_reference(side: str, device: str) -> None:
    launch = run_layers(side, device, 24 if device == "cpu" else 200)
    assert 1 < launch.num_bound < 24


@pytest.mark.parametrize("side", LENS)
def test_layers_of_one_kind_are_bound_once(side: str, device: str) -> None:
    batch = batch_of(side, device)
    launch = new_launch(side, batch)
    q, out = (
        batch.index_q.repeat(3, 1, 1),
        torch.empty(
            batch.config.num_index_heads, 3 * batch.total_q, batch.config.topk_blocks, dtype=torch.int32, device=device
        ),
    )
    for _ in range(3):
        launch(q.clone(), batch.index_k_pages.clone(), out)
    assert launch.num_bound == 1
    launch(q.clone(), batch.index_k_pages.clone(), out, is_bound=False)
    launch(q.half(), batch.index_k_pages.half(), out)
    assert launch.num_bound == 2


@pytest.mark.parametrize("side", LENS)
def test_each_product_is_bound_for_itself(side: str, device: str) -> None:
    if architecture_of(torch.device(device)) not in FP8_ARCHITECTURES:
        pytest.skip("no unit for e4m3")
    small = make_batch(IndexerConfig(2, 32, 16, topk_blocks=3), *LENS[side], torch.bfloat16, device)
    queries, pages = torch.zeros_like(small.index_q), torch.zeros_like(small.index_k_pages)
    queries[..., :2], pages[..., 0] = 1, 448
    # Beside 448 the smallest number is lost in a sum of 13 bits.
    pages[..., 1] = (torch.arange(len(pages), device=device) % 2 * 2.0**-9)[:, None]
    batch = replace(small, index_q=queries.to(torch.float8_e4m3fn), index_k_pages=pages.to(torch.float8_e4m3fn))
    launch, shape = new_launch(side, batch), (2, FIRST_TOKEN + batch.total_q, 3)
    q = torch.cat([batch.index_q[:FIRST_TOKEN], batch.index_q])

    def answer(product: str, is_bound: bool) -> torch.Tensor:
        out = torch.empty(shape, dtype=torch.int32, device=device)
        return launch(q, batch.index_k_pages, out, is_bound=is_bound, product=product)

    plain = {product: answer(product, is_bound=False) for product in PRODUCTS}
    assert device != "cpu" or not torch.equal(*plain.values())
    for product in PRODUCTS * 2:
        assert torch.equal(answer(product, is_bound=True), plain[product])


def test_many_heads_are_bound_in_several_launches(device: str) -> None:
    many = IndexerConfig(64, 16, 16, topk_blocks=4)
    batch = make_batch(many, [8, 3], [200, 90], torch.bfloat16, device)
    launch = DecodeLaunch(many, 8, batch.block_table, batch.seq_lens, batch.cu_seqlens_q, batch.total_q)
    out = torch.empty(64, batch.total_q, 4, dtype=torch.int32, device=device)
    for num_splits in (None, None, 3, 3):
        other = replace(batch, index_q=batch.index_q.flip(0).contiguous())
        assert torch.equal(launch(other.index_q, other.index_k_pages, out, num_splits), index_topk(other))
    assert launch.num_bound == 2


@pytest.mark.parametrize("side", LENS)
def test_layers_that_lie_within_each_other_stay_plain(side: str, device: str) -> None:
    """Queries between the keys of one arena: an address does not say whose it is."""
    batch = batch_of(side, device)
    launch = new_launch(side, batch)
    pages, d = batch.index_k_pages, batch.config.index_head_dim
    arena = pages.new_zeros(40, pages.shape[1], 2 * d)
    arena[: len(pages), :, :d] = pages
    q = arena[: FIRST_TOKEN + batch.total_q, : batch.config.num_index_heads, d:]
    q[FIRST_TOKEN:] = batch.index_q
    out = torch.empty(q.shape[1], len(q), batch.config.topk_blocks, dtype=torch.int32, device=device)
    for _ in range(2):
        assert torch.equal(launch(q, arena[..., :d], out), index_topk(batch))
    assert launch.num_bound == 0


REFUSED: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple]] = {
    "index_query must have >= 5 rows; got 4": lambda q, pages, out: (q[:4], pages, out),
    "index_query must be a tensor; got NoneType": lambda q, pages, out: (None, pages, out),
    "index_q must have num_index_heads = 2 on axis 1; got 1": lambda q, pages, out: (q[:, :1], pages, out),
    "index_k_pages must be bf16 or e4m3 for bf16 queries; got torch.float16": (
        lambda q, pages, out: (q, pages.half(), out)
    ),
    "index_k_pages must be on index_q's device, DEVICE; got meta": lambda q, pages, out: (q, pages.to("meta"), out),
    "index_k_pages must be [num_pages, block_size, index_head_dim]; got shape [2, 3]": (
        lambda q, pages, out: (q, pages.new_zeros(2, 3), out)
    ),
    "out must be int32; got torch.int64": lambda q, pages, out: (q, pages, out.long()),
    "out must be [2, >= 5, 3]; got torch.Size([2, 4, 3])": lambda q, pages, out: (q, pages, out[:, :4]),
    "out must not overlap itself; got strides [0, 3, 1]": lambda q, pages, out: (q, pages, out[:1].expand(2, -1, -1)),
}


@pytest.mark.parametrize("is_bound_before", [False, True])
@pytest.mark.parametrize("sentence", REFUSED)
def test_a_layer_of_another_kind_is_refused_in_one_sentence(sentence: str, is_bound_before: bool, device: str) -> None:
    batch = make_batch(CONFIG, *LENS["decode"], torch.bfloat16, device)
    launch = new_launch("decode", batch)
    q = torch.cat([batch.index_q[:FIRST_TOKEN], batch.index_q])
    good = q, batch.index_k_pages, torch.empty(2, 5, 3, dtype=torch.int32, device=device)
    if is_bound_before:
        launch(*good)
    with pytest.raises(ValueError, match=r"; got ") as refusal:
        launch(*REFUSED[sentence](*good))
    assert str(refusal.value) == sentence.replace("DEVICE", str(batch.device))


@pytest.mark.parametrize("bind_launches", [False, True])
def test_an_impl_answers_alike_bound_or_not(bind_launches: bool, device: str) -> None:
    world = Engine(CONFIG, device, max_blocks=10, num_pages=48)
    step = [(world.start(50), 1), (world.start(70), 1), (world.start(20), 6)]
    world.grow(step)
    out = torch.empty(2, 9, 3, dtype=torch.int32, device=device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, out, bind_launches=bind_launches)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, device, max_num_reqs=4, max_model_len=160)
    metadata = builder.build(0, world.common(step))
    for _ in range(3):
        index_query = world.queries(8)
        impl.forward(index_query, world.index_k_pages, metadata)
        assert torch.equal(out[:, :8], index_topk(world.batch(step, index_query)))
    assert metadata.decode_launch is not None
    assert metadata.prefill_msa is not None
    assert metadata.decode_launch.num_bound == metadata.prefill_msa.launch.num_bound == int(bind_launches)


def test_steps_of_one_shape_share_their_decode_launch(device: str) -> None:
    world = Engine(CONFIG, device, max_blocks=10, num_pages=48)
    requests = [world.start(50), world.start(70)]
    out = torch.empty(2, 9, 3, dtype=torch.int32, device=device)
    impl = MiniMaxM3IndexerMSAImpl(CONFIG, out)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(
        CONFIG, device, max_num_reqs=4, max_model_len=160, num_speculative_tokens=1
    )
    launches = []
    for query_len in (1, 2, 1, 2):
        step = [(request, query_len) for request in requests]
        world.grow(step)
        metadata, index_query = builder.build(0, world.common(step)), world.queries(8)
        impl.forward(index_query, world.index_k_pages, metadata)
        assert torch.equal(out[:, : 2 * query_len], index_topk(world.batch(step, index_query)))
        assert metadata.decode_launch is not None
        assert metadata.decode_launch.num_bound == 1
        launches.append(metadata.decode_launch)
    assert launches[:2] == launches[2:]


def test_steps_of_one_kind_share_checks_and_kernels(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[PagedBatch] = []
    monkeypatch.setattr(bound, "check_plan", lambda plan, batch: checks.append(batch))
    world = Engine(config(device), device, max_blocks=10, num_pages=48)
    requests = [world.start(50), world.start(70)]
    heads, k = world.config.num_index_heads, world.config.topk_blocks
    out = torch.full((heads, 90, k), UNTOUCHED, dtype=torch.int32, device=device)
    impl = MiniMaxM3IndexerMSAImpl(world.config, out)
    builder = MiniMaxM3IndexerMSAMetadataBuilder(
        world.config, device, max_num_reqs=4, max_model_len=10 * world.config.block_size
    )
    for step in ([(0, 33)], [(0, 20), (1, 13)], [(1, 1), (0, 21)], [(0, 34)]):
        chunks = [(requests[number], query_len) for number, query_len in step]
        world.grow(chunks)
        num_tokens = sum(query_len for _, query_len in step)
        index_query = world.queries(num_tokens)
        impl.forward(index_query, world.index_k_pages, builder.build(0, world.common(chunks)))
        assert torch.equal(out[:, :num_tokens], index_topk(world.batch(chunks, index_query)))
        assert (out[:, num_tokens:] == UNTOUCHED).all()
        out.fill_(UNTOUCHED)
    assert len(checks) == 1
    with pytest.raises(ValueError, match=r"^index_query must have >= 34 rows; got 33$"):
        impl.forward(world.queries(33), world.index_k_pages, builder.build(0, world.common(chunks)))


def test_a_launch_keeps_few_bindings(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "MAX_BINDINGS", 2)
    batch = batch_of("decode", device)
    launch, heads, k = new_launch("decode", batch), batch.config.num_index_heads, batch.config.topk_blocks
    out = torch.empty(heads, 9, k, dtype=torch.int32, device=device)
    for num_more in range(3):
        launch(batch.index_q.repeat(2 + num_more, 1, 1), batch.index_k_pages, out)
    assert len(launch._bindings) == 1

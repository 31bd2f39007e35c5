"""A captured decode step stays right: a random script of an engine's life, judged after every step.

Requests start, grow, finish and move to other pages; mixed steps run eagerly in between; every
decode step is replayed and compared with the reference and with an eager call. On a GPU the replay
is a CUDA graph. Elsewhere it is a call with the metadata of the capture, whose addresses are all
that a graph would have: what goes stale in a graph goes stale there.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from msa_fast import graph
from msa_fast.attention_metadata import BatchSplit, CommonAttentionMetadata
from msa_fast.indexer_metadata import MiniMaxM3IndexerMetadata
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops.decode import minimax_m3_index_decode
from msa_ref import PAD, IndexerConfig, index_topk
from tests.support.fast_engine import NO_PAGE, Engine, Request

SMALL = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
M3 = IndexerConfig()
MAX_REQS, MAX_CHUNK = 4, 24
Builder = type[MiniMaxM3IndexerMSAMetadataBuilder]


class FrozenCall:
    """A `DecodeGraph` for a machine without a GPU: every replay is the captured call again."""

    def __init__(self, impl, builder, index_query, index_k_pages, num_reqs, decode_query_len=None) -> None:
        self.metadata = builder.build_for_cudagraph_capture(builder.longest_decode_batch(num_reqs, decode_query_len))
        # A graph keeps addresses alone, and knows nothing of builds.
        frozen = replace(self.metadata, builds=None)
        self.call = lambda: impl.forward(index_query, index_k_pages, frozen)

    def replay(self, metadata: MiniMaxM3IndexerMetadata) -> torch.Tensor:
        graph.check_replay(self.metadata, metadata)
        topk_idx, _ = self.call()
        return topk_idx[:, : metadata.num_decode_tokens]


class Script:
    """One engine's life. A disagreement raises AssertionError."""

    def __init__(
        self,
        config: IndexerConfig,
        device: str,
        max_blocks: int,
        builder_cls: Builder,
        query_len: int,
        seed: int,
        dead_entry: int = NO_PAGE,
    ) -> None:
        self.query_len = query_len
        num_pages = (MAX_REQS + 1) * max_blocks
        self.engine = Engine(config, device, max_blocks, num_pages, seed, dead_entry=dead_entry)
        self.rng = self.engine.rng
        max_tokens = MAX_REQS * query_len + 2 * MAX_CHUNK
        self.index_query = self.engine.queries(max_tokens)
        shape = (max_tokens, config.num_index_heads, config.topk_blocks)
        self.buffer = torch.zeros(shape, dtype=torch.int32, device=device).transpose(0, 1)
        self.builder = builder_cls(
            config,
            device,
            max_num_reqs=MAX_REQS,
            max_model_len=max_blocks * config.block_size,
            num_speculative_tokens=query_len - 1,
        )
        self.impl = MiniMaxM3IndexerMSAImpl(config, self.buffer)
        graph_cls = graph.DecodeGraph if device == "cuda" else FrozenCall
        self.graph = graph_cls(
            self.impl, self.builder, self.index_query, self.engine.index_k_pages, MAX_REQS, query_len
        )
        self.num_replays = self.num_eager = 0

    def run(self, num_steps: int, eager_every: int = 1) -> None:
        """Random steps up to the first disagreement; every so many, the replay is compared with an eager call too."""
        for step in range(num_steps):
            self.step(compare_eager=step % eager_every == 0)

    def step(self, compare_eager: bool) -> None:
        self._change()
        requests = [request for request in self.engine.requests if self.engine.room(request) >= self.query_len]
        self.rng.shuffle(requests)
        decodes = [(request, self.query_len) for request in requests[: self.rng.randint(1, MAX_REQS)]]
        if self.rng.random() < 0.25:
            self._mixed(decodes[:-1])
        elif decodes:
            self._replay(decodes, compare_eager)

    def _change(self) -> None:
        """Start, finish or move something, often nothing."""
        engine, rng = self.engine, self.rng
        most = engine.max_blocks * engine.config.block_size
        if len(engine.requests) < MAX_REQS and (not engine.requests or rng.random() < 0.4):
            engine.start(rng.randint(0, most))
        elif rng.random() < 0.15:
            engine.finish(rng.choice(engine.requests))
        movable = [request for request in engine.requests if request.pages]
        if movable and engine.free_pages and rng.random() < 0.4:
            request = rng.choice(movable)
            engine.move(request, rng.randrange(len(request.pages)))

    def _new_queries(self, num_tokens: int) -> None:
        self.index_query[:num_tokens] = self.engine.queries(num_tokens)

    def _replay(self, step: list[tuple[Request, int]], compare_eager: bool) -> None:
        self.engine.grow(step)
        num_tokens = len(step) * self.query_len
        self._new_queries(num_tokens)
        batch = self.engine.batch(step, self.index_query)
        answer = self.graph.replay(self.builder.build(0, self.engine.common(step)))
        assert answer.data_ptr() == self.buffer.data_ptr()
        assert torch.equal(answer, index_topk(batch)), f"replay {self.num_replays} differs from the reference"
        padding = self.buffer[:, num_tokens : MAX_REQS * self.query_len]
        assert (padding == PAD).all(), f"replay {self.num_replays}: rows behind the live ones hold block ids"
        if compare_eager:
            eager = minimax_m3_index_decode(batch, self.query_len)
            assert torch.equal(answer, eager), f"replay {self.num_replays} differs from an eager call"
        self.num_replays += 1

    def _mixed(self, decodes: list[tuple[Request, int]]) -> None:
        """An eager step between replays: some decodes, then chunks of other lengths."""
        taken = [request for request, _ in decodes]
        others = [request for request in self.engine.requests if request not in taken]
        chunks = [(request, min(self.engine.room(request), self.rng.randint(1, MAX_CHUNK))) for request in others]
        step = decodes + [(request, chunk) for request, chunk in chunks if chunk][:2]
        self.engine.grow(step)
        self._new_queries(sum(query_len for _, query_len in step))
        batch = self.engine.batch(step, self.index_query)
        self.impl.forward(self.index_query, self.engine.index_k_pages, self.builder.build(0, self.engine.common(step)))
        assert torch.equal(self.buffer[:, : batch.total_q], index_topk(batch)), f"eager step {self.num_eager} differs"
        self.num_eager += 1


class KeepsLengthsOfTheDeparted(MiniMaxM3IndexerMSAMetadataBuilder):
    """D17: rows behind the live ones keep the requests of an earlier, larger step."""

    def _fill(self, common: CommonAttentionMetadata, split: BatchSplit) -> None:
        departed = self._seq_lens[split.num_decodes :].clone()
        super()._fill(common, split)
        self._seq_lens[split.num_decodes :] = departed


class KeepsItsFirstLengths(MiniMaxM3IndexerMSAMetadataBuilder):
    """D19: lengths of the capture serve every later step."""

    def _fill(self, common: CommonAttentionMetadata, split: BatchSplit) -> None:
        first = self._seq_lens.clone()
        super()._fill(common, split)
        if first.any():
            self._seq_lens.copy_(first)


class KeepsItsFirstPages(MiniMaxM3IndexerMSAMetadataBuilder):
    """A block table that is copied for a request's new blocks alone: moved pages are missed."""

    def _fill(self, common: CommonAttentionMetadata, split: BatchSplit) -> None:
        first = self._block_table.clone()
        super()._fill(common, split)
        self._block_table.copy_(torch.where(first != 0, first, self._block_table))


class MovesItsBuffers(MiniMaxM3IndexerMSAMetadataBuilder):
    """D21: new buffers at every build; a graph goes on reading the old ones, and its check is off."""

    def _fill(self, common: CommonAttentionMetadata, split: BatchSplit) -> None:
        if self._seq_lens.any():
            self._seq_lens, self._block_table = self._seq_lens.clone(), self._block_table.clone()
            self._decodes.clear()
        super()._fill(common, split)


CANARIES = [KeepsLengthsOfTheDeparted, KeepsItsFirstLengths, KeepsItsFirstPages, MovesItsBuffers]


@pytest.mark.parametrize("query_len", [1, 3])
def test_a_script_of_replays_never_disagrees(query_len: int, device: str) -> None:
    script = Script(SMALL, device, 9, MiniMaxM3IndexerMSAMetadataBuilder, query_len, seed=query_len)
    script.run(30, eager_every=5)
    assert script.num_replays > 12
    assert script.num_eager > 3


@pytest.mark.gpu
@pytest.mark.parametrize("query_len", [1, 4])
def test_a_thousand_steps_never_disagree(query_len: int) -> None:
    script = Script(M3, "cuda", 48, MiniMaxM3IndexerMSAMetadataBuilder, query_len, seed=query_len)
    script.run(1000)
    assert script.num_replays > 500
    assert script.num_eager > 100


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.__name__)
def test_a_stale_buffer_is_caught(canary: Builder, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if canary is MovesItsBuffers:
        # What refuses another builder's metadata would refuse this one's too, before the script sees it.
        monkeypatch.setattr(graph, "check_replay", lambda captured, metadata: None)
    # Stale lengths reach behind a request's blocks: a page that exists stands there, lest the process crash.
    script = Script(SMALL, device, 9, canary, query_len=1, seed=1, dead_entry=0)
    with pytest.raises(AssertionError, match=r"differs|rows behind the live ones"):
        script.run(60, eager_every=60)


def capture(device: str, num_reqs: int = 2, query_len: int = 2) -> tuple[Script, Callable]:
    """A script's parts with a graph for `num_reqs`, and what builds a step of so many requests."""
    script = Script(SMALL, device, 9, MiniMaxM3IndexerMSAMetadataBuilder, query_len, seed=0)
    graph_cls = type(script.graph)
    script.graph = graph_cls(
        script.impl, script.builder, script.index_query, script.engine.index_k_pages, num_reqs, query_len
    )

    def build(*query_lens: int) -> MiniMaxM3IndexerMetadata:
        step = [(script.engine.start(20), query_len) for query_len in query_lens]
        script.engine.grow(step)
        return script.builder.build(0, script.engine.common(step))

    return script, build


def test_more_requests_than_captured_are_refused(device: str) -> None:
    script, build = capture(device)
    with pytest.raises(ValueError, match="num_decodes must be <= the 2 captured; got 3"):
        script.graph.replay(build(2, 2, 2))


def test_another_query_length_than_captured_is_refused(device: str) -> None:
    script, build = capture(device)
    with pytest.raises(ValueError, match="decode_query_len must be the 2 captured; got 1"):
        script.graph.replay(build(1, 1))


def test_a_mixed_step_is_not_replayed(device: str) -> None:
    script, build = capture(device)
    with pytest.raises(ValueError, match="num_prefills must be 0 in a captured decode step; got 1"):
        script.graph.replay(build(2, 9))


def test_the_metadata_of_another_builder_is_not_replayed(device: str) -> None:
    script, _ = capture(device)
    _, build = capture(device)
    with pytest.raises(ValueError, match="metadata must come from the builder that the graph was captured with"):
        script.graph.replay(build(2))


@pytest.mark.parametrize("before", [(2, 2), (1, 1), (9,)], ids=str)
def test_a_step_without_requests_replays_as_padding(before: tuple[int, ...], device: str) -> None:
    script, build = capture(device)
    build(*before)
    assert script.graph.replay(build()).shape == (2, 0, 3)
    assert (script.buffer[:, :4] == PAD).all()


def test_a_graph_is_refused_without_a_gpu() -> None:
    script = (
        Script(SMALL, "cpu", 9, MiniMaxM3IndexerMSAMetadataBuilder, 1, seed=0)
        if not torch.cuda.is_available()
        else None
    )
    if script is None:
        pytest.skip("needs a machine without a CUDA device")
    with pytest.raises(ValueError, match="index_query must be on a GPU to be captured; got cpu"):
        graph.DecodeGraph(script.impl, script.builder, script.index_query, script.engine.index_k_pages, 1)


@pytest.mark.gpu
def test_graphs_of_two_micro_batches_replay_at_once() -> None:
    """Two graphs, two slots of one buffer, two streams: neither disturbs the other."""
    max_blocks, slots = 64, []
    buffer = torch.zeros(2, 8, 4, 16, dtype=torch.int32, device="cuda").transpose(1, 2)
    impl = MiniMaxM3IndexerMSAImpl(M3, buffer)
    for micro_batch in range(2):
        world = Engine(M3, "cuda", max_blocks, num_pages=8 * max_blocks, seed=micro_batch)
        builder = MiniMaxM3IndexerMSAMetadataBuilder(
            M3, "cuda", max_num_reqs=8, max_model_len=max_blocks * 128, micro_batch=micro_batch
        )
        index_query = world.queries(8)
        decode_graph = graph.DecodeGraph(impl, builder, index_query, world.index_k_pages, num_reqs=8)
        step = [(world.start(world.rng.randint(0, max_blocks * 128 - 1)), 1) for _ in range(8)]
        world.grow(step)
        metadata = builder.build(0, world.common(step))
        expected = index_topk(world.batch(step, index_query))
        slots.append((decode_graph, metadata, expected, torch.cuda.Stream()))
    torch.cuda.synchronize()
    for _ in range(200):
        for slot, (decode_graph, metadata, _, stream) in enumerate(slots):
            with torch.cuda.stream(stream):
                buffer[slot].zero_()
                decode_graph.replay(metadata)
        for slot, (_, _, expected, stream) in enumerate(slots):
            with torch.cuda.stream(stream):
                assert torch.equal(buffer[slot], expected)

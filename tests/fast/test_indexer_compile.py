"""Lengths change at every step and metadata is sliced at any offset; kernels are compiled no more for it.

A configuration is what a launch passes by keyword: constexprs and launch options. What Triton adds
to it, the alignment of pointers and the divisibility of integers, must never tell two launches of
one configuration apart.
"""

import random
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl, MiniMaxM3IndexerMSAMetadataBuilder
from msa_fast.ops import decode_score, prefill_score, topk
from msa_fast.ops.hopper import decode as hopper_decode
from msa_fast.ops.hopper import decode_e4m3 as hopper_decode_e4m3
from msa_fast.ops.hopper import score as hopper_score
from msa_fast.ops.hopper import score_e4m3 as hopper_score_e4m3
from msa_fast.ops.hopper import score_wide as hopper_score_wide
from msa_fast.ops.nvidia import warp_topk
from msa_ref import IndexerConfig
from tests.support.fast_engine import Engine

KERNELS = {
    "prefill score": prefill_score._score_kernel,
    "decode score": decode_score._decode_score_kernel,
    "top-k": topk._topk_kernel,
}
GPU_KERNELS = KERNELS | {
    "prefill score on sm_90": hopper_score._score_sm90_kernel,
    "prefill score of wide tiles on sm_90": hopper_score_wide._score_wide_sm90_kernel,
    "prefill score of e4m3 on sm_90": hopper_score_e4m3._score_e4m3_sm90_kernel,
    "decode score on sm_90": hopper_decode._decode_score_sm90_kernel,
    "decode score of e4m3 on sm_90": hopper_decode_e4m3._decode_score_e4m3_sm90_kernel,
    "top-k on sm_90": warp_topk._topk_warp_kernel,
}
NUM_DECODES = (0, 1, 9, 16)
CHUNKS = (1, 16, 37, 64)
MAX_REQS = max(NUM_DECODES) + 2
SMALL = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
OPTIONS = ("do_not_specialize", "do_not_specialize_on_alignment")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the compilations themselves are counted")


def unaligned(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """The same values `offset` elements behind an aligned address."""
    room = torch.empty(offset + tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    view = room[offset:].view(tensor.shape)
    return view.copy_(tensor)


def run_steps(config: IndexerConfig, device: str, num_steps: int, max_blocks: int) -> None:
    """Mixed and one-sided steps with drafts, all lengths and offsets at random."""
    rng = random.Random(0)
    engine = Engine(config, device, max_blocks, num_pages=MAX_REQS * max_blocks)
    impl = MiniMaxM3IndexerMSAImpl(
        config,
        torch.empty(config.num_index_heads, 512, config.topk_blocks, dtype=torch.int32, device=device),
    )
    builder = MiniMaxM3IndexerMSAMetadataBuilder(
        config, device, max_num_reqs=MAX_REQS, max_model_len=max_blocks * config.block_size, num_speculative_tokens=2
    )
    index_query = engine.queries(512)
    for _ in range(num_steps):
        longest = max_blocks * config.block_size - 70
        lens = [(3, rng.randint(0, longest)) for _ in range(rng.choice(NUM_DECODES))]
        lens += [(rng.choice(CHUNKS), rng.randint(0, longest)) for _ in range(rng.randint(0, 2))]
        step = [(engine.start(context_len), query_len) for query_len, context_len in lens]
        engine.grow(step)
        exact = vars(engine.common(step))
        for name in ("query_start_loc", "seq_lens", "block_table_tensor"):
            exact[name] = unaligned(exact[name], rng.randint(0, 7))
        impl.forward(index_query, engine.index_k_pages, builder.build(0, CommonAttentionMetadata(**exact)))
        for request, _ in step:
            engine.finish(request)


def record_launches(
    monkeypatch: pytest.MonkeyPatch, note: Callable[[str, tuple, dict], None], kernels: dict[str, JITFunction] = KERNELS
) -> None:
    """Call `note(kernel name, args, keyword args)` before every launch."""

    def recorded(name: str, run: Callable) -> Callable:
        def noted(*args, grid, warmup, **kwargs):
            note(name, args, dict(kwargs))
            return run(*args, grid=grid, warmup=warmup, **kwargs)

        return noted

    for name, kernel in kernels.items():
        monkeypatch.setattr(kernel, "run", recorded(name, kernel.run))


@pytest.mark.gpu
def test_a_hundred_steps_compile_each_configuration_once(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: dict[str, set[str]] = defaultdict(set)
    record_launches(
        monkeypatch, lambda name, args, kwargs: launched[name].add(str(sorted(kwargs.items()))), GPU_KERNELS
    )
    for kernel in GPU_KERNELS.values():
        kernel.device_caches.clear()
    run_steps(IndexerConfig(), "cuda", 100, max_blocks=40)
    for stage in ("prefill score", "decode score", "top-k"):
        assert any(name.startswith(stage) for name in launched), stage
    for name, configurations in launched.items():
        compiled = GPU_KERNELS[name].device_caches[torch.cuda.current_device()][0]
        assert len(compiled) == len(configurations), name


def cache_keys(monkeypatch: pytest.MonkeyPatch, spared: tuple[str, ...]) -> dict[tuple[str, str], set[str]]:
    """Triton's cache keys for an H200, by kernel and configuration, of what the interpreter launches.

    spared: which of the kernels' own options against specialisation to honour.
    """
    backend = make_backend(GPUTarget("cuda", 90, 32))
    binders = {}
    for name, kernel in KERNELS.items():
        compilable = JITFunction(kernel.fn, **{option: kernel.kwargs[option] for option in spared})
        binders[name] = create_function_from_signature(compilable.signature, compilable.params, backend)
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)

    def note(name: str, args: tuple, kwargs: dict) -> None:
        _, specialization, _ = binders[name](*args, **kwargs)
        keys[name, str(sorted(kwargs.items()))].add(str(specialization))

    record_launches(monkeypatch, note)
    run_steps(SMALL, "cpu", 8, max_blocks=6)
    assert {name for name, _ in keys} == set(KERNELS)
    return keys


@no_gpu
def test_no_two_launches_of_a_configuration_have_different_cache_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = cache_keys(monkeypatch, OPTIONS)
    assert {name: len(found) for name, found in keys.items() if len(found) > 1} == {}


@no_gpu
@pytest.mark.parametrize("forgotten", OPTIONS)
def test_a_kernel_that_specialises_on_what_changes_is_caught(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = cache_keys(monkeypatch, tuple(option for option in OPTIONS if option != forgotten))
    assert max(len(found) for found in keys.values()) > 1

"""Promises of the suite's own classes about what an engine makes before its first step, and gives to each layer."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.engine import EngineSetup
from fuzz.targets.layers import like
from fuzz.targets.own_promises import require_refusal
from msa_ref import PAD
from msa_ref.formats import ELEMENTS

CACHE_FORMATS = {
    "auto": "bfloat16", "bf16": "bfloat16", "fp8": "float8_e4m3fn", "fp8_e4m3": "float8_e4m3fn", "nvfp4": "nvfp4",
}  # fmt: skip
"""Name by which an engine says how its cache keeps index keys -> their format."""
UNWRITTEN = -7
"""Content of a buffer before its layer."""


def hold_to_cache_formats(backend: Any) -> None:
    """Hold what an engine is told to allocate for keys to the formats of keys.

    Raises:
        BrokenLaw: if a cache's shape or dtype is another.
    """
    for said, name in CACHE_FORMATS.items():
        keys = ELEMENTS[name]
        got = backend.get_kv_cache_shape(5, 64, 1, 128, said), backend.get_kv_cache_dtype(said)
        right = (5, 64, keys.row_len(128)), keys.dtype
        if got != right:
            raise BrokenLaw("Exact", f"a cache of {said} keys is said to be {got}, not {right}")


def offer_missing_scorer(backend: Any, setup: EngineSetup) -> None:
    """Choose a prefill scorer that is not there, which must be refused: it is never replaced."""
    is_sm100 = setup.device.type == "cuda" and torch.cuda.get_device_capability(setup.device)[0] == 10
    if find_spec("fmha_sm100") is None or not is_sm100:
        buffer = like(setup.topk_indices_buffers[0])
        choose = partial(backend.get_impl_cls(), setup.config, buffer, "fmha_sm100")
        require_refusal("prefill_scorer can be 'fmha_sm100' only ", "a scorer that is not there was chosen", choose)


def offer_idle_step(graph: Any, builder: Any, from_lens: Callable[..., Any], num_reqs: int) -> None:
    """Replay a captured step of decodes for a step without a live request, as an idle rank of an engine has.

    Raises:
        BrokenLaw: if a captured row is anything but PAD then.
    """
    table = torch.zeros(num_reqs, builder.max_blocks, dtype=torch.int32, device=builder.device)
    graph.replay(builder.build(0, from_lens([0] * num_reqs, [0] * num_reqs, table)))
    if not bool((graph.topk_idx == PAD).all()):
        raise BrokenLaw("WritesAll", "a captured row is not PAD after a step without a live request")


def offer_exact_buffer(
    backend: Any, setup: EngineSetup, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
) -> None:
    """Give a layer a buffer of just the rows of a step's requests, though the step's tokens are padded to more."""
    own, num_rows = setup.topk_indices_buffers[0], metadata.num_decode_tokens + metadata.num_prefill_tokens
    if own.ndim == 3 and 0 < num_rows < metadata.num_actual_tokens:
        layer = backend.get_impl_cls()(setup.config, own.new_empty(own.shape[0], num_rows, own.shape[2]))
        try:
            layer.forward(index_query, index_k_pages, metadata)
        except ValueError as refusal:
            what = f"a buffer of {num_rows} rows was refused for as many tokens, padded to {metadata.num_actual_tokens}"
            raise BrokenLaw("Runs", f"{what}: {refusal}") from None


def offer_short_buffer(
    backend: Any, setup: EngineSetup, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any
) -> None:
    """Give a layer a buffer of one row too few for a step, which must be refused before any row is written."""
    num_rows = metadata.num_decode_tokens + metadata.num_prefill_tokens - 1
    own = setup.topk_indices_buffers[0]
    if own.ndim != 3 or num_rows < 1:
        return
    buffer = torch.full((own.shape[0], num_rows, own.shape[2]), UNWRITTEN, dtype=own.dtype, device=own.device)
    layer = backend.get_impl_cls()(setup.config, buffer)
    take = partial(layer.forward, index_query, index_k_pages, metadata)
    rules = "topk_indices_buffer must ", "out must "
    require_refusal(rules, f"a buffer of {num_rows} rows was taken for {num_rows + 1}", take)
    if not bool((buffer == UNWRITTEN).all()):
        raise BrokenLaw("Refuses", f"a buffer of {num_rows} rows was refused for {num_rows + 1} after it was written")

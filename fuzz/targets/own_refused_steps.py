"""Bad arguments for the suite's own engine classes: a step's description, the builder, the impl, a captured step."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from fuzz.targets.own_offers import BAD_CONFIGS, CONFIG, NUM_TOKENS, QUERY_LENS, SEQ_LENS, Bad, Offer

COUNTS = "num_reqs", "num_actual_tokens", "max_query_len", "max_seq_len"
ON_DEVICE = "query_start_loc", "seq_lens", "block_table_tensor", "slot_mapping"
ON_HOST = "query_start_loc_cpu", "seq_lens_cpu"
"""Fields of an engine's description of a step."""


def offers_to_classes(package: str, device: torch.device, table: torch.Tensor) -> Iterator[Offer]:
    """An engine's description of a step, the builder, the impl, and a captured step."""
    metadata_class: Any = importlib.import_module(f"{package}.attention_metadata").CommonAttentionMetadata
    backend: Any = importlib.import_module(f"{package}.indexer_msa").MiniMaxM3IndexerMSABackend
    lens = {"query_lens": QUERY_LENS, "seq_lens": SEQ_LENS, "block_table_tensor": table}
    bad: list[Bad] = [
        ("query_lens must ", {"query_lens": [3, 2.0]}),
        ("seq_lens must ", {"seq_lens": [40, -1]}),
        ("block_table_tensor must be a tensor", {"block_table_tensor": table.tolist()}),
        ("block_table_tensor must be [", {"block_table_tensor": table[0]}),
        ("block_table_tensor must be int32", {"block_table_tensor": table.long()}),
    ]
    yield Offer("CommonAttentionMetadata.from_lens", metadata_class.from_lens, lens, bad)
    step = metadata_class.from_lens(**lens)
    falling = step.query_start_loc_cpu.new_tensor([0, NUM_TOKENS + 1, NUM_TOKENS])
    bad = [
        *[(f"{name} must be an int", {name: wrong}) for name in COUNTS for wrong in (-1, 1.5)],
        *[offer for name in (*ON_DEVICE, *ON_HOST) for offer in _bad_tensors(name, getattr(step, name))],
        *[(f"{name} must be int32", {name: getattr(step, name).long()}) for name in ON_DEVICE[:3]],
        ("slot_mapping must be int64", {"slot_mapping": step.slot_mapping.int()}),
        *[(f"{name} must be on the host", {name: getattr(step, name).to("meta")}) for name in ON_HOST],
        *[
            ("query_start_loc_cpu must start ", {"query_start_loc_cpu": starts})
            for starts in (falling, falling.flip(0))
        ],
        ("num_actual_tokens must be >= ", {"num_actual_tokens": NUM_TOKENS - 1}),
        ("seq_lens_cpu must be a tensor", {"seq_lens_cpu": None}),
        ("seq_lens_cpu must be >= 0", {"seq_lens_cpu": -step.seq_lens_cpu}),
        ("max_seq_len must be >= ", {"max_seq_len": 69}),
    ]
    yield Offer("CommonAttentionMetadata", partial(replace, step), {}, bad)
    builder_class, limits = backend.get_builder_cls(), {"max_num_reqs": 2, "max_model_len": 80}
    drafts = {"num_speculative_tokens": 1}
    bad = [
        *BAD_CONFIGS,
        ("device must ", {"device": 0}),
        ("max_num_reqs must ", {"max_num_reqs": 0}),
        ("max_model_len must ", {"max_model_len": 0}),
        ("micro_batch must ", {"micro_batch": -1}),
        *[("num_speculative_tokens must ", {"num_speculative_tokens": count}) for count in (-1, 8)],
        ("indexer_kv_dtype must ", {"indexer_kv_dtype": "fp4"}),
    ]
    yield Offer("a builder", builder_class, {"config": CONFIG, "device": device, **limits, **drafts}, bad)
    shape = {"num_blocks": 5, "block_size": 16, "num_kv_heads": 1, "head_size": 16}
    bad = [("num_kv_heads must ", {"num_kv_heads": 2}), ("index_head_dim must ", {"head_size": 48})]
    yield Offer("get_kv_cache_shape", backend.get_kv_cache_shape, shape, bad)
    builder = builder_class(CONFIG, device, **limits, **drafts)
    fields, three = SimpleNamespace(**vars(step)), metadata_class.from_lens([1] * 3, [1] * 3, table[[0, 1, 1]])
    bad = [
        ("common_attn_metadata must have slot_mapping", {"common_attn_metadata": _without(fields, "slot_mapping")}),
        ("common_attn_metadata must have seq_lens_cpu or", {"common_attn_metadata": _without(fields, "seq_lens_cpu")}),
        *[
            (rule, {"common_attn_metadata": replace(step, **changes)})
            for rule, changes in (
                ("block_table_tensor must be on ", {"block_table_tensor": table.to("meta")}),
                ("block_table_tensor must have >= 5 columns", {"block_table_tensor": table[:, :4]}),
                ("max_seq_len must be <= 80", {"max_seq_len": 81}),
            )
        ],
        ("num_reqs must be <= 2", {"common_attn_metadata": three}),
    ]
    yield Offer("a build", builder.build, {"common_prefix_len": 0, "common_attn_metadata": step}, bad)
    bad = [
        *[("num_reqs must ", {"num_reqs": count}) for count in (0, 3)],
        *[("decode_query_len must ", {"decode_query_len": count}) for count in (0, 3)],
    ]
    yield Offer("longest_decode_batch", builder.longest_decode_batch, {"num_reqs": 2, "decode_query_len": 2}, bad)
    yield from _of_replays(package, builder, partial(metadata_class.from_lens, block_table_tensor=table))
    buffer = torch.zeros(2, 8, 2, dtype=torch.int32, device=device)
    name = "topk_indices_buffer"
    bad = [
        (f"{name} must not overlap ", {name: buffer[:1].expand(2, -1, -1)}),
        *BAD_CONFIGS[:1],
        (f"{name} must be a tensor", {name: buffer.tolist()}),
        (f"{name} must be int32", {name: buffer.long()}),
        *[(f"{name} must be [", {name: wrong}) for wrong in (buffer[0], buffer[:1], buffer[..., :1])],
        ("num_splits must ", {"num_splits": 0}),
        ("product must ", {"product": "fp4"}),
        ("product can be 'fp8' only ", {"product": "fp8", "prefill_scorer": print}),
        ("prefill_scorer must ", {"prefill_scorer": "cuda"}),
    ]
    impl_class = backend.get_impl_cls()
    yield Offer("an impl", impl_class, {"config": CONFIG, name: buffer}, bad)
    old, newest = (builder.build(0, step) for _ in range(2))
    beyond = builder_class(CONFIG, device, **limits, micro_batch=1).build(0, step)
    bad = [
        ("attn_metadata must be a ", {"attn_metadata": step}),
        ("attn_metadata must be of its builder's newest build", {"attn_metadata": old}),
        ("micro_batch must ", {"attn_metadata": beyond}),
    ]
    none = {"index_query": None, "index_k_pages": None, "attn_metadata": None}
    yield Offer("forward", impl_class(CONFIG, buffer).forward, none, bad)
    bad = [(f"{name} must have ", {"attn_metadata": newest})]
    yield Offer("forward into few rows", impl_class(CONFIG, buffer[:, :4]).forward, none, bad)


def _of_replays(package: str, builder: Any, from_lens: Callable[..., Any]) -> Iterator[Offer]:
    """A captured step of one decode of two tokens, and replays for other steps."""
    check, capturable = importlib.import_module(f"{package}.graph").check_replay, builder.build_for_cudagraph_capture
    bad: list[Bad] = [("common_attn_metadata must ", {"common_attn_metadata": from_lens(QUERY_LENS, SEQ_LENS)})]
    longest = builder.longest_decode_batch(1, 2)
    yield Offer("a build to capture", capturable, {"common_attn_metadata": longest}, bad)
    captured = capturable(longest)
    other = type(builder)(CONFIG, builder.device, max_num_reqs=2, max_model_len=80, num_speculative_tokens=1)

    def replay(query_lens: list[int], builder: Any = builder, is_old: bool = False) -> None:
        step = from_lens([*query_lens, *[0] * (2 - len(query_lens))], SEQ_LENS)
        metadata = builder.build(0, step)
        if is_old:
            builder.build(0, step)
        check(captured, metadata)

    bad = [
        ("metadata must come from ", {"builder": other}),
        ("attn_metadata must be of its builder's newest build", {"is_old": True}),
        ("num_prefills must ", {"query_lens": [3]}),
        ("num_prefills must ", {"query_lens": [2, 3]}),
        ("num_decodes must ", {"query_lens": [2, 2]}),
        ("decode_query_len must ", {"query_lens": [1]}),
    ]
    yield Offer("check_replay", replay, {"query_lens": [2]}, bad)
    queries = torch.ones(2, 2, 16, dtype=torch.bfloat16)

    def capture(index_query: Any) -> None:
        if index_query is not None:
            importlib.import_module(f"{package}.graph").DecodeGraph(None, builder, index_query, queries, 1)

    bad = [
        ("index_query must be a tensor", {"index_query": queries.tolist()}),
        ("index_query must be on a GPU", {"index_query": queries.cpu()}),
    ]
    yield Offer("DecodeGraph", capture, {"index_query": None}, bad)


def _bad_tensors(name: str, tensor: torch.Tensor) -> list[Bad]:
    """A field that is no tensor, of another dtype, with an axis more, or with an entry less."""
    dtype = "int64" if tensor.dtype == torch.int64 and name in ON_DEVICE else "int32"
    return [
        (f"{name} must be a tensor", {name: tensor.tolist()}),
        (f"{name} must be {dtype}", {name: tensor.float()}),
        (f"{name} must be [", {name: tensor[None]}),
        (f"{name} must have ", {name: tensor[:-1]}),
    ]


def _without(fields: SimpleNamespace, name: str) -> SimpleNamespace:
    return SimpleNamespace(**{key: value for key, value in vars(fields).items() if key != name})

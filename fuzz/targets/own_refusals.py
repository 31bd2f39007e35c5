"""The promise of the suite's own functions and classes to refuse bad arguments, one at a time beside good ones."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from fuzz.targets.own_offers import BAD_CONFIGS, CONFIG, NUM_BLOCKS, NUM_TOKENS, QUERY_LENS, SEQ_LENS, Bad, Offer
from fuzz.targets.own_promises import require_refusal
from fuzz.targets.own_refused_steps import offers_to_classes
from msa_ref import PagedBatch


@cache
def hold_to_refusals(package: str, device: torch.device) -> None:
    """Offer bad arguments to a package's functions and classes: once in a process, on the interpreter alone.

    They are refused by the host, and a GPU would compile kernels for the good calls.

    Raises:
        BrokenLaw: if they are taken.
        ValueError: a refusal by another rule.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    for offer in _offers(package, device):
        offer.call(**offer.good)
        for rule, changes in offer.bad:
            shown = ", ".join(f"{name} = {_shown(value)}" for name, value in changes.items())
            require_refusal(rule, f"{offer.what} took {shown}", partial(offer.call, **offer.good | changes))


def _shown(value: object) -> str:
    is_tensor = isinstance(value, torch.Tensor)
    return f"{value.dtype} {list(value.shape)} on {value.device}" if is_tensor else repr(value)  # type: ignore[attr-defined]


def _offers(package: str, device: torch.device) -> Iterator[Offer]:
    numbers = partial(torch.tensor, dtype=torch.int32, device=device)
    table = torch.arange(2 * NUM_BLOCKS, dtype=torch.int32, device=device).view(2, NUM_BLOCKS)
    yield from _of_plans(package, device, numbers)
    yield from offers_to_classes(package, device, table)
    yield from _of_calls(package, device, numbers, table)


def _of_plans(package: str, device: torch.device, numbers: Callable[..., torch.Tensor]) -> Iterator[Offer]:
    """Plans by the host, of one short chunk and of any batch, and by the device."""
    build = importlib.import_module(package).PrefillPlan.build
    for query_lens, seq_lens in ([QUERY_LENS, SEQ_LENS], [QUERY_LENS[:1], SEQ_LENS[:1]]):
        one_more = [*query_lens[1:], 2**24 + 1]
        bad: list[Bad] = [
            *BAD_CONFIGS,
            ("query_lens must be a list of ints", {"query_lens": numbers(query_lens)}),
            ("query_lens must be a list of ints", {"query_lens": [*query_lens[1:], 3.0]}),
            ("query_lens must be >= 0", {"query_lens": [*query_lens[1:], -3]}),
            ("query_lens must have an entry", {"query_lens": [*query_lens, 1]}),
            ("seq_lens must be a list of ints", {"seq_lens": numbers(seq_lens)}),
            ("seq_lens must be a list of ints", {"seq_lens": [*seq_lens[1:], True]}),
            ("seq_lens must be >= 0", {"seq_lens": [*seq_lens[1:], -1]}),
            ("seq_lens must ", {"seq_lens": one_more}),
            ("num_splits must ", {"num_splits": 0}),
            ("workspace_bytes must ", {"workspace_bytes": 0}),
            ("key_dtype must ", {"key_dtype": "fp8"}),
            ("tile_rows must ", {"tile_rows": 64}),
        ]
        good = {"config": CONFIG, "query_lens": query_lens, "seq_lens": seq_lens, "device": device}
        yield Offer("PrefillPlan.build", build, good, bad)
    offsets = numbers([0, 3, 5])
    bad = [
        *BAD_CONFIGS,
        ("seq_lens must be a tensor", {"seq_lens": SEQ_LENS}),
        ("seq_lens must be int32", {"seq_lens": numbers(SEQ_LENS).long()}),
        ("seq_lens must be [", {"seq_lens": numbers([SEQ_LENS])}),
        ("cu_seqlens_q must be int32", {"cu_seqlens_q": offsets.long()}),
        ("cu_seqlens_q must have ", {"cu_seqlens_q": offsets[:2]}),
        ("cu_seqlens_q must be on ", {"cu_seqlens_q": offsets.to("meta")}),
        ("max_total_q must ", {"max_total_q": -1}),
        ("max_row_blocks must ", {"max_row_blocks": -1}),
        ("max_row_blocks must ", {"max_row_blocks": 2**20 + 1}),
        ("num_more must ", {"num_more": 0}),
        ("seq_lens must have ", {"seq_lens": numbers([0] * 5_000), "cu_seqlens_q": numbers([0] * 5_001)}),
        ("workspace_bytes must ", {"workspace_bytes": 1}),
        ("seq_lens must hold ", {"seq_lens": _every(2**31, 2), "cu_seqlens_q": _every(1, 3)}),
        ("cu_seqlens_q must hold ", {"seq_lens": _every(1, 2), "cu_seqlens_q": _every(2**30, 3)}),
    ]
    good = {"config": CONFIG, "seq_lens": numbers(SEQ_LENS), "cu_seqlens_q": offsets}
    on_device = importlib.import_module(f"{package}.ops.device_plan").plan_on_device
    yield Offer("plan_on_device", on_device, good | {"max_total_q": NUM_TOKENS, "max_row_blocks": NUM_BLOCKS}, bad)


def _every(step: int, count: int) -> torch.Tensor:
    """Numbers without memory, `step` elements apart."""
    return torch.empty_strided((count,), (step,), dtype=torch.int32, device="meta")


def _of_calls(
    package: str, device: torch.device, numbers: Callable[..., torch.Tensor], table: torch.Tensor
) -> Iterator[Offer]:
    """The operators and bound launches: batches, plans, outputs, scores and products."""
    kernels: Any = importlib.import_module(package)
    queries = torch.ones(NUM_TOKENS, 2, 16, dtype=torch.bfloat16, device=device)
    pages = torch.ones(2 * NUM_BLOCKS, 16, 16, dtype=torch.bfloat16, device=device)
    metadata = {"block_table": table, "seq_lens": numbers(SEQ_LENS), "cu_seqlens_q": numbers([0, 3, 5])}
    batch = PagedBatch(CONFIG, queries, pages, **metadata)
    build = partial(kernels.PrefillPlan.build, CONFIG)
    plan, out = build(QUERY_LENS, SEQ_LENS, device), torch.zeros(2, NUM_TOKENS, 2, dtype=torch.int32, device=device)
    score = torch.zeros(2, NUM_TOKENS, NUM_BLOCKS, device=device)
    best = score[..., : -(-NUM_BLOCKS // plan.superblock)]
    bad_plans: list[Bad] = [
        ("plan must be a PrefillPlan", {"plan": None}),
        ("plan must be built for the batch's ", {"plan": replace(plan, config=replace(CONFIG, topk_blocks=3))}),
        ("plan must be built for num_reqs", {"plan": build([5], [40], device)}),
        ("plan must be built for num_reqs", {"plan": build([4, 2], SEQ_LENS, device)}),
        ("plan must be on ", {"plan": build(QUERY_LENS, SEQ_LENS, "meta")}),
    ]
    bad_outs: list[Bad] = [
        ("out must be a tensor", {"out": out.tolist()}),
        ("out must be int32", {"out": out.long()}),
        ("out must be on ", {"out": out.to("meta")}),
        *[("out must be [", {"out": wrong}) for wrong in (out[:1], out[:, 1:], out[..., :1])],
        ("out must not overlap ", {"out": out[:1].expand(2, -1, -1)}),
    ]

    def bad_scores(argument: str, name: str, right: torch.Tensor) -> list[Bad]:
        return [
            (f"{name} must be a tensor", {argument: right.tolist()}),
            (f"{name} must be float32", {argument: right.half()}),
            (f"{name} must be on ", {argument: right.to("meta")}),
            (f"{name} must be [", {argument: right[:, 1:]}),
        ]

    bad_bests = bad_scores("superblock_score", "superblock_score", best)
    no_batch: Bad = ("batch must be a PagedBatch", {"batch": None})
    no_product: Bad = ("product must ", {"product": "fp4"})
    no_fp8: Bad = ("product can be 'fp8' only for e4m3", {"product": "fp8"})
    planned, decoded = {"batch": batch, "plan": plan}, {"batch": batch, "decode_query_len": 3}
    bad = [no_batch, no_product, no_fp8, *bad_plans, *bad_outs]
    yield Offer("prefill", kernels.minimax_m3_index_prefill, {**planned, "out": out}, bad)
    bad = [no_batch, no_product, no_fp8, *bad_plans, *bad_scores("out", "score", score), *bad_bests]
    scored = {**planned, "out": score, "superblock_score": best}
    yield Offer("the scorer", kernels.minimax_m3_index_score, scored, bad)
    bad = [no_batch, *bad_plans, *bad_outs, *bad_scores("score", "score", score), *bad_bests]
    selected = {**planned, "score": score, "superblock_score": best, "out": out}
    yield Offer("the selection", kernels.minimax_m3_index_topk, selected, bad)
    bad = [no_batch, *bad_outs, *[("decode_query_len must ", {"decode_query_len": count}) for count in (0, 2, 9)]]
    wide = replace(batch, block_table=table[:, :1].expand(2, 2**20 + 1))
    bad.append(("block_table must ", {"batch": wide}))
    splits: Bad = ("num_splits must ", {"num_splits": 0})
    for name in ("minimax_m3_index_decode", "minimax_m3_index_decode_with_score"):
        yield Offer(name, getattr(kernels, name), {**decoded, "out": out}, [*bad, splits])
    bad += bad_scores("score", "score", score)
    yield Offer(
        "decode's selection", kernels.minimax_m3_index_decode_topk, {**decoded, "score": score, "out": out}, bad
    )
    bound: Any = importlib.import_module(f"{package}.ops.bound")

    def layer(plan: Any, **words: Any) -> None:
        bound.PrefillLaunch(plan, *metadata.values())(**words)

    bad_layers: list[Bad] = [
        ("index_query must be a tensor", {"index_query": queries.tolist()}),
        ("index_query must be [", {"index_query": queries[0]}),
        ("index_query must have ", {"index_query": queries[1:]}),
        ("index_k_pages must be a tensor", {"index_k_pages": pages.tolist()}),
        ("index_k_pages must be bfloat16", {"index_k_pages": pages.long()}),
        *[("out must be ", changes) for _, changes in bad_outs[:-1]],
        ("out must not overlap ", bad_outs[-1][1]),
    ]
    layers = {"index_query": queries, "index_k_pages": pages, "out": out}
    bad = [*bad_layers, no_product, no_fp8, bad_plans[2], bad_plans[4]]
    yield Offer("a bound prefill", layer, {"plan": plan, **layers}, bad)

    def decode_layer(query_len: int = 3, dim: int = 16, **words: Any) -> None:
        launch = bound.DecodeLaunch(replace(CONFIG, index_head_dim=dim), query_len, *metadata.values(), NUM_TOKENS)
        launch(**words)

    wider: dict[str, Any] = {"dim": 48, "index_query": queries.repeat(1, 1, 3), "index_k_pages": pages.repeat(1, 1, 3)}
    bad = [
        *bad_layers,
        no_product,
        no_fp8,
        splits,
        ("index_head_dim must ", wider),
        ("decode_query_len must ", {"query_len": 2}),
    ]
    yield Offer("a bound decode", decode_layer, layers, bad)

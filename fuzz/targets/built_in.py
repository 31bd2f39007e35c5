"""The table of built-in targets: the reference, and the suite's kernels."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.gpu_tables import as_on_a_gpu
from fuzz.targets.layer_memory import as_far_as, memory_of
from fuzz.targets.layers import run_judged, run_others
from fuzz.targets.limits import check_decode, check_decode_topk, check_prefill, check_prefill_device
from fuzz.targets.own_engine import ENGINES
from fuzz.targets.own_plan import plan_of
from fuzz.targets.own_programs import hold_to_even_shares
from fuzz.targets.own_promises import offer_bad_plan
from fuzz.targets.step import step_target
from fuzz.targets.target import Bound, Run, Start, Target
from msa_ref import index_topk
from msa_ref.profile import CONTRACT

STEP = replace(CONTRACT, name="the engine's classes", padded_queries="pad")
"""The contract, and rows behind the last request: PAD, or left as they are, which the harness reads as PAD."""

# Kernels are imported by name when they run: triton reads TRITON_INTERPRET once, when they are first imported.


def _reference(call: Call) -> torch.Tensor:
    return fill(call, index_topk(call.batch))


@as_on_a_gpu
def _prefill(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, batch = importlib.import_module(package), call.batch
    plan = plan_of(kernels, call, has_slabs=True)
    topk_idx: torch.Tensor = kernels.minimax_m3_index_prefill(batch, plan, out=call.out)
    return topk_idx


@as_on_a_gpu
def _prefill_apart(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, batch = importlib.import_module(package), call.batch
    plan = plan_of(kernels, call, has_slabs=False)
    offer_bad_plan(partial(kernels.minimax_m3_index_score, batch), plan)
    best = None
    if call.num_splits is not None:  # where splits are given, the best scores of superblocks are asked for, too
        shape = (batch.total_q, batch.config.num_index_heads, -(-batch.max_blocks // plan.superblock))
        near = torch.empty(shape, dtype=torch.float32, device=batch.device).transpose(0, 1)
        # Contiguous, rows (token, head) are not one stride apart: scorers that want them so may not take it.
        best = near.contiguous() if call.out is None else as_far_as(call.score_out, near)
    score = kernels.minimax_m3_index_score(batch, plan, out=call.score_out, superblock_score=best)
    call.show(score, best, plan.superblock, nan="none")
    topk_idx: torch.Tensor = kernels.minimax_m3_index_topk(score, batch, plan, out=call.out, superblock_score=best)
    return topk_idx


@as_on_a_gpu
def _topk(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, batch = importlib.import_module(package), call.batch
    plan = kernels.PrefillPlan.build(batch.config, call.query_lens, call.seq_len_bounds, batch.device)
    topk_idx: torch.Tensor = kernels.minimax_m3_index_topk(call.score, batch, plan, out=call.out)
    return topk_idx


@as_on_a_gpu
def _decode_topk(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, batch, query_len = importlib.import_module(package), call.batch, call.decode_query_len
    topk_idx: torch.Tensor = kernels.minimax_m3_index_decode_topk(call.score, batch, query_len, out=call.out)
    return topk_idx


@as_on_a_gpu
def _decode(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels = importlib.import_module(package)
    topk_idx: torch.Tensor = kernels.minimax_m3_index_decode(
        call.batch, call.decode_query_len, num_splits=call.num_splits, out=call.out
    )
    return topk_idx


@as_on_a_gpu
def _decode_shown(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels = importlib.import_module(package)
    topk_idx: torch.Tensor
    topk_idx, score = kernels.minimax_m3_index_decode_with_score(
        call.batch, call.decode_query_len, num_splits=call.num_splits, out=call.out
    )
    call.show(score, is_lazy=True, nan="none")
    return topk_idx


@as_on_a_gpu
def _prefill_bound(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, bound = map(importlib.import_module, (package, f"{package}.ops.bound"))
    plan, memory = plan_of(kernels, call, has_slabs=True), memory_of(call)
    launch = bound.PrefillLaunch(plan, *memory.metadata)
    run_others(launch, memory.others)
    return run_judged(launch, call, memory.refresh())


@as_on_a_gpu
def _prefill_graph(call: Call, package: str = "msa_fast") -> torch.Tensor:
    kernels, batch = importlib.import_module(package), call.batch
    plan = importlib.import_module(f"{package}.ops.device_plan").plan_on_device(
        batch.config, batch.seq_lens, batch.cu_seqlens_q, batch.total_q, batch.max_blocks, call.num_splits
    )
    topk_idx: torch.Tensor = kernels.minimax_m3_index_prefill(batch, plan, out=call.out)
    return topk_idx


@as_on_a_gpu
def bind_decode(call: Call, package: str = "msa_fast") -> Bound:
    """Decode bound to a call, after other layers were launched."""
    batch, bound = call.batch, importlib.import_module(f"{package}.ops.bound")
    hold_to_even_shares(package)
    memory = memory_of(call)
    launch = bound.DecodeLaunch(batch.config, call.decode_query_len, *memory.metadata, batch.total_q)
    run_others(partial(launch, num_splits=call.num_splits), memory.others)

    @as_on_a_gpu
    def again(call: Call, package: str) -> torch.Tensor:
        return run_judged(partial(launch, num_splits=call.num_splits), call, memory.refresh())

    return lambda: again(call, package)


def _decode_bound(call: Call, package: str = "msa_fast") -> torch.Tensor:
    return bind_decode(call, package)()


_ON_KERNELS: dict[str, Callable[[Call, str], torch.Tensor]] = {
    "prefill": _prefill,
    "prefill-apart": _prefill_apart,
    "topk": _topk,
    "decode-topk": _decode_topk,
    "decode": _decode_shown,
    "decode-graph": _decode,
    "decode-bound": _decode_bound,
    "prefill-bound": _prefill_bound,
    "prefill-device": _prefill_graph,
    "prefill-graph": _prefill_graph,
}


def on_package(name: str, package: str) -> Run:
    """The run of a built-in target on the kernels of another package: a copy of `msa_fast` with a planted defect."""
    if name in ENGINES:
        return step_target(name, "", ENGINES[name](package), fills_buffers=True).run
    run = _ON_KERNELS[name]
    return lambda call: run(call, package)


def started_on_package(name: str, package: str) -> Start:
    """The start of a built-in target of kind `step` on the classes of another package."""
    start = step_target(name, "", ENGINES[name](package), fills_buffers=True).start
    assert start is not None
    return start


BUILT_IN = {
    target.name: target
    for target in (
        Target("reference", "The reference itself; keeps the harness honest.", "any", _reference, profile=CONTRACT),
        Target(
            "prefill",
            "Score kernel, then selection kernel.",
            "prefill",
            _prefill,
            has_splits=True,
            profile=CONTRACT,
            check=check_prefill,
        ),
        Target(
            "prefill-apart",
            "Score kernel, into a given matrix or its own, then selection kernel: the two called apart, scores judged.",
            "prefill",
            _prefill_apart,
            takes_score_out=True,
            has_splits=True,
            has_sibling=True,
            profile=CONTRACT,
            check=check_prefill,
        ),
        Target(
            "prefill-bound",
            "Prefill bound to another layer's tensors, then launched with these.",
            "prefill",
            _prefill_bound,
            has_splits=True,
            has_sibling=True,
            profile=CONTRACT,
            check=check_prefill,
            drawn_each=3,
        ),
        Target(
            "prefill-device",
            "Prefill by a plan that the device makes, called eagerly.",
            "prefill",
            _prefill_graph,
            has_splits=True,
            has_sibling=True,
            profile=CONTRACT,
            check=check_prefill_device,
            drawn_each=3,
        ),
        Target(
            "prefill-graph",
            "The same in a graph, captured once and replayed; short requests, whose lengths change in place.",
            "decode",
            _prefill_graph,
            has_splits=True,
            has_sibling=True,
            is_graph=True,
            profile=CONTRACT,
            check=check_prefill_device,
            drawn_each=2,
        ),
        Target(
            "topk",
            "Selection kernel alone, on designed scores.",
            "any",
            _topk,
            takes_score=True,
            profile=CONTRACT,
            check=check_prefill,
        ),
        Target(
            "decode-topk",
            "Decode's selection alone, on designed scores.",
            "decode",
            _decode_topk,
            takes_score=True,
            profile=CONTRACT,
            check=check_decode_topk,
        ),
        Target(
            "decode",
            "Decode kernel, called eagerly, scores judged.",
            "decode",
            _decode_shown,
            has_splits=True,
            profile=CONTRACT,
            check=check_decode,
        ),
        Target(
            "decode-graph",
            "Decode kernel in a graph, captured once and replayed.",
            "decode",
            _decode,
            has_splits=True,
            has_sibling=True,
            is_graph=True,
            profile=CONTRACT,
            check=check_decode,
        ),
        Target(
            "decode-bound",
            "Decode kernel bound to another layer's tensors, then run on these through replay scripts, graph or not.",
            "decode",
            _decode_bound,
            has_splits=True,
            has_sibling=True,
            bind=bind_decode,
            profile=CONTRACT,
            check=check_decode,
            drawn_each=2,
        ),
        step_target(
            "step",
            "The engine's classes, eagerly: steps of decodes, prefills and padding, several layers, micro-batches.",
            ENGINES["step"]("msa_fast"),
            STEP,
            check_prefill,
            drawn_each=3,
            fills_buffers=True,
        ),
        step_target(
            "step-graph",
            "The same; steps of decodes alone are replays of a graph of each layer.",
            ENGINES["step-graph"]("msa_fast"),
            STEP,
            check_prefill,
            drawn_each=6,
            fills_buffers=True,
        ),
    )
}
"""Name -> target, in the order the gate judges them."""

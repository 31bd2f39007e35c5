"""Right targets that keep things from call to call, as engines do: caches, plans, workspaces, counters, graphs."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import torch
import triton
import triton.language as tl

from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, PagedBatch, index_topk
from tests.support.honest_zoo.register import honest, right

_COMPILED: dict[Hashable, Callable[[Call], torch.Tensor]] = {}
_FASTEST: dict[Hashable, Callable[[torch.Tensor], torch.Tensor]] = {}
_WORKSPACES: dict[Hashable, torch.Tensor] = {}
_PLANS: dict[Hashable, list[int]] = {}


@honest
def compiles_for_shapes(call: Call) -> torch.Tensor:
    """A function of its own for every config and shape, made at the first call."""
    key = call.batch.config, call.batch.index_q.shape, call.batch.block_table.shape
    return _COMPILED.setdefault(key, lambda call: right(call))(call)


@honest
def tunes_itself(call: Call) -> torch.Tensor:
    """The fastest of two ways to copy, measured once for every shape; both are right."""
    answer = index_topk(call.batch)
    if answer.shape not in _FASTEST:
        seconds = []
        for way in (torch.clone, lambda ids: ids.reshape(-1).clone().view(ids.shape)):
            start = time.perf_counter()
            way(answer)
            seconds.append((time.perf_counter() - start, len(seconds), way))
        _FASTEST[answer.shape] = min(seconds)[2]
    return fill(call, _FASTEST[answer.shape](answer))


@honest
def keeps_a_workspace(call: Call) -> torch.Tensor:
    """A workspace of the largest call so far, whose old contents it overwrites before it reads."""
    with torch.inference_mode(False), torch.no_grad():
        answer = index_topk(call.batch)
        kept = _WORKSPACES.get("ids")
        if kept is None or kept.numel() < answer.numel():
            kept = _WORKSPACES["ids"] = torch.zeros(answer.numel(), dtype=torch.int32)
        kept[: answer.numel()] = answer.flatten()
        return fill(call, kept[: answer.numel()].view(answer.shape).clone())


@honest
def keeps_plans(call: Call) -> torch.Tensor:
    """A plan for every list of lengths, found again when the lengths come again."""
    lens = tuple(call.query_lens), tuple(call.seq_lens)
    blocks = _PLANS.setdefault(lens, [call.batch.config.num_blocks(length) for length in call.seq_lens])
    assert blocks == [call.batch.config.num_blocks(length) for length in call.seq_lens]
    return right(call)


@triton.jit
def _arrive_kernel(count_ptr, ids_ptr, out_ptr, N, PROGRAMS: tl.constexpr, EACH: tl.constexpr):
    """The last program to arrive copies all ids, and sets the count to 0 for the next launch."""
    if tl.atomic_add(count_ptr, 1) == PROGRAMS - 1:
        tl.store(count_ptr, 0)
        for first in range(0, N, EACH):
            offs = first + tl.arange(0, EACH)
            tl.store(out_ptr + offs, tl.load(ids_ptr + offs, mask=offs < N), mask=offs < N)


@torch.library.custom_op("honest_zoo::index", mutates_args=())
def _index(
    index_q: torch.Tensor,
    pages: torch.Tensor,
    table: torch.Tensor,
    seq_lens: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    config: list[int],
) -> torch.Tensor:
    """All ids, by an operator that a graph keeps as a whole."""
    return index_topk(PagedBatch(IndexerConfig(*config), index_q, pages, table, seq_lens, cu_seqlens_q))


def _captured(call: Call) -> torch.Tensor:
    batch, config = call.batch, call.batch.config
    numbers = (config.num_index_heads, config.index_head_dim, config.block_size, config.topk_blocks)
    forced = (config.init_blocks, config.local_blocks)
    tensors: tuple[Any, ...] = (
        batch.index_q,
        batch.index_k_pages,
        batch.block_table,
        batch.seq_lens,
        batch.cu_seqlens_q,
    )
    ids = torch.ops.honest_zoo.index(*tensors, [*numbers, *forced])
    with torch.inference_mode(False):
        count = _WORKSPACES.setdefault("count", torch.zeros(1, dtype=torch.int32))
    out = torch.empty_like(ids)
    _arrive_kernel[lambda meta: (meta["PROGRAMS"],)](count, ids, out, ids.numel(), PROGRAMS=3, EACH=64)
    return fill(call, out)


counts_in_a_graph = Target("counts-in-a-graph", "A captured step.", "decode", _captured, is_graph=True)
"""A step with a counter that sets itself back, in a workspace that outlives the capture. For the interpreter alone."""

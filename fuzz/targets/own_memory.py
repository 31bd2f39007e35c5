"""The promises of the suite's own bound launches about memory: scores lie apart, a layer's tensors are let go, and what
is kept for later layers and steps has bounds.
"""

import gc
import importlib
import weakref
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_bindings import CONFIG, KEYS, OUT, QUERIES, ROWS, Side, families
from fuzz.targets.own_driver import driver_stands_in

MANY = 300
"""Kinds of layers, streams: more than are kept."""


@cache
def hold_to_memory(package: str) -> None:
    """Hold bound launches to these promises: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if one is broken.
    """
    binding, table, memory = (
        importlib.import_module(f"{package}.ops.{module}") for module in ("binding", "launch_table", "plan_memory")
    )
    if not table.IS_INTERPRETED:
        return
    _hold_to_scores_apart(binding.DriverBinding)
    _hold_to_streams(memory)
    for name in ("prefill", "decode"):
        _hold_to_let_go(Side(package, name))
        side = Side(package, name)
        with driver_stands_in(package, "sm_90", side.launches):
            _hold_to_let_go(side)
            _hold_to_bounds(side, importlib.import_module(f"{package}.ops.bound").MAX_BINDINGS)


def _hold_to_scores_apart(binding: Any) -> None:
    """Scores of one call, of some bytes each, lie in its memory at multiples of 512, none within another."""
    sizes = [100, 513, 1_536, 7]
    made = binding.of_launches(torch.device("cpu"), slice(0, 1), [], sizes)
    ends = [*made.offsets, made.num_bytes]
    is_apart = all(end - start >= size for (start, end), size in zip(pairwise(ends), sizes, strict=True))
    if not is_apart or any(offset % 512 for offset in made.offsets):
        raise BrokenLaw("OwnMemory", f"scores of {sizes} bytes begin at {made.offsets} of {made.num_bytes} bytes")


def _hold_to_streams(plan_memory: Any) -> None:
    """A builder that is called on ever new streams keeps memory of plans for some."""
    memory = plan_memory.PlanMemory(torch.device("cpu"))
    for stream in range(MANY):
        memory._stream = lambda stream=stream: stream
        memory.take(1)
    if len(memory._slots) > plan_memory.MAX_STREAMS:
        raise BrokenLaw("Workspace", f"a builder keeps memory of plans for {len(memory._slots)} streams")


def _hold_to_let_go(side: Side) -> None:
    """A launch that was bound for a layer keeps neither its queries nor its keys."""
    side.plan()
    metadata_in, base, _ = next(families(side.name))
    launch, owners = side.new_launch(metadata_in), []
    for _ in range(2):
        layer = dict(base)
        for name in (QUERIES, KEYS):
            like = layer[name]
            owner = np.zeros(like.shape[0] * like.strides[0] + 64, np.uint16)
            owners.append(weakref.ref(owner))
            first = -owner.ctypes.data % 64 // 2
            layer[name] = torch.from_numpy(owner[first:]).view(like.dtype).as_strided(like.shape, like.strides)
        side.outcome(launch, layer)
        side.launches.clear()
        del layer, owner
    gc.collect()
    if launch.num_bound != 1 or any(owner() is not None for owner in owners):
        raise BrokenLaw("OwnMemory", f"a bound {side.name} keeps the queries or the keys of a layer")


def _hold_to_bounds(side: Side, max_bindings: int) -> None:
    """A launch that meets ever new kinds of layers keeps some, and so does a builder."""
    heads, k = CONFIG.num_index_heads, CONFIG.topk_blocks
    metadata_in, base, _ = next(families(side.name))
    kinds = side.new_kinds()
    launch = side.new_launch(metadata_in, kinds)
    for number in range(MANY):
        out = torch.empty(heads, ROWS + number, k, dtype=torch.int32)
        side.outcome(launch, {**base, OUT: out})
    kept = len(launch._bindings), len(kinds.checked), len(kinds.patterns)
    if kept[0] > max_bindings or max(kept) > MANY * 9 // 10:
        raise BrokenLaw("Workspace", f"of {MANY} kinds of layers a {side.name} keeps {kept}")

"""The promise of the suite's own bound launches that a call is launched, or refused, as a new launch would do with it.

What a call's tensors are like decides which launches are repeated for it. So tensors that differ in one thing follow
each other: in a shape, a stride, a dtype, a device, an alignment; or in what they share memory with. Nothing runs: on
the interpreter Triton's launches are written down, and for a GPU's a driver stands in.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_driver import Passed, driver_stands_in
from fuzz.targets.own_kinds import compiled_for
from msa_ref import IndexerConfig

CONFIG = IndexerConfig()
QUERY_LENS, SEQ_LENS, FIRST_TOKEN = [5, 5], (4_000, 700), 20
"""Two requests, which decode or prefill, behind tokens of others: more than theirs."""
NUM_TOKENS = FIRST_TOKEN + sum(QUERY_LENS)
ROWS, PAGES = NUM_TOKENS + 3, 6
QUERIES, KEYS, OUT = "index_query", "index_k_pages", "out"
OF_QUERIES, OF_KEYS, OF_OUT, OF_METADATA, ELSEWHERE = range(5)
"""Pieces of memory."""
MEMORY_BYTES, ALIGNMENT = 2**21, 64


@dataclass(frozen=True)
class Like:
    """A kind of tensor and its place. at: its first byte in a piece of memory; storage_at: where its storage begins."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    memory: int
    at: int = 0
    storage_at: int = 0
    device: str = "cpu"


Layer = Mapping[str, Any]
"""The kinds of a layer's tensors, and its options, by name."""


@cache
def hold_to_new_launches(package: str) -> None:
    """Hold bound launches to what new ones launch: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if a call is launched, or refused, otherwise after others.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    for name in ("prefill", "decode"):
        side, of_nothing = Side(package, name), Side(package, name, (0, 0))
        hold_side(side)
        with driver_stands_in(package, "sm_90", of_nothing.launches):
            hold_side(of_nothing)
        for is_by_driver in (True, False):
            with driver_stands_in(package, "sm_90", side.launches, is_by_driver):
                hold_side(side)


class Side:
    """One side of a step, and the memory of its layers' tensors.

    launches: those of the last call. A driver that stands in writes them down, too.
    """

    def __init__(self, package: str, name: str, seq_lens: tuple[int, int] = SEQ_LENS) -> None:
        self.name, self.launches, self._seq_lens = name, Passed(), [*seq_lens]
        self._bound, self._plans, self._step_kinds, self._launching = (
            importlib.import_module(f"{package}.ops.{module}")
            for module in ("bound", "prefill_plan", "step_kinds", "launching")
        )
        memory = np.zeros((ELSEWHERE + 1, MEMORY_BYTES + ALIGNMENT), np.uint8)
        self._memory = [row[-row.ctypes.data % ALIGNMENT :][:MEMORY_BYTES] for row in memory]
        self._table = torch.zeros(2, 8 + CONFIG.num_blocks(max(seq_lens)) if any(seq_lens) else 0, dtype=torch.int32)
        self._plan: Any = None

    def plan(self) -> None:
        """Plan the step for the GPU that is there, or that a driver stands in for."""
        self._plan = self._plans.PrefillPlan.build(CONFIG, QUERY_LENS, self._seq_lens, "cpu")

    def new_kinds(self) -> Any:
        """The kinds of a builder without steps."""
        return self._step_kinds.StepKinds()

    def new_launch(self, metadata_in: int, kinds: Any = None) -> Any:
        """A launch that has bound nothing. metadata_in: the memory of what is the same for all layers."""
        lens, offsets = (
            self.tensor(Like((count,), (1,), torch.int32, metadata_in, at)) for count, at in ((2, 4_096), (3, 8_192))
        )
        lens.copy_(torch.tensor(self._seq_lens))
        offsets.copy_(torch.tensor([0, *QUERY_LENS]).cumsum(0))
        metadata = self._table, lens, offsets
        if self.name == "decode":
            total_q, launch = sum(QUERY_LENS), self._bound.DecodeLaunch
            return launch(CONFIG, QUERY_LENS[0], *metadata, total_q, FIRST_TOKEN)
        return self._bound.PrefillLaunch(self._plan, *metadata, FIRST_TOKEN, kinds)

    def tensor(self, like: Like) -> torch.Tensor:
        """A tensor of that kind."""
        if like.device != "cpu":
            return torch.empty_strided(like.shape, like.strides, dtype=like.dtype, device=like.device)
        storage = torch.from_numpy(self._memory[like.memory][like.storage_at :]).view(like.dtype)
        return storage.as_strided(like.shape, like.strides, (like.at - like.storage_at) // like.dtype.itemsize)

    def outcome(self, launch: Any, layer: Layer) -> object:
        """The launches of a call, which are not made, and its answer; or the words by which it is refused."""
        values = {name: self.tensor(value) if isinstance(value, Like) else value for name, value in layer.items()}
        answers: list[torch.Tensor] = []
        self.launches.clear()
        try:
            self._launching.launching_by(self._by_triton, lambda: answers.append(launch(**values)))
        except ValueError as refusal:
            return str(refusal)
        for *_, grid in self.launches:
            if 0 in grid:
                raise BrokenLaw("Runs", f"a {self.name} on {self._seq_lens} tokens launches a grid of {grid}")
        return [*self.launches], _layout(answers[0])

    def _by_triton(self, kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        self.launches.append(("by Triton", kernel, [*map(self._seen, args)], {**options}, grid))
        return self._launching.Launched(kernel, grid, args, options, None)

    def _seen(self, value: Any) -> object:
        """An argument; of memory that no layer has, for scores, all but where it is."""
        if hasattr(value, "block_shape"):  # a tensor descriptor
            return self._seen(value.base), compiled_for(value), tuple(value.shape), tuple(value.strides)
        if not isinstance(value, torch.Tensor):
            return value
        address = value.data_ptr()
        starts = [row.ctypes.data for row in self._memory]
        is_known = any(start <= address < start + MEMORY_BYTES for start in starts)
        return _layout(value) if is_known or value.dtype == torch.int32 else (_layout(value)[1:], address % 16)


def _layout(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def hold_side(side: Side) -> None:
    """Hold one side of a step to what new launches do.

    Raises:
        BrokenLaw: if a call is launched, or refused, otherwise after others.
    """
    side.plan()
    outcome = side.outcome
    for metadata_in, base, others in families(side.name):
        expected = outcome(side.new_launch(metadata_in), base)
        if isinstance(expected, str):  # where no such call is served
            continue
        launch, kinds = side.new_launch(metadata_in), side.new_kinds()
        outcome(side.new_launch(metadata_in, kinds), base)
        for what, other in others:
            alone = outcome(side.new_launch(metadata_in), other)
            calls = (
                (launch, base, expected, f"a layer of a bound {side.name}, behind others,"),
                (launch, other, alone, f"a layer of a bound {side.name}, behind one with other {what},"),
                (launch, base, expected, f"a layer of a bound {side.name}, behind one of its kind and one of another,"),
                (side.new_launch(metadata_in, kinds), other, alone, f"a {side.name}, behind a step with other {what},"),
            )
            for called, layer, right, words in calls:
                got = outcome(called, layer)
                # Where tensors share memory Triton launches beside a driver, which says the same in other words.
                if got != right and not _by_triton(got) ^ _by_triton(right):
                    raise BrokenLaw("Exact", f"{words} is not launched, or refused, as by a new launch")


def _by_triton(outcome: Any) -> bool:
    """True if Triton makes launches, and no driver."""
    return not isinstance(outcome, str) and any(launch[0] == "by Triton" for launch in outcome[0])


def families(side: str) -> Iterator[tuple[int, Layer, list[tuple[str, Layer]]]]:
    """The memory of metadata, a layer, and others that differ from it in one thing, each with its name."""
    bf16, fp16, fp32, e4m3 = torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn
    heads, dim, size, k = CONFIG.num_index_heads, CONFIG.index_head_dim, CONFIG.block_size, CONFIG.topk_blocks
    row, page = heads * dim + 64, size * dim + 64
    q = Like((ROWS, heads, dim), (row, dim, 1), bf16, OF_QUERIES)
    keys = Like((PAGES, size, dim), (page, dim, 1), bf16, OF_KEYS)
    out = Like((heads, ROWS, k), (k, heads * k, 1), torch.int32, OF_OUT)
    options: Layer = {"product": "exact", **({"num_splits": None} if side == "decode" else {})}
    base: Layer = {QUERIES: q, KEYS: keys, OUT: out, **options}
    changes: list[Layer] = [
        *[{QUERIES: one} for one in _others(q, (row + 64, dim + 8, 2))],
        *[{KEYS: one} for one in _others(keys, (page + 64, dim + 8, 2))],
        *[{OUT: one} for one in _others(out, (ROWS * k, k, 0))],
        {OUT: replace(out, strides=(ROWS * k, k, 1))},
        # Such as a tensor map cannot have: between multiples of 16 bytes, none, or not side by side.
        *[{KEYS: replace(keys, strides=strides)} for strides in ((page + 4, dim, 1), (page, dim + 4, 1), (0, dim, 1))],
        *[{QUERIES: replace(q, strides=strides)} for strides in ((row + 4, dim, 1), (row, dim + 4, 1), (0, dim, 1))],
        {KEYS: replace(keys, strides=(page, 0, 1))},
        {KEYS: replace(keys, shape=(0, size, dim))},
        {QUERIES: replace(q, dtype=fp16), KEYS: replace(keys, dtype=fp16)},
        {QUERIES: replace(q, dtype=fp32), KEYS: replace(keys, dtype=fp32)},
        *[{QUERIES: replace(q, dtype=dtype)} for dtype in (fp16, e4m3, fp32)],
        *[{KEYS: replace(keys, dtype=dtype)} for dtype in (fp16, e4m3, fp32)],
        {OUT: replace(out, dtype=torch.int64)},
        {QUERIES: replace(q, shape=(NUM_TOKENS - 1, heads, dim))},
        {OUT: replace(out, shape=(heads, NUM_TOKENS - 1, k))},
        {"product": "fp8"},
        *([{"num_splits": count} for count in (1, 2, 300)] if side == "decode" else []),
    ]
    yield OF_METADATA, base, [(" and ".join(change), {**base, **change}) for change in changes]
    # Behind layers of one kind whose tensors share memory, so that an address does not say whose it is.
    elsewhere = base
    for shared in (
        {KEYS: replace(keys, memory=OF_QUERIES)},
        {KEYS: replace(keys, memory=OF_QUERIES, at=2 * row)},
        {QUERIES: replace(q, memory=OF_KEYS, at=4 * page)},
        {QUERIES: replace(q, memory=OF_OUT, at=0)},
        {OUT: replace(out, memory=OF_KEYS, at=2 * page)},
    ):
        yield OF_METADATA, {**base, **shared}, [("place in memory", elsewhere)]
    for memory, name, like in ((OF_QUERIES, QUERIES, q), (OF_KEYS, KEYS, keys)):
        yield memory, base, [("place in memory", {**base, name: replace(like, memory=ELSEWHERE)})]
    base = {**base, QUERIES: replace(q, dtype=e4m3), KEYS: replace(keys, dtype=e4m3)}
    yield OF_METADATA, base, [("product", {**base, "product": "fp8"})]
    packed = Like((PAGES, size, 72), (72 * size, 72, 1), torch.uint8, OF_KEYS, at=16)
    others = replace(packed, storage_at=4), replace(packed, at=20), replace(packed, at=24)
    base = {**base, KEYS: packed}
    yield OF_METADATA, base, [("words of keys", {**base, KEYS: other}) for other in others]


def _others(like: Like, strides: tuple[int, ...]) -> Iterator[Like]:
    """Tensors that differ in one axis: longer or shorter, or with another stride; at another address; elsewhere."""
    for axis, (size, stride) in enumerate(zip(like.shape, strides, strict=True)):
        for other in (size + 1, size // 2):
            yield replace(like, shape=(*like.shape[:axis], other, *like.shape[axis + 1 :]))
        yield replace(like, strides=(*like.strides[:axis], stride, *like.strides[axis + 1 :]))
    yield replace(like, at=like.dtype.itemsize)
    yield replace(like, at=64)
    yield replace(like, device="meta")

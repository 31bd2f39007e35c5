"""The promise of the suite's own launches that they serve what they take, and are told how its tensors lie.

A call is launched for GPUs that are not there, where a driver that launches nothing stands in; then again with one
stride of one tensor changed. If the same would be passed, the kernel cannot know, and reads one of the two wrongly.
"""

import importlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_driver import Passed, driver_stands_in
from msa_ref import IndexerConfig
from msa_ref.nvfp4 import row_bytes

ARCHITECTURES, NUM_ODD = ("sm_90", "sm_100", "sm_120"), 4
"""GPUs, and for each the calls of other dims and block sizes than MiniMax-M3's, which is asked in every format."""
HEADS = (1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 33, 64)
FORMATS = (
    (torch.bfloat16, torch.bfloat16), (torch.float16, torch.float16), (torch.float32, torch.float32),
    (torch.bfloat16, torch.float8_e4m3fn), (torch.float8_e4m3fn, torch.float8_e4m3fn),
    (torch.float8_e4m3fn, torch.uint8),
)  # fmt: skip
"""Dtypes of queries and keys."""
NUM_PAGES, MEMORY_BYTES = 6, 2**26
"""Key pages, and bytes for each tensor: more than any takes. Nothing is read of them but lengths."""


@dataclass(frozen=True)
class Tensor:
    """A tensor's shape and strides, and its memory: no two tensors share one."""

    memory: torch.Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def made(self) -> torch.Tensor:
        """The tensor."""
        return self.memory.as_strided(self.shape, self.strides)

    def others(self) -> Iterator[tuple[int, "Tensor"]]:
        """The same tensor with one stride of another size, and which: of each axis along which it has two elements."""
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            if size > 1:
                more = 16 if stride > 1 else 1  # no alignment tells them apart
                yield axis, replace(self, strides=(*self.strides[:axis], stride + more, *self.strides[axis + 1 :]))


Call = tuple[dict[str, Tensor], IndexerConfig, int, list[int]]
"""The tensors of a call, its indexer, its query tokens per request, and its lengths."""


@cache
def hold_to_told(package: str) -> None:
    """Hold the bound launches of a package to being told of every stride: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if one would pass the same for other strides, or cannot be made.
    """
    if not importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        return
    rng, said = random.Random(0), Passed()
    for architecture in ARCHITECTURES:
        with driver_stands_in(package, architecture, said):
            for dtypes in FORMATS:
                _check(package, architecture, _drawn(rng, dtypes, 128, 128), said)
            for _ in range(NUM_ODD):
                dim, size = rng.choice((32, 64, 128)), rng.choice((16, 64, 128))
                _check(package, architecture, _drawn(rng, rng.choice(FORMATS), dim, size), said)


def _check(package: str, architecture: str, call: Call, said: Passed) -> None:
    """Hold a call, as decode and as prefill, to being told of every stride."""
    tensors, config, query_len, seq_lens = call
    plans, bound = (importlib.import_module(f"{package}.ops.{name}") for name in ("prefill_plan", "bound"))
    plan = plans.PrefillPlan.build(config, [query_len] * len(seq_lens), seq_lens, "cpu")

    def outcome(side: str, changed: dict[str, Tensor]) -> object:
        q, keys, out, *metadata = (one.made() for one in changed.values())
        _fill(metadata, query_len, seq_lens)
        said.clear()
        try:
            if side == "decode":
                bound.DecodeLaunch(config, query_len, *metadata, query_len * len(seq_lens))(q, keys, out)
            else:
                bound.PrefillLaunch(plan, *metadata)(q, keys, out)
        except ValueError as refusal:
            return str(refusal)
        except BrokenLaw:
            raise
        except Exception as error:
            text = f"{what} raises {type(error).__name__} ({error})"
            raise BrokenLaw("Runs", text) from error
        return [*said]

    for side in ("decode", "prefill"):
        shapes = f"{config.num_index_heads} heads, {query_len} query tokens each on {seq_lens}"
        formats = f"{tensors['index_query'].memory.dtype} and {tensors['index_k_pages'].memory.dtype}"
        what = f"{side} on {architecture} of {shapes}, {formats},"
        expected = outcome(side, tensors)
        if isinstance(expected, str):  # where no such call is served
            continue
        for name, tensor in tensors.items():
            for axis, other in tensor.others():
                if outcome(side, {**tensors, name: other}) == expected:
                    text = f"{what} launches the same for stride {other.strides[axis]} of {name}'s axis {axis} as"
                    raise BrokenLaw("Exact", f"{text} for stride {tensor.strides[axis]}")


def _fill(metadata: list[torch.Tensor], query_len: int, seq_lens: list[int]) -> None:
    """Write what the host looks at."""
    _, lens, offsets = metadata
    lens.copy_(torch.tensor(seq_lens))
    offsets.copy_(torch.arange(len(seq_lens) + 1) * query_len)


@cache
def _memory(name: str, dtype: torch.dtype) -> torch.Tensor:
    """Memory for one tensor of a call; the system gives none of it before it is touched."""
    with torch.inference_mode(False):  # else what is kept of a run in that mode could not be written in another
        return torch.zeros(MEMORY_BYTES, dtype=torch.uint8).view(dtype)


def _drawn(rng: random.Random, dtypes: tuple[torch.dtype, torch.dtype], dim: int, size: int) -> Call:
    """A call of some formats, head dim and block size."""
    q_dtype, key_dtype = dtypes
    config = IndexerConfig(rng.choice(HEADS), dim, size, rng.choice((4, 16, 32)), 0, 1)
    query_len, num_reqs = rng.choice((1, 2, 3, 5, 7, 8)), rng.choice((1, 2, 3, 33))
    seq_lens = [rng.choice((3, 40, 300)) * size + query_len for _ in range(num_reqs)]
    heads, k, total_q = config.num_index_heads, config.topk_blocks, query_len * num_reqs
    columns = max(map(config.num_blocks, seq_lens)) + rng.choice((0, 3))
    row = row_bytes(dim) if key_dtype == torch.uint8 else dim
    shapes = {
        "index_query": (q_dtype, (total_q, heads, dim), (heads * dim, dim, 1)),
        "index_k_pages": (key_dtype, (NUM_PAGES, size, row), (size * row, row, 1)),
        "out": (torch.int32, (heads, total_q, k), (k, heads * k, 1)),
        "block_table": (torch.int32, (num_reqs, columns), (columns + -columns % 16, 1)),
        "seq_lens": (torch.int32, (num_reqs,), (1,)),
        "cu_seqlens_q": (torch.int32, (num_reqs + 1,), (1,)),
    }
    tensors = {name: Tensor(_memory(name, dtype), shape, strides) for name, (dtype, shape, strides) in shapes.items()}
    return tensors, config, query_len, seq_lens

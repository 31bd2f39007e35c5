"""Promises of the suite's own launches: a kernel serves what it was compiled for, a launcher one thread, and a tensor
descriptor one tensor.

A GPU shows the first where tensors lie gigabytes apart; here the numbers alone are asked, on any machine.
"""

import threading
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from msa_ref import IndexerConfig

KindOf = Callable[[Any, tuple[Any, ...], dict[str, Any], int | None], Hashable]
"""kind(kernel, arguments, options, device): launches of one kind run one compiled kernel."""
_EDGES = (0, 16, 2**15, 2**16, 2**31, 2**32, 2**33, 2**62)
NUMBERS = sorted({sign * edge + more for edge in _EDGES for sign in (1, -1) for more in (-16, -2, -1, 0, 1, 2, 16, 32)})
"""Numbers around those at which Triton compiles anew: strides, counts and offsets of a launch."""


def hold_to_kinds(kind_of: KindOf) -> None:
    """Hold kinds of launches to what Triton compiles for.

    Raises:
        BrokenLaw: if two launches that Triton compiles apart are of one kind.
    """
    memory = torch.empty(64, dtype=torch.uint8)
    first = -memory.data_ptr() % 16
    tensors = [
        memory[first + behind : first + behind + 16].view(dtype)
        for dtype in (torch.int32, torch.float32, torch.bfloat16, torch.uint8)
        for behind in range(0, 16, dtype.itemsize)
    ]
    descriptors = [
        SimpleNamespace(base=memory.view(dtype), block_shape=[rows, 8], layout=layout, padding="zero")
        for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn)
        for rows in (1, 2)
        for layout in ("wide", "narrow")
    ]
    values: list[Any] = [*NUMBERS, *tensors, *descriptors, None, True, False, 0.0, 1.0, -1.0]
    kernels = object(), object()
    options: tuple[dict[str, int], ...] = ({"H": 4}, {"H": 2}, {"D": 4}, {})
    for launches in (
        [(None, (value,), {"H": 4}, 0) for value in values],
        [(None, (0, value, 0), {"H": 4}, 0) for value in values],
        [(kernel, (0,), constants, device) for kernel in kernels for constants in options for device in (0, 1)],
    ):
        seen: dict[Hashable, Any] = {}
        for launch in launches:
            compiled = [id(launch[0]), *map(compiled_for, launch[1]), launch[2:]]
            other = seen.setdefault(kind_of(*launch), compiled)
            if other != compiled:
                raise BrokenLaw("Exact", f"one compiled kernel would serve launches of {other} and of {compiled}")


def compiled_for(value: Any) -> Hashable:
    """The part of an argument that Triton compiles a kernel for."""
    if hasattr(value, "block_shape"):  # a tensor descriptor
        return str(value.base.dtype), tuple(value.block_shape), str(getattr(value, "layout", None))
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.data_ptr() % 16 == 0
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, float):
        return "float"
    width = 32 if -(2**31) <= value < 2**31 else 64
    return width, value == 1 or value % 16 == 0, value == 1


def hold_to_own_thread(launching: Any) -> None:
    """Hold launches that one thread makes by a launcher of its own to that thread.

    launching: the module of `launched` and `launching_by`.

    Raises:
        BrokenLaw: if another thread's launches go to that launcher.
    """
    launched = list[str]()
    kernel = {(1,): lambda: launched.append("as others are")}

    def launch() -> None:
        thread = threading.Thread(target=lambda: launching.launched(torch.device("cpu"), kernel, (1,)))
        thread.start()
        thread.join()

    launching.launching_by(lambda *_: launched.append("by the first thread"), launch)
    if launched != ["as others are"]:
        raise BrokenLaw("TwoThreads", f"while a thread binds a layer, launches of another are made {launched}")


def hold_to_own_descriptors(tma: Any) -> None:
    """Hold the tensor descriptors of pages and queries to their tensors, where others lay at the same addresses before.

    tma: the module of `pages_of` and `queries_of`.

    Raises:
        BrokenLaw: if a descriptor is that of another tensor.
    """
    memory = torch.empty(2, 8, 4, 128, 128, dtype=torch.bfloat16)
    for number in (2, 8, 5):  # of pages and of query tokens
        for wide in (1, 2):  # every row of those, or every other one
            pages, queries = memory[0, :number, 0, ::wide], memory[1, :number, :, ::wide][:, :, 0]
            batch = SimpleNamespace(
                config=IndexerConfig(4, 128, pages.shape[1]), index_k_pages=pages, index_q=queries, device=memory.device
            )
            for made, tensor in ((tma.pages_of(batch), pages), (tma.queries_of(batch, 2, 4), queries)):
                got = made.base.data_ptr(), [*made.shape], [*made.strides]
                if got != (tensor.data_ptr(), [*tensor.shape], [*tensor.stride()]):
                    what = f"the descriptor of a tensor {list(tensor.shape)} with strides {list(tensor.stride())}"
                    raise BrokenLaw("Exact", f"{what} says {got[1]} and {got[2]}, as another one at its address")


def hold_to_own_words(in_words: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Hold the words that NVFP4 pages are read in to these pages, where others lay at the same address before.

    in_words: gives a view of pages in words of eight bytes, or the pages where they cannot be read so.

    Raises:
        BrokenLaw: if words are those of other pages.
    """
    memory = torch.empty(64 * 144 + 8, dtype=torch.uint8)
    first = -memory.data_ptr() % 8
    for strides in ((144 * 16, 144, 1), (72 * 16, 72, 1), (72 * 32, 72, 1), (72 * 32 + 4, 72, 1)):
        pages = memory.as_strided((2, 16, 72), strides, first)
        words = in_words(pages)
        size = words.element_size()
        got = words.data_ptr(), words.shape[2] * size, [size * stride for stride in words.stride()[:2]]
        if got != (pages.data_ptr(), 72, [*strides[:2]]):
            raise BrokenLaw(
                "Exact", f"NVFP4 pages with strides {strides} are read in words of other pages, with {got[2]}"
            )

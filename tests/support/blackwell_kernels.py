"""Small Gluon kernels for Blackwell, each of one way to bring operands to a product, or results away, for the twin."""

from collections.abc import Callable
from typing import Any

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia import blackwell
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    allocate_tensor_memory,
    fence_async_shared,
    tcgen05_commit,
    tcgen05_copy,
    tcgen05_mma,
    tensor_memory_descriptor,
    tma,
)
from triton.experimental.gluon.language.nvidia.hopper import mbarrier
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

M, N, K = 128, 64, 128
barrier = gl.thread_barrier if hasattr(gl, "thread_barrier") else gl.barrier
# Triton 3.6 and later releases have other names for these.
load_tile = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
store_tile = tma.async_store if hasattr(tma, "async_store") else tma.async_copy_shared_to_global
load_threads = async_copy.async_load if hasattr(async_copy, "async_load") else async_copy.async_copy_global_to_shared

HAS_REINTERPRET = gl.constexpr(hasattr(tensor_memory_descriptor, "reinterpret"))


@gluon.jit
def _barriers(count: gl.constexpr):
    """Mbarriers of one arrival each, known to all warps."""
    bars = gl.allocate_shared_memory(gl.int64, [count, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(count):
        mbarrier.init(bars.index(i), count=1)
    barrier()
    return bars


@gluon.jit
def _fetched(desc, row, bar, shape: gl.constexpr):
    """A tile in shared memory, waited for."""
    tile = gl.allocate_shared_memory(desc.dtype, shape, desc.layout)
    mbarrier.expect(bar, desc.block_type.nbytes)
    load_tile(desc, [row, 0], bar, tile)
    mbarrier.wait(bar, 0)
    return tile


@gluon.jit
def _store(out_ptr, values, M: gl.constexpr, N: gl.constexpr, layout: gl.constexpr):
    rows = gl.arange(0, M, layout=gl.SliceLayout(1, layout))
    columns = gl.arange(0, N, layout=gl.SliceLayout(0, layout))
    gl.store(out_ptr + rows[:, None] * N + columns[None, :], values)


@gluon.jit
def copied(a, b, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """The left operand is copied from shared to tensor memory, as words; the accumulator is read in two parts."""
    bars = _barriers(3)
    WORDS: gl.constexpr = a.block_type.shape[1]
    a_shared, b_shared = _fetched(a, 0, bars.index(0), [M, WORDS]), _fetched(b, 0, bars.index(1), [N, K])
    words = allocate_tensor_memory(gl.int32, [M, WORDS], TensorMemoryLayout([M, WORDS], col_stride=1))
    left_layout: gl.constexpr = TensorMemoryLayout([M, K], col_stride=1)
    if HAS_REINTERPRET:
        left = words.reinterpret(b.dtype, [M, K], left_layout)
    else:
        left = words._reinterpret(b.dtype, [M, K], left_layout)
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_copy(a_shared, words)
    tcgen05_mma(left, b_shared.permute((1, 0)), product, use_acc=False)
    tcgen05_commit(bars.index(2))
    mbarrier.wait(bars.index(2), 0)
    part: gl.constexpr = gl.BlockedLayout([1, N // 2], [32, 1], [4, 1], [0, 1])
    rows = gl.arange(0, M, layout=gl.SliceLayout(1, part))
    columns = gl.arange(0, N // 2, layout=gl.SliceLayout(0, part))
    for i in gl.static_range(2):
        values = product.slice(i * (N // 2), N // 2).load(part)
        gl.store(out_ptr + rows[:, None] * N + i * (N // 2) + columns[None, :], values)


@gluon.jit
def stored(a, b, out, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """The result goes back by a tensor copy out of shared memory."""
    bars = _barriers(3)
    a_shared, b_shared = _fetched(a, 0, bars.index(0), [M, K]), _fetched(b, 0, bars.index(1), [N, K])
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_mma(a_shared, b_shared.permute((1, 0)), product, use_acc=False, mbarriers=[bars.index(2)])
    mbarrier.wait(bars.index(2), 0)
    whole: gl.constexpr = gl.BlockedLayout([1, N], [32, 1], [4, 1], [0, 1])
    result = gl.allocate_shared_memory(gl.float32, [M, N], out.layout)
    result.store(product.load(whole))
    fence_async_shared()
    barrier()
    store_tile(out, [0, 0], result)
    tma.store_wait(0)


@gluon.jit
def gathered(a, b, rows_ptr, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """Rows of the right operand are gathered, each by its own number."""
    bars = _barriers(3)
    a_shared = _fetched(a, 0, bars.index(0), [M, K])
    numbers: gl.constexpr = gl.SliceLayout(0, gl.BlockedLayout([1, 4], [32, 1], [1, 4], [1, 0]))
    rows = gl.load(rows_ptr + gl.arange(0, N, layout=numbers))
    b_shared = gl.allocate_shared_memory(b.dtype, [N, K], b.layout)
    mbarrier.expect(bars.index(1), N * K * 2)
    tma.async_gather(b, rows, 0, bars.index(1), b_shared)
    mbarrier.wait(bars.index(1), 0)
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_mma(a_shared, b_shared.permute((1, 0)), product, use_acc=False, mbarriers=[bars.index(2)])
    mbarrier.wait(bars.index(2), 0)
    whole: gl.constexpr = gl.BlockedLayout([1, N], [32, 1], [4, 1], [0, 1])
    _store(out_ptr, product.load(whole), M, N, whole)


@gluon.jit
def by_threads(a_ptr, b, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """Threads copy the left operand, and their copies arrive at a barrier."""
    bars = gl.allocate_shared_memory(gl.int64, [3, 1], mbarrier.MBarrierLayout())
    mbarrier.init(bars.index(0), count=128)
    mbarrier.init(bars.index(1), count=1)
    mbarrier.init(bars.index(2), count=1)
    barrier()
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    rows = gl.arange(0, M, layout=gl.SliceLayout(1, layout))
    columns = gl.arange(0, K, layout=gl.SliceLayout(0, layout))
    a_shared = gl.allocate_shared_memory(b.dtype, [M, K], b.layout)
    load_threads(a_shared, a_ptr + rows[:, None] * K + columns[None, :])
    async_copy.mbarrier_arrive(bars.index(0), increment_count=False)
    b_shared = _fetched(b, 0, bars.index(1), [N, K])
    mbarrier.wait(bars.index(0), 0)
    fence_async_shared()
    barrier()
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_mma(a_shared, b_shared.permute((1, 0)), product, use_acc=False, mbarriers=[bars.index(2)])
    mbarrier.wait(bars.index(2), 0)
    whole: gl.constexpr = gl.BlockedLayout([1, N], [32, 1], [4, 1], [0, 1])
    _store(out_ptr, product.load(whole), M, N, whole)


@gluon.jit
def _start_products(a_shared, b_shared, product, is_loaded, is_done):
    mbarrier.wait(is_loaded, 0)
    tcgen05_mma(a_shared, b_shared.permute((1, 0)), product, use_acc=False)
    tcgen05_commit(is_done)


@gluon.jit
def _load_operands(a, b, a_shared, b_shared, is_loaded):
    mbarrier.expect(is_loaded, a.block_type.nbytes + b.block_type.nbytes)
    load_tile(a, [0, 0], is_loaded, a_shared)
    load_tile(b, [0, 0], is_loaded, b_shared)


@gluon.jit
def _taken(product, is_done, M: gl.constexpr, N: gl.constexpr, whole: gl.constexpr):
    mbarrier.wait(is_done, 0)
    return product.load(whole), gl.num_programs(0)


@gluon.jit
def specialised(a, b, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """Warps of their own copy and start products; the others hand their results on behind the partitions."""
    bars = _barriers(2)
    a_shared = gl.allocate_shared_memory(a.dtype, [M, K], a.layout)
    b_shared = gl.allocate_shared_memory(b.dtype, [N, K], b.layout)
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    whole: gl.constexpr = gl.BlockedLayout([1, N], [32, 1], [4, 1], [0, 1])
    values, count = gl.warp_specialize(
        [
            (_taken, (product, bars.index(1), M, N, whole)),
            (_load_operands, (a, b, a_shared, b_shared, bars.index(0))),
            (_start_products, (a_shared, b_shared, product, bars.index(0), bars.index(1))),
        ],
        [1, 1],
        [24, 24],
    )
    _store(out_ptr, values * count, M, N, whole)


@gluon.constexpr_function
def _layout_of_64_rows(layout, columns):
    """The layout in which threads load such an accumulator; later releases ask the accumulator itself."""
    if HAS_REINTERPRET.value:
        return None
    return blackwell.get_tmem_reg_layout(gl.float32, [64, columns], layout, 4)


@gluon.jit
def of_64_rows(a, b, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """Accumulators of 64 rows, one of them behind another in the same allocation."""
    bars = _barriers(3)
    a_shared, b_shared = _fetched(a, 0, bars.index(0), [M, K]), _fetched(b, 0, bars.index(1), [N, K])
    layout: gl.constexpr = TensorMemoryLayout([64, N], col_stride=1)
    products = allocate_tensor_memory(gl.float32, [2, 64, N], layout)
    for i in gl.static_range(2):
        half = a_shared.slice(i * 64, 64)
        tcgen05_mma(half, b_shared.permute((1, 0)), products.index(i), use_acc=False)
    tcgen05_commit(bars.index(2))
    mbarrier.wait(bars.index(2), 0)
    whole: gl.constexpr = gl.BlockedLayout([1, N], [16, 2], [4, 1], [0, 1])
    rows_of_64: gl.constexpr = _layout_of_64_rows(layout, N)
    for i in gl.static_range(2):
        if HAS_REINTERPRET:
            values = products.index(i).load(products.index(i).get_reg_layout())
        else:
            values = products.index(i).load(rows_of_64)
        _store(out_ptr + i * 64 * N, gl.convert_layout(values, whole), 64, N, whole)


@gluon.jit
def reinterpreted(a, b, out_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """A product's columns become the next product's left operand: bf16 where fp32 were."""
    bars = _barriers(3)
    a_shared, b_shared = _fetched(a, 0, bars.index(0), [M, K]), _fetched(b, 0, bars.index(1), [N, K])
    product = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_mma(a_shared, b_shared.permute((1, 0)), product, use_acc=False, mbarriers=[bars.index(2)])
    mbarrier.wait(bars.index(2), 0)
    whole: gl.constexpr = gl.BlockedLayout([1, N], [32, 1], [4, 1], [0, 1])
    values = product.load(whole)
    layout: gl.constexpr = TensorMemoryLayout([M, N], col_stride=1)
    if HAS_REINTERPRET:
        halves = product.slice(0, N // 2).reinterpret(a.dtype, [M, N], layout)
    else:
        halves = product.slice(0, N // 2)._reinterpret(a.dtype, [M, N], layout)
    halves.store(values.to(a.dtype))
    second = allocate_tensor_memory(gl.float32, [M, K], TensorMemoryLayout([M, K], col_stride=1))
    barrier()
    tcgen05_mma(halves, b_shared, second, use_acc=False, mbarriers=[bars.index(2)])
    mbarrier.wait(bars.index(2), 1)
    _store(out_ptr, second.load(whole), M, K, whole)


def _descriptor(tensor: torch.Tensor, rows: int) -> TensorDescriptor:
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=8 * tensor.element_size(), rank=2)
    return TensorDescriptor.from_tensor(tensor, [rows, tensor.shape[1]], layout)


Launch = Callable[[Any, torch.Tensor, torch.Tensor, torch.Tensor], None]
"""Launches a kernel on its operands and its result."""


def _plain(kernel: Any, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    kernel[(1,)](_descriptor(a, M), _descriptor(b, N), out, M, N, K)


def _in_words(kernel: Any, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    kernel[(1,)](_descriptor(a.view(torch.int32), M), _descriptor(b, N), out, M, N, K)


def _to_descriptor(kernel: Any, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    kernel[(1,)](_descriptor(a, M), _descriptor(b, N), _descriptor(out, M), M, N, K)


def _by_number(kernel: Any, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    rows = torch.arange(N, dtype=torch.int32).flip(0)
    kernel[(1,)](_descriptor(a, M), _descriptor(b.flip(0).contiguous(), 1), rows, out, M, N, K)


def _by_pointer(kernel: Any, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    kernel[(1,)](a, _descriptor(b, N), out, M, N, K)


KERNELS: dict[str, tuple[Any, Launch, torch.dtype]] = {
    "copied": (copied, _in_words, torch.bfloat16),
    "of_bytes": (copied, _in_words, torch.float8_e4m3fn),
    "stored": (stored, _to_descriptor, torch.bfloat16),
    "gathered": (gathered, _by_number, torch.bfloat16),
    "by_threads": (by_threads, _by_pointer, torch.bfloat16),
    "specialised": (specialised, _plain, torch.bfloat16),
    "of_64_rows": (of_64_rows, _plain, torch.bfloat16),
    "reinterpreted": (reinterpreted, _plain, torch.bfloat16),
}
"""Name -> kernel, how it is launched, and the format of its operands."""


def is_right(name: str) -> bool:
    """True if a kernel gives the product of small integers, or, of `reinterpreted`, that product with the keys."""
    kernel, launch, dtype = KERNELS[name]
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randint(-1, 2, (rows, K), generator=draw).to(dtype) for rows in (M, N))
    expected = a.float() @ b.float().T
    if name == "reinterpreted":
        expected = expected.bfloat16().float() @ b.float()
    out = torch.full(expected.shape, float("nan"))
    launch(kernel, a, b, out)
    return torch.equal(out, expected)

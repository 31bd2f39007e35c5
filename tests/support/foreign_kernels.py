"""Small Triton kernels that foreign code may contain, each with the same in torch.

A kernel takes two inputs and an output, all of N elements in one format, and N.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

Torch = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Foreign(NamedTuple):
    """A kernel, and what it must compute: exactly, or to the format's precision where sums may have any order."""

    kernel: Any
    in_torch: Torch
    is_exact: bool


KERNELS: dict[str, Foreign] = {}
"""Name -> kernel."""


def foreign(in_torch: Torch, is_exact: bool = True) -> Callable[[Any], Any]:
    """Enter a kernel into the table."""

    def enter(kernel: Any) -> Any:
        KERNELS[kernel.fn.__name__] = Foreign(kernel, in_torch, is_exact)
        return kernel

    return enter


def _square(x: torch.Tensor) -> torch.Tensor:
    return x.view(16, -1).float()


@foreign(lambda x, y: x + y * x - y)
@triton.jit
def arithmetic(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    tl.store(out_ptr + offs, x + y * x - y)


@foreign(lambda x, y: -x.abs() + 1.5)
@triton.jit
def negation_and_constants(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, -tl.abs(tl.load(x_ptr + offs)) + 1.5)


@foreign(lambda x, y: (x.float() / y.float()).to(x.dtype))
@triton.jit
def quotient(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs) / tl.load(y_ptr + offs))


@foreign(lambda x, y: torch.where((x < y) & (x != 0), x, y))
@triton.jit
def comparison(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    tl.store(out_ptr + offs, tl.where((x < y) & (x != 0.0), x, y))


@foreign(lambda x, y: torch.fmax(x, y) + torch.fmin(x, y).clamp(-1, 1))
@triton.jit
def greater_lesser_clamped(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    tl.store(out_ptr + offs, tl.maximum(x, y) + tl.clamp(tl.minimum(x, y), -1.0, 1.0))


@foreign(lambda x, y: (x.float() * 1.00390625 + y.float() / 3).to(x.dtype))
@triton.jit
def narrowing(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs).to(tl.float32), tl.load(y_ptr + offs).to(tl.float32)
    tl.store(out_ptr + offs, (x * 1.00390625 + y / 3.0).to(out_ptr.dtype.element_ty))


@foreign(lambda x, y: (torch.arange(len(x)) - 100).to(x.dtype) + x.int().to(x.dtype))
@triton.jit
def integers_and_back(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    whole = tl.load(x_ptr + offs).to(tl.int32)
    tl.store(out_ptr + offs, (offs - 100).to(out_ptr.dtype.element_ty) + whole.to(out_ptr.dtype.element_ty))


@foreign(lambda x, y: (_square(x) @ _square(y).T).to(x.dtype).repeat(1, 16)[:, : len(x) // 16].flatten(), False)
@triton.jit
def product(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    rows, columns = tl.arange(0, 16)[:, None], tl.arange(0, N // 16)[None, :]
    offs = rows * (N // 16) + columns
    dots = tl.dot(tl.load(x_ptr + offs), tl.trans(tl.load(y_ptr + offs)))
    wide = tl.arange(0, 16)
    for repeat in tl.static_range(N // 256):
        places = out_ptr + tl.arange(0, 16)[:, None] * (N // 16) + repeat * 16 + wide[None, :]
        tl.store(places, dots.to(out_ptr.dtype.element_ty))


@foreign(lambda x, y: x.float().sum().to(x.dtype) + x.amax() - y.amin() + torch.zeros_like(x), False)
@triton.jit
def reductions(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    total = tl.sum(x, 0) + tl.max(x, 0) - tl.min(y, 0)
    tl.store(out_ptr + offs, tl.zeros((N,), out_ptr.dtype.element_ty) + total.to(out_ptr.dtype.element_ty))


@foreign(lambda x, y: (x.argmax() + y.argmin()).to(x.dtype) + x.amax() + torch.zeros_like(x))
@triton.jit
def places_of_extremes(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    x, y = tl.load(x_ptr + offs), tl.load(y_ptr + offs)
    best, place = tl.max(x, 0, return_indices=True)
    place += tl.argmin(y, 0)
    total = place.to(out_ptr.dtype.element_ty) + best.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offs, tl.zeros((N,), out_ptr.dtype.element_ty) + total)


@foreign(lambda x, y: x.float().cumsum(0).to(x.dtype), False)
@triton.jit
def running_sum(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.cumsum(tl.load(x_ptr + offs), 0))


@triton.jit
def _greater(a, b):
    return tl.where(a > b, a, b)


@foreign(lambda x, y: x.cummax(0).values + y.amax())
@triton.jit
def own_combination(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    best = tl.reduce(tl.load(y_ptr + offs), 0, _greater)
    tl.store(out_ptr + offs, tl.associative_scan(tl.load(x_ptr + offs), 0, _greater) + best)


@foreign(lambda x, y: x.sort(descending=True).values)
@triton.jit
def sorting(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.sort(tl.load(x_ptr + offs), descending=True))


@foreign(lambda x, y: x.topk(16).values.repeat(len(x) // 16))
@triton.jit
def best_sixteen(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    best = tl.topk(tl.load(x_ptr + offs), 16)
    for repeat in tl.static_range(N // 16):
        tl.store(out_ptr + repeat * 16 + tl.arange(0, 16), best)


@foreign(
    lambda x, y: torch.histc((x.float() * 4).int().clamp(0, 15).float(), 16, 0, 16).to(x.dtype).repeat(len(x) // 16)
)
@triton.jit
def histogram(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    bins = tl.minimum(tl.maximum((tl.load(x_ptr + offs).to(tl.float32) * 4).to(tl.int32), 0), 15)
    counts = tl.histogram(bins, 16)
    for repeat in tl.static_range(N // 16):
        tl.store(out_ptr + repeat * 16 + tl.arange(0, 16), counts.to(out_ptr.dtype.element_ty))


@foreign(lambda x, y: x + y)
@triton.jit
def atomic_sum(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs))
    tl.atomic_add(out_ptr + offs, tl.load(y_ptr + offs), mask=offs < N - 1)
    tl.atomic_add(out_ptr + N - 1, tl.load(y_ptr + N - 1))


@foreign(lambda x, y: torch.cat([x.new_full((5,), -torch.inf), x[5:] + 0.5]))
@triton.jit
def absent_elements(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    half = tl.full((N,), 0.5, out_ptr.dtype.element_ty)
    tl.store(out_ptr + offs, tl.load(x_ptr + offs, mask=offs >= 5, other=-float("inf")) + half)


@foreign(lambda x, y: x.flip(0))
@triton.jit
def reversal(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    tl.store(out_ptr + tl.arange(0, N), tl.flip(tl.load(x_ptr + tl.arange(0, N)), 0))

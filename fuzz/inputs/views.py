"""Tensors as views into larger buffers, laid out as a case plans."""

import mmap
from dataclasses import dataclass
from math import prod

import torch

from fuzz.cases.case import ViewPlan
from fuzz.inputs.guard_pages import OwnPages, own_pages
from msa_ref.config import require

MARGIN = 64
"""Elements of margin in front of and behind every view."""


@dataclass(frozen=True, eq=False)
class View:
    """A tensor inside a buffer of its own. base: the 1-D buffer; tensor: the view; pages: the buffer's, on a CPU."""

    base: torch.Tensor
    tensor: torch.Tensor
    pages: OwnPages | None = None

    @property
    def uncounted(self) -> "View":
        """The same memory by tensors whose writes no `_version` of the first one counts, like those of a kernel."""
        return View(self.base.data, self.tensor.data, self.pages)

    @property
    def once(self) -> torch.Tensor:
        """The tensor with each of its elements once: axes that it is expanded along have one entry."""
        seen = self.tensor
        for axis in range(seen.dim()):
            if seen.stride(axis) == 0:
                seen = seen.narrow(axis, 0, min(1, seen.shape[axis]))
        return seen


def make_plain(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str, fill: float) -> View:
    """A tensor that torch makes, no view and without margins, full of `fill`."""
    tensor = torch.full(shape, fill, dtype=dtype, device=device)
    return View(tensor.view(-1), tensor)


def make_view(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    plan: ViewPlan,
    fill: float,
    fence: str = "",
    align: int = 0,
) -> View:
    """A view of `shape`, laid out as planned, in a buffer that holds `fill` everywhere.

    On a CPU forbidden memory lies in front of the buffer and behind it.

    fence: the end at which the view has no margin; see `Views.fence`. align: see `Views.align`.

    Raises:
        ValueError: one sentence, if the plan does not fit the rank of the tensor.
    """
    axes, pads = plan.axes or tuple(range(len(shape))), plan.pads or (0,) * len(shape)
    require(sorted(axes) == list(range(len(shape))), "axes", f"must permute {len(shape)} axes", list(axes))
    require(len(pads) == len(shape), "pads", f"must have {len(shape)} entries", list(pads))
    strides, stride = [0] * len(shape), plan.step
    for axis in reversed(axes):
        if axis in plan.expanded:
            continue
        strides[axis] = stride
        if axis == axes[0]:
            strides[axis] += plan.gap
            stride += plan.gap
        stride *= max(1, shape[axis] + pads[axis])  # as torch lays out empty tensors
    if fence == "behind":
        stride = sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1 if prod(shape) else 0
    first = 0 if fence == "in front" else MARGIN + plan.offset
    is_free = (fence == "in front" and align >= mmap.PAGESIZE) or not (fence or plan.offset)
    align = align if is_free else 0
    if torch.device(device).type != "cpu":
        room = 2 * align // dtype.itemsize
        base = torch.full((first + stride + MARGIN + room,), fill, dtype=dtype, device=device)
        first += -(base.data_ptr() + first * dtype.itemsize + align) % max(1, 2 * align) // dtype.itemsize
        return View(base, base.as_strided(shape, strides, first))
    if align:
        step = min(2 * align, mmap.PAGESIZE)  # the pages begin where it takes the rest of the way
        first = (-(-first * dtype.itemsize // step) * step + align % step) // dtype.itemsize
    length = first + stride + (0 if fence == "behind" else MARGIN)
    if fence != "behind":  # else a write into the rest of the last page would be missed
        length = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = own_pages(length, fill, dtype, begins_at_fence=fence != "behind", is_at=(align, first * dtype.itemsize))
    return View(pages.base, pages.base.as_strided(shape, strides, first), pages)

"""Tensors as views into larger buffers, laid out as a case plans."""

from dataclasses import dataclass

import torch

from fuzz.cases.case import ViewPlan
from fuzz.inputs.guard_pages import fenced
from msa_ref.config import require

MARGIN = 64
"""Elements of margin in front of and behind every view."""


@dataclass(frozen=True, eq=False)
class View:
    """A tensor inside a buffer of its own. base: the 1-D buffer; tensor: the view."""

    base: torch.Tensor
    tensor: torch.Tensor


def make_view(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | str,
    plan: ViewPlan,
    fill: float,
    is_fenced: bool = False,
) -> View:
    """A view of `shape`, laid out as planned, in a buffer that holds `fill` everywhere.

    is_fenced: whether the buffer ends with the view's last element, with forbidden memory behind it on a CPU.

    Raises:
        ValueError: one sentence, if the plan does not fit the rank of the tensor.
    """
    axes, pads = plan.axes or tuple(range(len(shape))), plan.pads or (0,) * len(shape)
    require(sorted(axes) == list(range(len(shape))), "axes", f"must permute {len(shape)} axes", list(axes))
    require(len(pads) == len(shape), "pads", f"must have {len(shape)} entries", list(pads))
    strides, stride = [0] * len(shape), plan.step
    for axis in reversed(axes):
        strides[axis] = stride
        stride *= max(1, shape[axis] + pads[axis])  # as torch lays out empty tensors
    length = MARGIN + plan.offset + stride + MARGIN
    if is_fenced:
        reach = sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1 if all(shape) else 0
        length = MARGIN + plan.offset + reach
    if is_fenced and torch.device(device).type == "cpu":
        base = fenced(length, fill, dtype)
    else:
        base = torch.full((length,), fill, dtype=dtype, device=device)
    return View(base, base.as_strided(shape, strides, MARGIN + plan.offset))

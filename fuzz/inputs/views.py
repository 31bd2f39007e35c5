"""Tensors as views into larger buffers, and what a guard needs to know about them."""

from dataclasses import dataclass

import torch

from fuzz.cases.case import ViewPlan
from fuzz.inputs.guard_pages import fenced
from msa_ref.config import require

OUT_MARKER = -7_777_777
"""What integer outputs and their margins hold before a run: neither an id nor PAD."""

MARGIN = 64
"""Elements of margin in front of and behind every view."""


MOST_FAR_SCORES = 2**32 + 2**12
"""Elements: a little more than 16 GiB of them."""


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

    is_fenced: the buffer ends with the view's last element, and on a CPU so does memory.

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


def make_far_pages(num_pages: int, block_size: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> View:
    """Pages so far apart that the last ones' element offsets pass 2**31. Touches only the pages."""
    page_stride = 2**31 // max(1, num_pages - 2) // 16 * 16 + 16
    base = torch.empty(num_pages * page_stride, dtype=dtype, device=device)
    view = base.as_strided((num_pages, block_size, head_dim), (page_stride, head_dim, 1))
    return View(view, view)


def make_far_scores(shape: tuple[int, ...], num_blocks: int, device: torch.device) -> View:
    """[H, T, max_blocks] float32, blocks so far apart that the offset of the last of num_blocks passes 2**31.

    So do those of all in the table's last quarter: blocks that a row sees whole, and its own. The scores of
    one block lie side by side. A table much wider than its blocks would need too much memory: there scores
    lie no further apart than their number makes them.
    """
    heads, tokens, max_blocks = shape
    first_far = max(1, min(num_blocks - 1, max_blocks * 3 // 4))
    stride = max(heads * tokens, 2**31 // first_far + 16)
    if max_blocks * stride > MOST_FAR_SCORES:
        stride = max(1, heads * tokens)
    base = torch.empty(max_blocks * stride, dtype=torch.float32, device=device)
    view = base.as_strided(shape, (1, heads, stride))
    return View(view, view)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors of one shape hold the same bits, NaN payloads and zero signs included."""
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[left.element_size()]
    return torch.equal(left.view(kind), right.view(kind))

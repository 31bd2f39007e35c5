"""Pages, scores, and rows of queries and of the block table so far apart that element offsets pass 2**31; late pages.

A GPU has memory for them. On a CPU they lie in address space that nothing reserves: what no one touches costs nothing.
"""

import mmap
from math import prod

import torch

from fuzz.inputs.views import View

MAX_FAR_SCORES = 2**32 + 2**12
"""Elements of a buffer for far scores: a little more than 16 GiB of them."""
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Linux's flag for address space without memory behind it, which Python 3.11 does not name."""


def make_far_pages(num_pages: int, block_size: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> View:
    """Pages so far apart that the last ones' element offsets pass 2**31: on a CPU those of half of them.

    Touches only the pages.
    """
    page_stride = _far_stride(num_pages) if device.type == "cpu" else _past(num_pages - 2)
    base = _spread_out(num_pages * page_stride, dtype, device)
    view = base.as_strided((num_pages, block_size, head_dim), (page_stride, head_dim, 1))
    return View(view, view)


def make_late_pages(
    num_skipped: int, num_pages: int, block_size: int, head_dim: int, dtype: torch.dtype, device: torch.device
) -> View:
    """Pages behind many others, which hold zeros and which nothing is written to; the view's base leaves those out."""
    base = _spread_out((num_skipped + num_pages) * block_size * head_dim, dtype, device)
    if device.type != "cpu":
        base.zero_()
    pages = base.view(num_skipped + num_pages, block_size, head_dim)
    return View(pages[num_skipped:], pages)


def make_far_entries(shape: torch.Size, *axes: int, dtype: torch.dtype, reach: int = 2**31) -> torch.Tensor:
    """Zeros on a CPU, of which the last entry along some axes begins `reach` elements behind the first, or a few more.

    Where an offset of 32 bits leads lies memory, too. shape: of two entries or more along each of the axes, which
    have equal shares of the reach.
    """
    others = [1 if axis in axes else size for axis, size in enumerate(shape)]
    strides = list(torch.empty(others, device="meta").stride())
    for axis in axes:
        strides[axis] = max(prod(others), -(-reach // len(axes) // (shape[axis] - 1)))
    last = sum((shape[axis] - 1) * strides[axis] for axis in axes)
    base = _spread_out(2**31 + last + prod(others), dtype, torch.device("cpu"))
    return base.as_strided(shape, strides, 2**31)


def make_far_scores(shape: tuple[int, ...], num_blocks: int, device: torch.device) -> View:
    """[H, T, max_blocks] float32, blocks so far apart that the offset of the last of num_blocks passes 2**31.

    The offsets of all blocks in the table's last quarter pass it too: blocks that a row sees whole, and its
    own. The scores of one block lie side by side. A table much wider than its blocks would need too much
    memory, so there scores lie as close as in a contiguous table.
    """
    heads, tokens, max_blocks = shape
    first_far = max(1, min(num_blocks - 1, max_blocks * 3 // 4))
    stride = max(heads * tokens, 2**31 // first_far + 16)
    if max_blocks * stride > MAX_FAR_SCORES:
        stride = max(1, heads * tokens)
    base = _spread_out(max_blocks * stride, torch.float32, device)
    view = base.as_strided(shape, (1, heads, stride))
    return View(view, view)


def make_far_score_rows(shape: tuple[int, ...], are_heads_far: bool, device: torch.device) -> View:
    """[H, T, max_blocks] float32, rows (token, head) so far apart that the offset of the last one passes 2**31.

    On a CPU those of half of them. The scores of one row lie side by side; where heads are far, those of all tokens of
    one head do.
    """
    heads, tokens, max_blocks = shape
    num_far = heads if are_heads_far else heads * tokens
    stride = _far_stride(num_far) if device.type == "cpu" else _past(num_far - 1)
    strides = (stride, 2 * max_blocks, 1) if are_heads_far else (stride, heads * stride, 1)
    view = _spread_out(num_far * stride + 2 * tokens * max_blocks, torch.float32, device).as_strided(shape, strides)
    return View(view, view)


def far_axis(shape: tuple[int, ...], device: torch.device) -> int | None:
    """The axis of a tensor along which it can be far: one of the first two, of three entries or more; none on a GPU.

    The offset of the third one then passes 2**31 by a stride that does not, so that a product of 32 bits wraps.
    """
    return next((axis for axis in (0, 1) if device.type == "cpu" and shape[axis] > 2), None)


def make_far_rows(shape: tuple[int, ...], axis: int, dtype: torch.dtype, fill: float) -> View:
    """`make_far_entries` that hold `fill`, so far apart that half of their offsets pass 2**31."""
    reach = (shape[axis] - 1) * _far_stride(shape[axis])
    view = make_far_entries(torch.Size(shape), axis, dtype=dtype, reach=reach).fill_(fill)
    return View(view, view)


def _far_stride(count: int) -> int:
    """A stride by which the offsets of half of `count` entries pass 2**31 elements."""
    return _past(-(-count // 2))


def _past(number: int) -> int:
    """The stride, a multiple of 16, by which the offset of entry `number` is the first to pass 2**31 elements."""
    return 2**31 // max(1, number) // 16 * 16 + 16


def _spread_out(length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A 1-D tensor; on a CPU only what is touched of it becomes memory.

    Raises:
        MemoryError: if the system has no such address space.
    """
    if device.type != "cpu" or not length:
        return torch.empty(length, dtype=dtype, device=device)
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        memory = mmap.mmap(-1, length * dtype.itemsize, flags=flags)
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # a touched element makes one small page of memory, not a large one
    except OSError as error:
        raise MemoryError(f"no address space for {length} elements of {dtype}") from error
    return torch.frombuffer(memory, dtype=dtype, count=length)

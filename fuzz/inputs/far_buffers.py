"""Pages and scores so far apart that element offsets pass 2**31."""

import torch

from fuzz.inputs.views import View

MAX_FAR_SCORES = 2**32 + 2**12
"""Elements of a buffer for far scores: a little more than 16 GiB of them."""


def make_far_pages(num_pages: int, block_size: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> View:
    """Pages so far apart that the last ones' element offsets pass 2**31. Touches only the pages."""
    page_stride = 2**31 // max(1, num_pages - 2) // 16 * 16 + 16
    base = torch.empty(num_pages * page_stride, dtype=dtype, device=device)
    view = base.as_strided((num_pages, block_size, head_dim), (page_stride, head_dim, 1))
    return View(view, view)


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
    base = torch.empty(max_blocks * stride, dtype=torch.float32, device=device)
    view = base.as_strided(shape, (1, heads, stride))
    return View(view, view)

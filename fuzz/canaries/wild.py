"""Kernels that end or hold what they run on, for real: for testing isolation on a GPU."""

# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl
from triton.language.extra.cuda import globaltimer


@triton.jit
def store_far_away(out_ptr, distance):
    """Grid (1,). Writes one element, `distance` elements behind out_ptr."""
    tl.store(out_ptr + distance, 1)


@triton.jit
def spin(out_ptr, nanoseconds):
    """Grid (1,). Writes one element after a wait of `nanoseconds`: a GPU is never held for good."""
    start = globaltimer()
    now = start
    while now - start < nanoseconds:
        now = globaltimer()
    tl.store(out_ptr, (now - start).to(tl.int32))

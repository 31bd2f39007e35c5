"""A kernel that writes where no memory is: the real illegal address, for testing isolation on a GPU."""

import triton
import triton.language as tl


@triton.jit
def store_far_away(out_ptr, distance):
    """Grid (1,). Writes one element, `distance` elements behind out_ptr."""
    tl.store(out_ptr + distance, 1)

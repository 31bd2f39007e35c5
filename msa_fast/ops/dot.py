"""The one matrix product that every kernel uses."""

import triton
import triton.language as tl

from msa_fast.interpreter import mend

IS_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""True if kernels run on Triton's interpreter; fixed when this module is imported."""

if IS_INTERPRETED:
    mend()


@triton.jit
def multiplied_as(q):
    """Queries in the format in which they are multiplied: e4m3 as fp16, which holds each of its numbers."""
    if q.dtype.primitive_bitwidth == 8:
        q = q.to(tl.float16)
    return q


@triton.jit
def dot_fp8(a, b):
    """a [M, D] times b [D, N], e4m3 both, as the matrix unit for e4m3 sums them: Hopper's keeps 13 bits of a sum.

    The interpreter, whose sums are as precise as fp32 by default, is told that imprecise ones will do.
    """
    if IS_INTERPRETED:
        return tl.dot(a, b, max_num_imprecise_acc=a.shape[1], out_dtype=tl.float32)
    return tl.dot(a, b, out_dtype=tl.float32)


@triton.jit
def dot_fp32(a, b):
    """a [M, D] times b [D, N], accumulated in fp32 [M, N].

    bf16 and fp16 go to the matrix unit as they are; fp32 operands multiply in IEEE fp32, never in
    TF32. e4m3 operands become numbers of the other operand's format first, which is exact: Hopper's own unit for
    them keeps 13 bits of a sum. The interpreter would compute garbage from bf16, silently, so there (and only there)
    operands are widened first, which is exact. No kernel calls tl.dot itself: a test sees to it.
    """
    if a.dtype.primitive_bitwidth == 8:
        a = a.to(b.dtype)
    if b.dtype.primitive_bitwidth == 8:
        b = b.to(a.dtype)
    if IS_INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee", out_dtype=tl.float32)

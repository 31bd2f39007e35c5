"""The one matrix product that every kernel uses."""

import triton
import triton.language as tl

from msa_fast.interpreter import mend

IS_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
"""True if kernels run on Triton's interpreter; fixed when this module is imported."""

if IS_INTERPRETED:
    mend()


@triton.jit
def dot_fp32(a, b):
    """a [M, D] times b [D, N], accumulated in fp32 [M, N].

    bf16 and fp16 go to the matrix unit as they are; fp32 operands multiply in IEEE fp32, never in
    TF32. The interpreter would compute garbage from bf16, silently, so there (and only there)
    operands are widened first, which is exact. No kernel calls tl.dot itself: a test sees to it.
    """
    if IS_INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee", out_dtype=tl.float32)

"""Keys of one byte as Hopper's matrix unit takes them: 16 bits wide, as a left operand that lies in registers.

Threads load whole words and widen them where they are. A sum over D may run in any order, so D is taken in the order
in which threads hold it, and queries are stored in the same order.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def as_multiplied(values):
    """values [N, D], with D in the order in which products sum: a thread's 32 bytes of a key fill its share of them."""
    N: gl.constexpr = values.shape[0]
    D: gl.constexpr = values.shape[1]
    return values.reshape([N, 4, D // 8, 2]).permute((0, 2, 1, 3)).reshape([N, D])


@gluon.constexpr_function
def as_loaded():
    """Layout of half a page's bytes: four threads share a key, each with 32 bytes side by side."""
    return gl.DistributedLinearLayout(
        [[0, 1], [0, 2], [0, 4], [0, 8], [0, 16], [8, 0]],
        [[0, 32], [0, 64], [1, 0], [2, 0], [4, 0]],
        [[16, 0], [32, 0]],
        [],
        [64, 128],
    )


@gluon.jit
def widened(keys, dtype: gl.constexpr, operand: gl.constexpr):
    """keys, loaded `as_loaded`, as exactly the same values of 16 bits, in the layout of an operand."""
    wide = keys.to(gl.float16)
    if dtype == gl.bfloat16:
        wide = wide.to(gl.float32).to(gl.bfloat16)
    return gl.convert_layout(as_multiplied(wide), operand, assert_trivial=True)

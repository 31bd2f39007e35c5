"""The mask of diagonal blocks, of which a row sees the first tokens, in Hopper's prefill scorers of 16-bit keys."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def masked(token_score, block, visible_len, S: gl.constexpr, mma: gl.constexpr):
    """-inf for the tokens that a row does not see."""
    ROWS: gl.constexpr = token_score.shape[0]
    # A token's number is a constant of the register plus one of the lane. The lane's goes to the other side, so that a
    # thread compares with constants: few programs run this, and wait for its instructions.
    parts = token_score.reshape([ROWS, S // 8, 4, 2])
    layout: gl.constexpr = parts.type.layout
    of_lane = gl.arange(0, 4, layout=gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(3, layout))))
    eighth = gl.arange(0, S // 8, layout=gl.SliceLayout(0, gl.SliceLayout(2, gl.SliceLayout(3, layout))))
    pair = gl.arange(0, 2, layout=gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(2, layout))))
    token = 8 * eighth[None, :, None, None] + pair[None, None, None, :]
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, gl.SliceLayout(3, layout)))
    num_seen = gl.convert_layout(visible_len - block * S, of_rows, assert_trivial=True)[:, None, None, None]
    seen = gl.where(token < num_seen - 2 * of_lane[None, None, :, None], parts, float("-inf"))
    return gl.convert_layout(seen.reshape([ROWS, S]), mma, assert_trivial=True)

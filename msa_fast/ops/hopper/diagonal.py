"""The masks of diagonal blocks in Hopper's prefill scorers: there a row sees the first tokens alone."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def columns_apart(token_score):
    """(parts, of_register, of_lane) of a product [ROWS, COLUMNS]: it, and its columns' numbers as sums of two.

    parts: [ROWS, COLUMNS // 8, 4, 2]. of_register [1, COLUMNS // 8, 1, 2], of_lane [1, 1, 4, 1]: int32. A mask takes
    what depends on the lane to the other side, so that a thread compares with constants, and need keep no numbers: few
    programs run a mask, and wait for its instructions.
    """
    COLUMNS: gl.constexpr = token_score.shape[1]
    parts = token_score.reshape([token_score.shape[0], COLUMNS // 8, 4, 2])
    layout: gl.constexpr = parts.type.layout
    lane = gl.arange(0, 4, layout=gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(3, layout))))
    eighth = gl.arange(0, COLUMNS // 8, layout=gl.SliceLayout(0, gl.SliceLayout(2, gl.SliceLayout(3, layout))))
    pair = gl.arange(0, 2, layout=gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(2, layout))))
    return parts, 8 * eighth[None, :, None, None] + pair[None, None, None, :], 2 * lane[None, None, :, None]


@gluon.jit
def masked(token_score, block, visible_len, S: gl.constexpr, mma: gl.constexpr):
    """-inf for the tokens that a row does not see, in token_score [ROWS, S] of 16-bit keys."""
    parts, token, of_lane = columns_apart(token_score)
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, gl.SliceLayout(3, parts.type.layout)))
    num_seen = gl.convert_layout(visible_len - block * S, of_rows, assert_trivial=True)[:, None, None, None]
    seen = gl.where(token < num_seen - of_lane, parts, float("-inf"))
    return gl.convert_layout(seen.reshape(token_score.shape), mma, assert_trivial=True)

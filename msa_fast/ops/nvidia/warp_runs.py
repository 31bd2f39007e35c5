"""Runs of blocks in the selection by single warps: their best scores, and those of the parts of the chosen ones.

Candidates are [ROWS, 32, EACH], as `warp_votes` has them.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from msa_fast.ops.nvidia.warp_votes import from_lane

RUN = gl.constexpr(8)
"""Blocks of a run, and runs of a long one."""


@gluon.constexpr_function
def side_by_side(width, length, vector):
    """Runs of `width` that a lane has side by side: those of one block of a vector, or one longer run."""
    return min(width // 32, vector) if length == 1 else 1


@gluon.jit
def _beside(of_rows, wide: gl.constexpr):
    """One value per row, [ROWS], as [ROWS, 1, 1, 1] in the layout `wide`."""
    LAYOUT: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, gl.SliceLayout(3, wide)))
    return gl.convert_layout(of_rows, LAYOUT)[:, None, None, None]


@gluon.jit
def _places(EACH: gl.constexpr, AT_ONCE: gl.constexpr, wide: gl.constexpr):
    """int32 in the layout `wide`: lanes [1, 32, 1, 1], their EACH turns [1, 1, EACH, 1], what a turn reads at once."""
    of_lanes: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(2, gl.SliceLayout(3, wide)))
    of_turns: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(3, wide)))
    within: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(2, wide)))
    lane = gl.arange(0, 32, layout=of_lanes)[None, :, None, None]
    turn = gl.arange(0, EACH, layout=of_turns)[None, None, :, None]
    return lane, turn, gl.arange(0, AT_ONCE, layout=within)[None, None, None, :]


@gluon.jit
def _scores_at(rows, blocks, stride_v, VECTOR: gl.constexpr):
    """Addresses of the scores of a row's blocks. blocks: groups of VECTOR side by side begin at a multiple of it."""
    # Written as an offset from the contiguous layout, so it folds to zero when stride_v == VECTOR.
    return rows + blocks + (blocks // VECTOR).to(gl.int64) * (stride_v - VECTOR)


@gluon.jit
def _scores_of_32_runs(turn, score_rows, stride_v, num_visible, LENGTH: gl.constexpr, VECTOR: gl.constexpr):
    """fp32 [ROWS, 32, PARTS, VECTOR]: scores of a turn's runs, long ones, of PARTS vectors each.

    The lanes read the vectors of all side by side: were a run read by the lane that gets it, each load would touch 32
    lines. Behind the row's last vector that is read again, so that no mask stands between the loads.
    """
    ROWS: gl.constexpr = score_rows.shape[0]
    PARTS: gl.constexpr = LENGTH // VECTOR
    read: gl.constexpr = gl.BlockedLayout([ROWS, 1, 1, VECTOR], [1, 32 // PARTS, PARTS, 1], [1, 1, 1, 1], [3, 2, 1, 0])
    run, part, within = _places(PARTS, VECTOR, read)
    vector = gl.minimum((turn * 32 + run) * PARTS + part, (_beside(num_visible, read) - 1) // VECTOR)
    return gl.load(_scores_at(_beside(score_rows, read), vector * VECTOR + within, stride_v, VECTOR))


@gluon.jit
def _best_of_32_runs(score):
    """fp32 [ROWS, 32]: best of the scores of 32 runs, one a lane."""
    own: gl.constexpr = gl.BlockedLayout([score.shape[0], 1, score.shape[2]], [1, 32, 1], [1, 1, 1], [2, 1, 0])
    return gl.max(gl.convert_layout(gl.max(score, axis=3), own), axis=2)


@gluon.jit
def best_of_runs(score_rows, stride_v, num_visible, WIDTH: gl.constexpr, LENGTH: gl.constexpr, VECTOR: gl.constexpr):
    """fp32 [ROWS, 32, WIDTH // 32]: best scores of the first WIDTH runs of LENGTH blocks. int32: their first blocks.

    Rows that see nothing (num_visible [ROWS] is 0) get arbitrary values.
    """
    ROWS: gl.constexpr = score_rows.shape[0]
    BESIDE: gl.constexpr = side_by_side(WIDTH, LENGTH, VECTOR)
    EACH: gl.constexpr = WIDTH // 32 // BESIDE
    AT_ONCE: gl.constexpr = VECTOR if LENGTH > RUN else LENGTH * BESIDE
    # Blocks of a run lie side by side in a lane, and so do runs of one block; lanes take turns with these.
    wide: gl.constexpr = gl.BlockedLayout([ROWS, 1, EACH, AT_ONCE], [1, 32, 1, 1], [1, 1, 1, 1], [3, 2, 1, 0])
    lane, turn, within = _places(EACH, AT_ONCE, wide)
    first = (turn * 32 + lane) * BESIDE * LENGTH
    rows = _beside(score_rows, wide)
    visible = _beside(num_visible, wide)
    if LENGTH <= RUN:
        blocks = first + within
        # All of a vector are read if its first is visible: behind the last visible block scores are -inf.
        at = _scores_at(rows, blocks, stride_v, VECTOR)
        score = gl.load(at, mask=blocks // VECTOR * VECTOR < visible, other=float("-inf"))
        if LENGTH == 1:
            best = score.reshape([ROWS, 32, EACH * BESIDE])
            first = (first + within).reshape([1, 32, EACH * BESIDE])
        else:
            best = gl.max(score, axis=3)
            first = first.reshape([1, 32, EACH])
    else:
        best = gl.full([ROWS, 32, EACH], float("-inf"), gl.float32, gl.SliceLayout(3, wide))
        of_turns: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(1, gl.SliceLayout(3, wide)))
        score = _scores_of_32_runs(0, score_rows, stride_v, num_visible, LENGTH, VECTOR)
        for i in gl.static_range(EACH):
            of_turn = score
            if i + 1 < EACH:  # on their way while this turn's maxima are taken
                score = _scores_of_32_runs(i + 1, score_rows, stride_v, num_visible, LENGTH, VECTOR)
            best_of_turn = _best_of_32_runs(of_turn)
            is_own = gl.arange(0, EACH, layout=of_turns)[None, None, :] == i
            best = gl.where(is_own, gl.convert_layout(best_of_turn[:, :, None], gl.SliceLayout(3, wide)), best)
        first = first.reshape([1, 32, EACH])
    return best, first


@gluon.jit
def best_of_parts(
    score_rows, stride_v, runs, num_visible, TOPK: gl.constexpr, K: gl.constexpr, LENGTH: gl.constexpr,
    VECTOR: gl.constexpr,
):  # fmt: skip
    """The same [ROWS, 32, K * RUN // 32] of the RUN parts, LENGTH blocks each, of the TOPK runs in runs [ROWS, 32]."""
    ROWS: gl.constexpr = score_rows.shape[0]
    AT_ONCE: gl.constexpr = LENGTH if LENGTH > 1 else VECTOR
    STEPS: gl.constexpr = LENGTH * RUN // AT_ONCE
    EACH: gl.constexpr = K * STEPS // 32
    wide: gl.constexpr = gl.BlockedLayout([ROWS, 1, EACH, AT_ONCE], [1, 32, 1, 1], [1, 1, 1, 1], [3, 2, 1, 0])
    of_lanes: gl.constexpr = gl.SliceLayout(2, gl.SliceLayout(3, wide))
    lane, turn, within = _places(EACH, AT_ONCE, wide)
    step = lane * EACH + turn if LENGTH == 1 else turn * 32 + lane
    slot = step // STEPS
    visible = _beside(num_visible, wide)
    runs, slots = gl.broadcast(gl.convert_layout(runs, of_lanes)[:, :, None, None], slot)
    run = gl.where((slot < TOPK) & (visible > 0), from_lane(runs, slots), visible)
    start = run + step % STEPS * AT_ONCE
    # Written as a multiple, so that the compiler sees one load of VECTOR entries.
    blocks = start // VECTOR * VECTOR + within
    at = _scores_at(_beside(score_rows, wide), blocks, stride_v, VECTOR)
    score = gl.load(at, mask=blocks // VECTOR * VECTOR < visible, other=float("-inf"))
    if LENGTH > 1:
        best, first = gl.max(score, axis=3), start.reshape([ROWS, 32, EACH])
    else:
        best = score.reshape([ROWS, 32, EACH * VECTOR])
        first = (start + within).reshape([ROWS, 32, EACH * VECTOR])
    return best, first

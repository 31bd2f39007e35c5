"""Votes among the threads of a warp: they find the cut and the chosen runs in the selection on Hopper and Blackwell.

A vote takes a few cycles and tells every thread about all others. Candidates are
[ROWS, 32, EACH]: a lane has EACH of every row, and a column is what the lanes have in the same place.
"""

import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from msa_fast.ops.rank import RANK_FORCED

DIGIT = 5
"""Bits of a digit: as many values as a warp has lanes."""


@gluon.jit
def any_row(is_it):
    """True if is_it [ROWS] holds for any row."""
    return gl.max(is_it.to(gl.int32), axis=0) > 0


@gluon.jit
def _votes(is_it):
    """int32 [ROWS, 32, EACH], twice: (count in lower lanes, count in all lanes) of `is_it`, per column."""
    return gl.inline_asm_elementwise(
        """{
            .reg .pred is_it;
            .reg .b32 lanes;
            setp.ne.s32 is_it, $2, 0;
            vote.sync.ballot.b32 lanes, is_it, 0xffffffff;
            popc.b32 $1, lanes;
            .reg .b32 before;
            mov.u32 before, %lanemask_lt;
            and.b32 lanes, lanes, before;
            popc.b32 $0, lanes;
        }""",
        "=r,=r,r",
        [is_it.to(gl.int32)],
        dtype=(gl.int32, gl.int32),
        is_pure=False,
        pack=1,
    )


@gluon.jit
def num_before(is_it, BESIDE: gl.constexpr):
    """(int32 [ROWS, 32, EACH], int32 [.., .., 1]): count of `is_it` among candidates of lower ids, and among all.

    BESIDE: a lane's candidates that lie side by side; lanes take turns with so many.
    """
    lanes_before, lanes = _votes(is_it)
    own = is_it.to(gl.int32)
    if is_it.shape[2] == BESIDE:
        before = gl.sum(lanes_before, axis=2)[:, :, None] + tl.cumsum(own, axis=2) - own
    elif BESIDE == 1:
        before = lanes_before + tl.cumsum(lanes, axis=2) - lanes
    else:
        in_turns: gl.constexpr = [is_it.shape[0], 32, is_it.shape[2] // BESIDE, BESIDE]
        own_before = tl.cumsum(own, axis=2) - own
        turns_before = gl.min((tl.cumsum(lanes, axis=2) - lanes - own_before).reshape(in_turns), axis=3)
        lanes_before = gl.sum(lanes_before.reshape(in_turns), axis=3)
        before = gl.broadcast((turns_before + lanes_before)[:, :, :, None], own.reshape(in_turns))[0]
        before = gl.convert_layout(before.reshape(is_it.shape), is_it.type.layout) + own_before
    return before, gl.sum(lanes, axis=2)[:, :, None]


@gluon.constexpr_function
def _exchange(each):
    """Instructions: a lane stores those of its `each` values that votes are for, by place, and loads by its number."""
    store = """
        mad.lo.u32 at, ${place}, 4, slots;
        setp.ne.s32 is_it, ${vote}, 0;
        @is_it st.shared.b32 [at], ${value};
    """
    stores = (store.format(value=each + i, place=2 * each + i, vote=3 * each + i) for i in range(each))
    return f"""{{
        .shared .align 4 .b32 memory[32];
        .reg .pred is_it;
        .reg .b32 slots, at;
        mov.u32 slots, memory;
        {"".join(stores)}
        bar.warp.sync 0xffffffff;
        mov.u32 at, %laneid;
        mad.lo.u32 at, at, 4, slots;
        ld.shared.b32 $0, [at];
        {"".join(f"mov.b32 ${i}, $0;" for i in range(1, each))}
    }}"""


@gluon.constexpr_function
def _registers_of_exchange(each):
    return ",".join(["=&r"] * each + ["r"] * (3 * each))


@gluon.jit
def by_place(value, place, is_it):
    """int32 [1, 32]: lane j has the value at place j. value, place int32 [1, 32, EACH], of those that is_it holds for.

    Uses shared memory of its own: a trip through the output would go to L2. Lanes without a place get arbitrary values.
    """
    gl.static_assert(value.shape[0] == 1)
    EACH: gl.constexpr = value.shape[2]
    got = gl.inline_asm_elementwise(
        _exchange(EACH),
        _registers_of_exchange(EACH),
        [value, place, is_it.to(gl.int32)],
        dtype=gl.int32,
        is_pure=False,
        pack=EACH,
    )
    return gl.max(got, axis=2)  # all the same


@gluon.jit
def from_lane(value, lane):
    """The `value` of another lane in the same place; lane and value int32 of one shape."""
    return gl.inline_asm_elementwise(
        "shfl.sync.idx.b32 $0, $1, $2, 0x1f, 0xffffffff;",
        "=r,r,r",
        [value, lane],
        dtype=gl.int32,
        is_pure=False,
        pack=1,
    )


# $1: rank, $2: low, $3: shift, $4 ..: all bits where a bit of the lane's own digit is 0, from its lowest bit up.
_NUM_REACHING = gl.constexpr(
    f"""{{
        .reg .pred is_set;
        .reg .b32 digit, votes, reaching;
        sub.u32 digit, $1, $2;
        shr.u32 digit, digit, $3;
        min.u32 digit, digit, {2**DIGIT - 1};
        mov.b32 reaching, 0xffffffff;
    """
    # The larger of two digits has the highest differing bit set. So, bit by bit: lanes with the bit set join those that
    # reach the lane's own digit (its bit is 0), or only those of both stay (1): a majority of votes, reaching, own 0s.
    + "".join(
        f"""
        and.b32 votes, digit, {1 << bit};
        setp.ne.b32 is_set, votes, 0;
        vote.sync.ballot.b32 votes, is_set, 0xffffffff;
        lop3.b32 reaching, votes, reaching, ${4 + bit}, 0xe8;
        """
        for bit in range(DIGIT)
    )
    + """
        setp.ge.u32 is_set, $1, $2;
        vote.sync.ballot.b32 votes, is_set, 0xffffffff;
        and.b32 reaching, reaching, votes;
        popc.b32 $0, reaching;
    }"""
)


@gluon.jit
def _num_reaching(rank, low, shift):
    """int32 [ROWS, 32, EACH]: how many of a column of rank reach low + (lane << shift)."""
    lane = gl.arange(0, 32, layout=gl.SliceLayout(0, gl.SliceLayout(2, rank.type.layout)))[None, :, None]
    lane = gl.broadcast(lane, rank)[0]
    return gl.inline_asm_elementwise(
        _NUM_REACHING,
        "=r,r,r,r,r,r,r,r,r",
        [
            rank,
            gl.broadcast(low[:, None, None], rank)[0],
            gl.broadcast(shift[:, None, None], rank)[0],
            (lane & 1) - 1,
            (lane >> 1 & 1) - 1,
            (lane >> 2 & 1) - 1,
            (lane >> 3 & 1) - 1,
            (lane >> 4) - 1,
        ],
        dtype=gl.int32,
        is_pure=False,
        pack=1,
    )


@gluon.jit
def _digit_begins(span):
    """The lowest bit of the top digit of a number up to span, uint32."""
    return gl.inline_asm_elementwise(
        "{ clz.b32 $0, $1; sub.s32 $0, 27, $0; max.s32 $0, $0, 0; }",
        "=r,r",
        [span],
        dtype=gl.int32,
        is_pure=True,
        pack=1,
    )


@gluon.jit
def find_cut(rank, k, GROUPS: gl.constexpr, IS_WHOLE: gl.constexpr):
    """`find_cut_of_one` of every row of rank [ROWS, 32, EACH], and whether exactly k candidates reach the cut.

    The search settles one digit a turn: each of the 32 lanes tries another value of it.
    IS_WHOLE: candidates are those of whole rows, of which the last may be absent; else parts of runs.
    """
    of_rows: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, rank.type.layout))
    best = gl.max(rank, axis=2)
    if GROUPS < 32 and IS_WHOLE:  # a group is what two lanes have: one of the first half, so that none is empty
        pairs = best.reshape([rank.shape[0], 2, 16])
        best = gl.maximum(pairs, gl.max(pairs, axis=1)[:, None, :]).reshape([rank.shape[0], 32])
    elif GROUPS < 32:  # neighbours: a group is the parts of one run
        pairs = best.reshape([rank.shape[0], 16, 2])
        best = gl.maximum(pairs, gl.max(pairs, axis=2)[:, :, None]).reshape([rank.shape[0], 32])
    low = gl.convert_layout(gl.min(best, axis=1), of_rows)  # moves nothing: only the name of the layout changes
    high = gl.max(gl.max(gl.where(rank == RANK_FORCED, 0, rank), axis=2), axis=1)
    span = gl.where(high > low, high - low, 0)  # the cut is at low at least, and so far above it at most
    is_exact = span != span  # not known yet
    lane = gl.arange(0, 32, layout=gl.SliceLayout(0, gl.SliceLayout(2, rank.type.layout)))[None, :]
    while any_row((span > 0) & ~is_exact):
        shift = _digit_begins(span)
        counts = gl.sum(_num_reaching(rank, low, shift), axis=2)
        # One maximum finds the last lane whose cut k candidates reach, and whether they are exactly k.
        found = gl.max(gl.where(counts >= k, 2 * lane + (counts == k).to(gl.int32), 0), axis=1)
        step = (found >> 1).to(gl.uint32) << shift
        low += step
        span = gl.minimum(span - step, (1 << shift).to(gl.uint32) - 1)
        is_exact = (found & 1) > 0
    return low, is_exact

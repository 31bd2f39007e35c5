"""Decode scorers' blocks: which program scores which, and where a block's best scores go.

Shared by the Gluon scorers for Hopper and for Blackwell. All requests' blocks are shared out on the device, so that
the grid depends on shapes alone.
"""

import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from msa_fast.ops.launch_table import next_power_of_2
from msa_ref.config import IndexerConfig

MAX_PRODUCT = 2**29
"""Bound on programs x requests, so that `divided` cannot overflow."""


@gluon.jit
def divided(number, by, reciprocal):
    """number // by, for numbers below 2**30. reciprocal: `reciprocal_of(by)`; its estimate is at most one too small."""
    quotient = gl.umulhi(number * 2, reciprocal)
    return quotient + ((quotient + 1) * by <= number).to(gl.int32)


@gluon.jit
def num_scored(q_start, q_end, seq_len, S: gl.constexpr, TOPK: gl.constexpr):
    """Number of a request's blocks that are scored: all that its last token sees, which sees seq_len tokens.

    0 without queries, and for requests that select all their blocks: they need no scores.
    """
    num_blocks = (gl.maximum(seq_len, 0) + S - 1) // S
    return gl.where((q_end > q_start) & (num_blocks > TOPK), num_blocks, 0)


@gluon.jit
def programs_of(req, num_reqs, reciprocal_of_reqs):
    """The first of the programs that are dealt blocks of a request, and the one behind the last."""
    num_programs = gl.num_programs(0)
    first = divided(req * num_programs + num_reqs - 1, num_reqs, reciprocal_of_reqs)
    return first, divided((req + 1) * num_programs + num_reqs - 1, num_reqs, reciprocal_of_reqs)


@gluon.jit
def own_share(
    program, is_dealt, is_second, num_blocks, reqs, num_reqs, reciprocal_of_programs, reciprocal_of_reqs,
    ROUNDS: gl.constexpr,
):  # fmt: skip
    """Each program's share of the blocks that are left: (is_second, from, to, ends [REQS], bases [REQS]).

    In a first round every program got one block of its request, in order; in a second, if there are two ROUNDS and more
    blocks than programs, one of those behind. is_dealt, is_second: if the request has such blocks. The blocks that are
    left are counted request after request. A program takes positions from .. to - 1; the blocks of a request end at
    position `ends`, and its block 0 would have position `bases`. No program has more blocks than an even share, rounded
    up.
    """
    num_programs = gl.num_programs(0)
    first, behind = programs_of(reqs, num_reqs, reciprocal_of_reqs)
    before = gl.maximum(program - first, 0)
    dealt = gl.minimum(num_blocks, behind - first)
    dealt_before = gl.sum(gl.minimum(dealt, before), axis=0)
    total = gl.sum(num_blocks, axis=0)
    share = divided(total, num_programs, reciprocal_of_programs)
    rest = gl.where(share > 0, total - share * num_programs, 0)
    left = num_blocks - dealt
    num_own = is_dealt.to(gl.int32)
    extras_before = 0  # programs before this one that hold one more than a share already
    has_extra = False
    if ROUNDS == 2:
        is_second &= total > num_programs
        seconds = gl.where(total > num_programs, gl.minimum(left, behind - first), 0)
        seconds_before = gl.sum(gl.minimum(seconds, before), axis=0)
        dealt_before += seconds_before
        left -= seconds
        num_own += is_second.to(gl.int32)
        has_extra = (share == 1) & is_second
        extras_before = gl.where(share == 1, seconds_before, 0)
        rest = gl.maximum(rest - gl.where(share == 1, gl.sum(seconds, axis=0), 0), 0)
    share = gl.maximum(share, 1)  # where there are fewer blocks than programs, the first of those without one take them
    ends = tl.cumsum(left, axis=0)
    num_left = gl.sum(left, axis=0)
    place = program - extras_before  # among those that may still get one more
    start = gl.minimum(program * share + extras_before + gl.minimum(place, rest) - dealt_before, num_left)
    end = gl.minimum(start + share + (has_extra | (place < rest)).to(gl.int32) - num_own, num_left)
    return is_second, start, end, ends, ends - num_blocks


@gluon.jit
def of_request(req, facts, flat: gl.constexpr):
    """A request's number of facts [REQS], which lie in shared memory."""
    is_here = gl.arange(0, facts.shape[0], layout=flat) == req
    return gl.sum(gl.where(is_here, facts.load(flat), 0), axis=0)


@gluon.jit
def request_at(position, ends, bases, flat: gl.constexpr):
    """(number, base, end) of the request that holds a position; bases and ends lie in shared memory."""
    # Read where they are needed: kept in registers, they would leave too few for the selection to start beside.
    of_reqs = ends.load(flat)
    req = gl.sum((of_reqs <= position).to(gl.int32), axis=0)
    return req, of_request(req, bases, flat), of_request(req, ends, flat)


@gluon.jit
def best_of_keys(token_score, shared, ROWS: gl.constexpr, WARPS: gl.constexpr):
    """fp32 [ROWS]: maxima of token_score [KEYS, ROWS] over its keys. Every warp has as many keys, every lane one row.

    The warps meet at one barrier, between store and load.
    """
    of_warps = gl.max(token_score.reshape([WARPS, token_score.shape[0] // WARPS, ROWS]), axis=1)
    shared.store(of_warps)
    best = gl.max(shared.load(gl.BlockedLayout([WARPS, 1], [1, 32], [1, WARPS], [0, 1])), axis=0)
    return gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is


@gluon.constexpr_function
def read_by_rows(WARPS, ROWS):
    """Layout in which threads read what `best_by_memory` keeps: some threads of a warp share a row."""
    rows = min(8, ROWS // WARPS)
    return gl.BlockedLayout([WARPS * rows // 4, 1], [32 // rows, rows], [1, WARPS], [0, 1])


@gluon.jit
def best_by_memory(token_score, shared, ROWS: gl.constexpr, WARPS: gl.constexpr):
    """As `best_of_keys`, in the layout `read_by_rows`, of 64 keys as Hopper's matrix unit leaves them.

    Lanes of a warp hand their maxima over in shared memory [WARPS * 8, ROWS] as well, not in three rounds of shuffles.
    """
    of_lanes = gl.max(token_score.reshape([WARPS, 2, 8, ROWS]), axis=1)  # eight lanes hold two keys of a row each
    shared.store(of_lanes.reshape([WARPS * 8, ROWS]))
    best = gl.max(shared.load(read_by_rows(WARPS, ROWS)), axis=0)
    return gl.where(best == best, best, float("-inf"))  # NaN only if every token's score is


@gluon.jit
def store_best(
    best, block, q_start, query_len, context_len, score_ptr, stride_score_h, stride_score_t, stride_score_v,
    token, head, H: gl.constexpr, S: gl.constexpr, SCORE_VECTOR: gl.constexpr,
):  # fmt: skip
    """Store best [ROWS], the scores of a request's block, in its vector, and -inf behind the request's last block.

    token, head [ROWS]: of the rows, of which some are none of the request's.
    """
    score_rows = score_ptr + (q_start + token).to(gl.int64) * stride_score_t
    score_rows += head.to(gl.int64) * stride_score_h
    # A sector of eight scores fills up block by block: driven out half full, it would be read to be completed.
    at = score_rows + (block // SCORE_VECTOR).to(gl.int64) * stride_score_v + block % SCORE_VECTOR
    is_row = (token < query_len) & (head < H)
    gl.store(at, best, mask=is_row, eviction_policy="evict_last")
    if (block + 1) * S >= context_len + query_len:  # the request's last block
        nothing = gl.full_like(best, float("-inf"))
        for i in gl.static_range(1, SCORE_VECTOR):
            is_filler = is_row & ((block + i) // SCORE_VECTOR == block // SCORE_VECTOR)
            gl.store(at + i, nothing, mask=is_filler)


def reciprocal_of(number: int) -> int:
    """The divisor's reciprocal for `divided`: 2**31 times it, rounded down."""
    return (2**31 - 1) // number


def num_rows_of(config: IndexerConfig, decode_query_len: int) -> int:
    """Rows (token, head) of a product. Heads count as a power of two: the copy of a token's queries fills up with 0."""
    return max(16, next_power_of_2(decode_query_len) * next_power_of_2(config.num_index_heads))

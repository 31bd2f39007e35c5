"""Sort keys: one integer whose order is the total order of the contract.

rank (int32) orders blocks by class and score; key (int64) is rank above, ~block id below, so that
a greater key is a better block and no two blocks share a key. Forced blocks and absent ones do not
get a sentinel score: their ranks are the images of NaN bit patterns, which no score has, since a
NaN score counts as -inf. So +inf stays below a forced block and -inf above an absent one.
"""

import triton
import triton.language as tl

RANK_FORCED = tl.constexpr(0x7FFFFFFF)
RANK_ABSENT = tl.constexpr(-0x80000000)
KEY_ABSENT = tl.constexpr(-0x8000000000000000)
MAX_BLOCK = tl.constexpr(0x7FFFFFFF)


@triton.jit
def rank_of(score, block, num_visible, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr):
    """int32 rank of each block: absent < -inf <= scores <= +inf < forced.

    score fp32, block int32, num_visible int32 (of the row), all of one shape or broadcastable.
    """
    score = tl.where(score != score, float("-inf"), score)
    score = tl.where(score == 0.0, 0.0, score)  # -0.0 equals +0.0
    bits = score.to(tl.int32, bitcast=True)
    rank = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # signed integer order is now float order
    is_forced = (block < INIT_BLOCKS) | (block >= num_visible - LOCAL_BLOCKS)
    rank = tl.where(is_forced, RANK_FORCED, rank)
    return tl.where(block < num_visible, rank, RANK_ABSENT)


@triton.jit
def key_of(rank, block):
    """int64 key: rank first, then the lower block id. Absent blocks all become KEY_ABSENT."""
    key = (rank.to(tl.int64) << 32) | (block ^ MAX_BLOCK).to(tl.int64)
    return tl.where(rank == RANK_ABSENT, KEY_ABSENT, key)


@triton.jit
def block_of(key):
    """int32 block id of a key that is not KEY_ABSENT."""
    return (key & MAX_BLOCK).to(tl.int32) ^ MAX_BLOCK

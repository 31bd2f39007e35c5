"""Rank images: one unsigned integer whose order is the score order of the contract.

Forced blocks and absent ones get no sentinel score. Their images are those of NaN bit patterns,
which no score has, since a NaN score counts as -inf: so +inf stays below a forced block and -inf
above an absent one, whatever the scores are. Equal images are a tie; ids settle it elsewhere.
"""

import triton
import triton.language as tl

RANK_FORCED = tl.constexpr(0xFFFFFFFF)
RANK_ABSENT = tl.constexpr(0)


@triton.jit
def rank_of(score, block, num_visible, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr):
    """uint32 rank of each block: absent < -inf <= scores <= +inf < forced.

    score fp32, block int32, num_visible int32 (of the row), broadcastable to one shape.
    """
    score = tl.where(score == score, score, float("-inf"))
    score = tl.where(score == 0.0, 0.0, score)  # -0.0 equals +0.0
    bits = score.to(tl.int32, bitcast=True)
    # Negative floats order backwards: flip all their bits. The others go above them.
    rank = tl.where(bits < 0, ~bits, bits ^ -0x80000000).to(tl.uint32, bitcast=True)
    is_forced = (block < INIT_BLOCKS) | (block >= num_visible - LOCAL_BLOCKS)
    rank = tl.where(is_forced, RANK_FORCED, rank)
    return tl.where(block < num_visible, rank, RANK_ABSENT)

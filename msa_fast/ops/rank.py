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
def rank_of(score, is_forced, is_visible):
    """uint32 rank of each block: absent < -inf <= scores <= +inf < forced.

    score fp32, no NaN; is_forced and is_visible bool, broadcastable to its shape; a block that is not
    visible is absent, forced or not.
    """
    score = tl.where(score == 0.0, 0.0, score)  # -0.0 equals +0.0
    bits = score.to(tl.int32, bitcast=True)
    # Negative floats order backwards: flip all their bits. The others go above them.
    rank = tl.where(bits < 0, ~bits, bits ^ -0x80000000).to(tl.uint32, bitcast=True)
    rank = tl.where(is_forced, RANK_FORCED, rank)
    return tl.where(is_visible, rank, RANK_ABSENT)


@triton.jit
def rank_of_runs(best, first, LENGTH: tl.constexpr, num_visible, INIT_BLOCKS: tl.constexpr, LOCAL_BLOCKS: tl.constexpr):
    """uint32 rank of runs of LENGTH blocks from `first` on, whose best scores are `best`.

    A run is forced if one of its visible blocks is, and absent if its first block is. num_visible:
    broadcastable to `first`.
    """
    last = tl.minimum(first + LENGTH, num_visible) - 1
    is_forced = (first < INIT_BLOCKS) | (last >= num_visible - LOCAL_BLOCKS)
    return rank_of(best, is_forced, first < num_visible)

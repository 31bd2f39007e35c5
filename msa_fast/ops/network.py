"""Bitonic selection: the K best of N integers per row without sorting all N.

Sort groups of K in alternating directions; the element-wise maximum of a descending group and the
ascending one beside it holds the K best of both, in bitonic order, and log2(K) steps sort it
again; so N halves until K are left. Values are swapped whole, never multiplied by masks.
"""

import triton
import triton.language as tl


@triton.jit
def _exchange(x, GROUP: tl.constexpr, DISTANCE: tl.constexpr, IS_DESCENDING: tl.constexpr):
    """Compare-exchange at DISTANCE in x [R, N].

    Groups of GROUP elements alternate in direction, the first descending if IS_DESCENDING; a
    GROUP of N means one direction for all.
    """
    ROWS: tl.constexpr = x.shape[0]
    PAIRS: tl.constexpr = x.shape[1] // (2 * DISTANCE)
    x = x.reshape(ROWS, PAIRS, 2, DISTANCE)
    # The other one of a pair: integer sums wrap, so this is exact. One reduction, cheap in lanes.
    other = tl.sum(x, axis=2, keep_dims=True) - x
    group = tl.arange(0, PAIRS)[None, :, None, None] * (2 * DISTANCE) // GROUP
    is_right = tl.arange(0, 2)[None, None, :, None] == 1
    wants_greater = ((group % 2 == 0) == IS_DESCENDING) != is_right
    x = tl.where((x > other) == wants_greater, x, other)
    return x.reshape(ROWS, PAIRS * 2 * DISTANCE)


@triton.jit
def _sort_bitonic(x, SIZE: tl.constexpr, GROUP: tl.constexpr, IS_DESCENDING: tl.constexpr):
    """Sort each bitonic run of SIZE elements in x [R, N]; directions as in `_exchange`."""
    LOG: tl.constexpr = tl.standard._log2(SIZE)
    for i in tl.static_range(LOG):
        x = _exchange(x, GROUP, SIZE >> (i + 1), IS_DESCENDING)
    return x


@triton.jit
def top_sorted(x, K: tl.constexpr, IS_DESCENDING: tl.constexpr):
    """The K greatest of every row of x [R, N], sorted: [R, K]. N and K are powers of two, N >= K."""
    ROWS: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[1]
    LOG_K: tl.constexpr = tl.standard._log2(K)
    LOG_N: tl.constexpr = tl.standard._log2(N)
    for i in tl.static_range(1, LOG_K + 1):
        x = _sort_bitonic(x, 1 << i, 1 << i, IS_DESCENDING)
    for i in tl.static_range(LOG_N - LOG_K):
        x = tl.max(x.reshape(ROWS, N // (2 * K) >> i, 2, K), axis=2).reshape(ROWS, N // 2 >> i)
        x = _sort_bitonic(x, K, K, IS_DESCENDING)
    return x


@triton.jit
def merge_top(best, more):
    """The K greatest of `best` [R, K] descending and `more` [R, K] ascending, descending."""
    K: tl.constexpr = best.shape[1]
    return _sort_bitonic(tl.maximum(best, more), K, K, True)

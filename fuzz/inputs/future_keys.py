"""Makes the key just after each query its best match, so any kernel that looks ahead selects a wrong block.

With random keys, one visible token too many seldom changes a row's answer. With these keys it always
does, unless the token's block is forced.
"""

import numpy as np

from fuzz.cases.case import ValuePlan
from fuzz.values.family import Designed
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape


def plant_future(
    stream: Stream,
    keys: np.ndarray,
    queries: np.ndarray,
    seq_len: int,
    values: ValuePlan,
    shape: Shape,
    place: np.ndarray,
) -> None:
    """Make the key behind every query token of one request the best for one of its heads, in place.

    Scores stay exact: a lattice family's key lies on its lattice, a designed family's is planted on the
    coordinates of the token's rows.

    Args:
        keys: [pages, S, D] float32. queries: [query_len, H, D] float32, the request's last tokens.
        seq_len: tokens of the request.
        place: [n] int64, the place in `keys` of each of its blocks.
    """
    query_len, num_heads, _ = queries.shape
    token = np.arange(query_len - 1)
    behind = seq_len - query_len + 1 + token
    token, behind = token[behind > 0], behind[behind > 0]
    behind = place[behind // shape.block_size] * shape.block_size + behind % shape.block_size
    flat = keys.reshape(-1, shape.index_head_dim)
    if isinstance(values.made_by, Designed):
        if len(token):
            is_of_token = (queries[token] != 0).any(axis=1)
            above = _above(flat.max(axis=0), shape.format.max_power, shape.format.min_normal)
            above[values.made_by.num_rows(shape) :] = 0.0  # the leading bits are enough
            flat[behind] = np.where(is_of_token, above, flat[behind])
        return
    head = stream.integers(0, num_heads - 1, token.shape)
    # The best key of a plan without positive scores is 0.
    flat[behind] = 0 if values.is_negative else values.made_by.best_keys(queries[token, head], shape)


def _above(best: np.ndarray, max_power: float, min_normal: float) -> np.ndarray:
    """Twice the best, or half of it where it is negative, 0 where its half has lost a bit.

    The best itself where its double would pass max_power.
    """
    has_double = best <= max_power / 2
    half = np.where(best / 2 <= -min_normal, best / 2, 0.0)
    above = np.where(best > 0, np.where(has_double, 2.0, 1.0) * best, np.where(best < 0, half, 1.0))
    return np.asarray(above, dtype=np.float32)

"""Scores that a kernel rounds before it ranks: which of two must still rank above the other."""

import torch

MAX_LOST_TO_UNDERFLOW = 2.0**-100
"""Difference of scores that a rounding may lose near 0, where floats have fewer bits: far below any score in use."""


def sure_ends(low: torch.Tensor, high: torch.Tensor, rank_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ends of two scores, moved together: low > high only if rounding cannot make a tie of the two.

    Two numbers of one sign that round alike to p bits, in one direction or to nearest, differ by at most one ulp,
    which is at most 2^(1 - p) of the smaller one. If they are products with a factor, rounded to fp32 first, then by
    2^-23 more. Numbers of different signs round alike only near 0, and those past the greatest fp32 number to infinity.
    """
    share, most = 2.0 ** (1 - rank_bits) + 2.0**-23, torch.finfo(torch.float32).max
    low = low + share * low.clamp(max=0) - MAX_LOST_TO_UNDERFLOW
    high = high + share * high.clamp(min=0)
    return low.masked_fill(low < -most, -torch.inf), high.masked_fill(high > most, torch.inf)

"""Canaries that rank by a key with less range or fewer bits than a score has."""

import numpy as np

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary


@canary("D05", "Best")
class LinearSixteenBits(NaiveIndexer):
    """Maps the range of a row's scores linearly to 65,536 steps, and ranks by those."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        together = [candidate for part in parts for candidate in part]
        finite = [score for score, _ in together if np.isfinite(score)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        step = (high - low) / 65_535 or 1.0
        key = {block: (score - low) // step if np.isfinite(score) else score for score, block in together}
        return sorted(key, key=lambda block: (-key[block], block))[:slots]


@canary("D05", "Best")
class HalfPrecisionRange(NaiveIndexer):
    """Ranks by the score rounded to fp16: small ones become 0, large ones infinite."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-float(np.float16(candidate[0])), candidate[1])


@canary("D06", "Best")
class ClampedScore(NaiveIndexer):
    """Clamps scores to +-2**24, behind which it keeps sentinels."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-max(-(2.0**24), min(2.0**24, candidate[0])), candidate[1])


@canary("D38", "Best", takes_score=True)
class SubnormalsAreZero(NaiveIndexer):
    """Flushes subnormal scores to zero."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[0] if abs(candidate[0]) >= 2.0**-126 else 0.0, candidate[1])


@canary("systematic", "Best")
class NegativeKeysReversed(NaiveIndexer):
    """Ranks by the bits of a score as a signed integer, by which the more negative of two scores is the greater."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        pattern = int(np.float32(candidate[0] if candidate[0] else 0.0).view(np.int32))
        return (-pattern, candidate[1])

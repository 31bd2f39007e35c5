"""Canaries that rank by a key with less range or fewer bits than a score has, or stage too few candidates."""

import numpy as np
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary

FINE, COARSE = 16, 21
"""Low bits of a float32 key that a fine bin ignores, and that a coarser one does."""


def key_of(score: float) -> int:
    """The integer below 2**32 by whose order radix selections rank float32 scores."""
    pattern = int(np.float32(score if score else 0.0).view(np.uint32))
    return 2**32 - 1 - pattern if pattern >> 31 else 2**31 + pattern


@canary("D41", "Distinct")
class SecondPassTakesAgain(NaiveIndexer):
    """Stages 2,048 blocks of the cut's 16-bit bin; if there are more, a pass by 11 bits takes again what is above."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        return candidates

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        together = sorted((candidate for part in parts for candidate in part), key=self.order)
        if not 0 < slots < len(together):
            return [block for _, block in together[:slots]]
        keys = [key_of(score) for score, _ in together]
        cut = keys[slots - 1]
        num_above = sum(key >> FINE > cut >> FINE for key in keys)
        is_staged = sum(key >> FINE == cut >> FINE for key in keys) <= 2_048
        first = num_above if is_staged else sum(key >> COARSE > cut >> COARSE for key in keys)
        return [block for _, block in [*together[:num_above], *together[first:]][:slots]]


@canary("D04", "Best")
class BinOverflowDropped(NaiveIndexer):
    """Stages the first 1,024 blocks of the cut's 16-bit bin, and drops those that come after."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        return candidates

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        arrived = [candidate for part in parts for candidate in part]
        together = sorted(arrived, key=self.order)
        if not 0 < slots < len(together):
            return [block for _, block in together[:slots]]
        cut = key_of(together[slots - 1][0]) >> FINE
        above = [block for score, block in together if key_of(score) >> FINE > cut]
        staged = [(score, block) for score, block in arrived if key_of(score) >> FINE == cut][:1_024]
        return [*above, *(block for _, block in sorted(staged, key=self.order))][:slots]


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


def _flushed(numbers: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The numbers with a zero for each that is subnormal in a format."""
    kept: np.ndarray = np.where(np.abs(numbers) < torch.finfo(dtype).smallest_normal, 0.0, numbers)
    return kept


@canary("D38", "Best")
class SubnormalKeysAreZero(NaiveIndexer):
    """Flushes subnormal numbers in keys to zero, as fast-math options of compilers do."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        return _flushed(super().keys(row, block), self.batch.index_k_pages.dtype)


@canary("D38", "Best")
class SubnormalQueriesAreZero(NaiveIndexer):
    """Flushes subnormal numbers in queries to zero."""

    def query(self, row: Row) -> np.ndarray:
        return _flushed(super().query(row), self.batch.index_q.dtype)


@canary("D38", "Best")
class SubnormalSumsAreZero(NaiveIndexer):
    """Flushes subnormal sums of products to zero."""

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        return _flushed(super().token_scores(row, keys), torch.float32)


@canary("D38", "Best", asks=("fp32",))
class TwentyBitQueries(NaiveIndexer):
    """Rounds queries to twenty significant bits, fewer than fp32 has and more than the bounds of its sums show."""

    def query(self, row: Row) -> np.ndarray:
        mantissa, exponent = np.frexp(super().query(row))
        rounded: np.ndarray = np.ldexp(np.round(mantissa * 2**20) / 2**20, exponent)
        return rounded


@canary("D52", "Best", asks=("192 dims",))
class TileOfDims(NaiveIndexer):
    """Multiplies the first 128 coordinates of a key, as many as a tile has."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        keys = super().keys(row, block).copy()
        keys[:, 128:] = 0.0
        return keys


@canary("D52", "Best", asks=("192 tokens",))
class TileOfTokens(NaiveIndexer):
    """Scores the first 128 tokens of a block, as many as a tile has."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        return super().keys(row, block)[:128]


@canary("systematic", "Best")
class NegativeKeysReversed(NaiveIndexer):
    """Ranks by the bits of a score as a signed integer, by which the more negative of two scores is the greater."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        pattern = int(np.float32(candidate[0] if candidate[0] else 0.0).view(np.int32))
        return (-pattern, candidate[1])

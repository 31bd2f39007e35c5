"""Canaries that rank, split or merge wrongly."""

import math

import numpy as np
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary


@canary("D03", "Best", asks=("lowest id",))
class HighestIdWinsTies(NaiveIndexer):
    """Breaks ties towards the higher block id."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[0], -candidate[1])


@canary("D03", "SplitInvariance", "Best", asks=("lowest id",))
class TiesBySplit(NaiveIndexer):
    """Breaks ties by the order in which splits arrive, the last one first."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        together = [candidate for part in reversed(parts) for candidate in part]
        return [block for _, block in sorted(together, key=lambda candidate: -candidate[0])[:slots]]


@canary("D04", "Count")
class SmallStaging(NaiveIndexer):
    """Stages at most 6 candidates that equal the threshold, and drops the later ones."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        together = sorted((candidate for part in parts for candidate in part), key=self.order)[:slots]
        threshold = together[-1][0] if together else 0.0
        above = [block for score, block in together if score > threshold]
        equal = [block for score, block in together if score == threshold]
        return above + equal[:6]


@canary("D05", "Best")
class HalfPrecisionKey(NaiveIndexer):
    """Ranks by the score rounded to bf16."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-float(torch.tensor(candidate[0]).bfloat16()), candidate[1])


@canary("D05", "Best")
class ElevenBitsInItsOwnShape(NaiveIndexer):
    """Ranks by eleven bits of the score, in MiniMax-M3's own shape alone, where sums are inexact."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        config, q = self.batch.config, self.q
        is_own = (config.index_head_dim, config.block_size, config.topk_blocks) == (128, 128, 16)
        if not is_own or not math.isfinite(candidate[0]) or (q == q.round()).all():
            return super().order(candidate)
        share, exponent = math.frexp(candidate[0])
        return (-math.ldexp(round(share * 2**11), exponent), candidate[1])


@canary("D05", "Best", "PowerOfTwoScale")
class FixedStepKey(NaiveIndexer):
    """Ranks by the score rounded to a fixed step, so that ties depend on the scale."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        score, block = candidate
        return (-round(score / 4) if abs(score) < 1e6 else -score, block)


@canary("D06", "Forced", asks=("local blocks",))
class SentinelForForced(NaiveIndexer):
    """Gives forced blocks a score of 1e4 and ranks them with the rest."""

    def forced(self, row: Row, n: int) -> set[int]:
        return set()

    def block_score(self, row: Row, block: int) -> float:
        is_forced = block in super().forced(row, self.num_blocks(row))
        return 1e4 if is_forced else super().block_score(row, block)


@canary("D06", "Count")
class SentinelForAbsent(NaiveIndexer):
    """Takes scores of -1e4 and below for absent blocks."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        return super().merge(row, [[(s, b) for s, b in part if s > -1e4] for part in parts], slots)


@canary("D07", "Best", asks=("NaN",))
class NanWins(NaiveIndexer):
    """Lets a NaN token score win its block."""

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        scores = keys @ self.query(row)
        return np.where(np.isnan(scores), np.inf, scores)


@canary("D07", "Count", asks=("NaN",))
class NanDropsBlock(NaiveIndexer):
    """Leaves a hole where a block has no score above -inf."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        return super().merge(row, [[(s, b) for s, b in part if s != -np.inf] for part in parts], slots)


@canary("D08", "Best", asks=("NaN",))
class InfinityCorruptsNeighbour(NaiveIndexer):
    """An infinite score turns the next candidate of its split into NaN, as 0 * inf does in a network."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        hurt = [
            (-np.inf if i and abs(candidates[i - 1][0]) == np.inf else score, block)
            for i, (score, block) in enumerate(candidates)
        ]
        return super().best_of_split(row, hurt, slots)


@canary("D09", "Best", takes_score=True, asks=("lowest id",))
class NegativeZeroIsLess(NaiveIndexer):
    """Ranks -0.0 below +0.0."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return (-candidate[0], -math.copysign(1.0, candidate[0]), candidate[1])


@canary("D38", "Best", asks=("fp32",))
class ElevenBitProducts(NaiveIndexer):
    """Rounds keys to eleven significant bits before the product, as TF32 does to fp32."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        mantissa, exponent = np.frexp(super().keys(row, block))
        rounded: np.ndarray = np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)
        return rounded


@canary("D22", "SplitInvariance", "Best", "Count")
class LastSplitForgotten(NaiveIndexer):
    """Never looks at the last of several splits."""

    def split_ranges(self, row: Row, n: int) -> list[range]:
        ranges = super().split_ranges(row, n)
        return ranges[:-1] if len(ranges) > 1 else ranges


@canary("D22", "Count", "Best")
class FloorDivision(NaiveIndexer):
    """Rounds the blocks per split down, and loses the rest."""

    def split_ranges(self, row: Row, n: int) -> list[range]:
        step = max(1, n // self.num_splits)
        return [range(first, min(first + step, n)) for first in range(0, step * self.num_splits, step)]


@canary("D23", "Best")
class HalfOfEachSplit(NaiveIndexer):
    """Each split hands over only half as many candidates as there are slots."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        return super().best_of_split(row, candidates, -(-slots // 2) if self.num_splits > 1 else slots)


@canary("D23", "Best", "Distinct")
class OffsetForgotten(NaiveIndexer):
    """Hands over block ids that count from the split's own start."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        first = min((block for _, block in candidates), default=0)
        return [(score, block - first) for score, block in super().best_of_split(row, candidates, slots)]


@canary("D28", "Best", "Distinct")
class IdsInFourBits(NaiveIndexer):
    """Packs block ids into too few bits: four here, so that few blocks show it."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        return [block % 16 for block in super().merge(row, parts, slots)]


@canary("D32", "Distinct")
class EmptySplitWins(NaiveIndexer):
    """A split without a candidate hands over block 0 at the best of all scores."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        best = super().best_of_split(row, candidates, slots)
        return best if best or not slots else [(np.inf, 0)]


@canary("D41", "Distinct")
class PassesOfTwoWidths(NaiveIndexer):
    """Takes what is better than the cut, then all in the cut's coarser bin, some of which it has taken before."""

    def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
        together = sorted((candidate for part in parts for candidate in part), key=self.order)
        if len(together) <= slots:
            return [block for _, block in together]
        cut = together[slots - 1][0] if slots else np.inf
        in_bin = [block for score, block in together if score <= cut or score // 4 == cut // 4]
        return [*[block for score, block in together if score > cut], *in_bin][:slots]


@canary("D47", "SplitInvariance", "Best")
class LocalOfEachSplit(NaiveIndexer):
    """Forces the last block of every split, as though each part of a context had a local block of its own."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        forced = [(np.inf, block) for _, block in candidates[-1:]]
        return super().best_of_split(row, candidates[:-1] + forced, slots)


@canary("D54", "Best")
class ThirteenBitSums(NaiveIndexer):
    """Keeps 13 bits of every product, counted from the largest of its sum, as Hopper's fp8 matrix unit does."""

    def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
        products = keys * self.query(row)
        _, exponent = np.frexp(np.abs(products).max(axis=1, keepdims=True, initial=0.0))
        last_bit = np.ldexp(1.0, exponent - 13)
        scores: np.ndarray = np.fmax((np.trunc(products / last_bit) * last_bit).sum(axis=1), -np.inf)
        return scores

"""Canaries that keep something of an earlier step, and find it again by a key that is too short."""

import math

import numpy as np

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.canaries.table import canary

BUCKET = 4
"""Blocks by which workspaces grow."""


@canary("D19", "Replay", asks=("several requests",))
class PlanOfTheSameLengths(NaiveIndexer):
    """Plans once for all steps whose lengths are the same ones, whichever requests have them."""

    def num_blocks(self, row: Row) -> int:
        lens = self.call.seq_lens
        plan: list[int] = self.memory.setdefault(tuple(sorted(lens)), list(lens))
        return min(super().num_blocks(row), self.config.num_blocks(plan[row.req]))


@canary("systematic", "Replay")
class PagesOfTheSameSum(NaiveIndexer):
    """Keeps what it has read of a full page, and takes it again as long as its keys have the same sum, and the
    first ones are the same."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        keys = super().keys(row, block)
        if len(keys) < self.config.block_size or not np.isfinite(keys).all():
            return keys
        key = self.page(row, block), keys[: len(keys) // 2].tobytes(), tuple(keys.sum(axis=0).tolist())
        kept: np.ndarray = self.memory.setdefault(key, keys)
        return kept


@canary("D18", "Replay")
class WorkspaceOfItsBucket(NaiveIndexer):
    """Keeps a workspace for each number of blocks, rounded up, and ranks what it last held behind a shorter row."""

    def split_ranges(self, row: Row, n: int) -> list[range]:
        key = self._workspace(row, n)
        self.memory[key] = max(n, self.memory.get(key, 0))
        return super().split_ranges(row, self.memory[key])

    def block_score(self, row: Row, block: int) -> float:
        n = self.num_blocks(row)
        key = (*self._workspace(row, n), block)
        if block < n:
            self.memory[key] = super().block_score(row, block)
        score: float = self.memory.get(key, -math.inf)
        return score

    def _workspace(self, row: Row, n: int) -> tuple[int, ...]:
        return row.head, row.token, -(-n // BUCKET)

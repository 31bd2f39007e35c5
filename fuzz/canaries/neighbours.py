"""Canaries of what a row must not depend on: other rows, earlier runs, and what memory held before."""

import ctypes

import numpy as np
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.canaries.table import canary


@canary("D34", "NeighbourIndependence", "Best", asks=("several requests",))
class DependsOnNeighbours(NaiveIndexer):
    """Ranks coarsely when another request in the batch is alive."""

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        is_coarse = sum(seq_len > 0 for seq_len in self.call.seq_lens) > 1
        return (-round(candidate[0]) if is_coarse and abs(candidate[0]) < 1e6 else -candidate[0], candidate[1])


@canary("D34", "DecodeIsLastPrefillRow", "ChunkedPrefill", "Best", asks=("several tokens",))
class PrefillPathIsCoarse(NaiveIndexer):
    """Ranks a request of several query tokens on a path of its own, by rounded scores."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        if row.query_len > 1:
            candidates = [(round(s) if abs(s) < 1e6 else s, block) for s, block in candidates]
        return super().best_of_split(row, candidates, slots)


@canary("D34", "AppendOne", "Best")
class OddLengthsAreReversed(NaiveIndexer):
    """Ranks in reverse where the visible length is odd, like a badly tuned path."""

    def best_of_split(self, row: Row, candidates: list[Candidate], slots: int) -> list[Candidate]:
        sign = -1 if self.visible_len(row) % 2 else 1
        return super().best_of_split(row, [(sign * score, block) for score, block in candidates], slots)


@canary("D39", "Best")
class AlwaysTheMostRecent(NaiveIndexer):
    """Never reads a key: later blocks score higher."""

    def block_score(self, row: Row, block: int) -> float:
        return float(block)


@canary("D20", "RepeatDeterminism", "Replay")
class CounterNotReset(NaiveIndexer):
    """Ranks in reverse in every second call: the first did not reset its counter."""

    calls = 0

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        return super().order(candidate) if CounterNotReset.calls % 2 else (candidate[0], candidate[1])

    def answer(self) -> torch.Tensor:
        CounterNotReset.calls += 1
        return super().answer()


@canary("systematic", "ReadsOnly")
class WritesKeys(NaiveIndexer):
    """Cleans the key cache in place."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        pages = self.batch.index_k_pages
        if pages.dtype.is_floating_point:
            pages.copy_(pages.float().nan_to_num(0.0))
        return answer


@canary("D31", "Best", asks=("several requests",))
class TileCrossesRequests(NaiveIndexer):
    """Ends a tile one row late, so that its last row is stored over the next request's first."""

    def answer(self) -> torch.Tensor:
        answer = super().answer()
        for start in self.starts()[1:-1]:
            if 0 < start < self.batch.total_q:
                answer[:, start] = answer[:, start - 1]
        return answer


@canary("D19", "Replay")
class LengthsFrozen(NaiveIndexer):
    """Never sees more tokens than the first call did, like host values frozen in a captured graph."""

    def visible_len(self, row: Row) -> int:
        first: list[int] = self.memory.setdefault("seq_lens", self.call.seq_lens)
        return min(super().visible_len(row), first[row.req])


@canary("D18", "Replay", "Visible")
class StaleScoreTail(NaiveIndexer):
    """Also ranks the blocks of an earlier, longer row, whose scores a buffer still holds."""

    def num_blocks(self, row: Row) -> int:
        key = (row.head, row.token)
        n: int = max(super().num_blocks(row), self.memory.get(key, 0))
        self.memory[key] = n
        return n

    def keys(self, row: Row, block: int) -> np.ndarray:
        return (
            np.zeros((1, self.config.index_head_dim)) if block >= super().num_blocks(row) else super().keys(row, block)
        )


@canary("systematic", "WritesOnly")
class WorkspaceTooShort(NaiveIndexer):
    """Writes a score for each block and one more into a workspace that it has allocated for the blocks."""

    def answer(self) -> torch.Tensor:
        workspace = torch.empty(self.batch.max_blocks, dtype=torch.float32, device=self.batch.device)
        if workspace.device.type == "cpu" and workspace.numel():
            ctypes.memset(workspace.data_ptr(), 0, 4 * (workspace.numel() + 1))
        return super().answer()


@canary("D20", "Best")
class WorkspaceNotCleared(NaiveIndexer):
    """Adds its scores to a workspace that it takes to be zero, as fresh memory often is."""

    def block_score(self, row: Row, block: int) -> float:
        return super().block_score(row, block) + float(torch.empty(1))

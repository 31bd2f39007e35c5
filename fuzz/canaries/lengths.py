"""Canaries that get lengths, masks and forced blocks wrong."""

import numpy as np
import torch

from fuzz.canaries.naive import NaiveIndexer, Row, ShowingIndexer
from fuzz.canaries.table import canary


@canary("D10", "Best", "PoisonBlind", asks=("no local blocks",))
class TailNotMasked(NaiveIndexer):
    """Reads the whole last page, including the tail after the last visible token."""

    def keys(self, row: Row, block: int) -> np.ndarray:
        tokens: np.ndarray = self.pages[self.page(row, block)]
        return tokens


@canary("D11", "Count", "Best")
class CannotSeeItself(NaiveIndexer):
    """A token does not see itself."""

    def visible_len(self, row: Row) -> int:
        return max(0, super().visible_len(row) - 1)


@canary("D11", "Best", asks=("several tokens",))
class SeesTheNext(NaiveIndexer):
    """A token sees the one after it, where there is one."""

    def visible_len(self, row: Row) -> int:
        length = super().visible_len(row)
        return min(length + 1, row.seq_len) if length else 0


@canary("D11", "Score", asks=("several tokens",))
class ShowsTheFuture(ShowingIndexer):
    """Selects by the right scores and shows others, in which a row's last block counts tokens after the row's own."""

    def shown_score(self, row: Row, block: int) -> float:
        last = min(self.config.block_size, row.seq_len - block * self.config.block_size)
        keys = self.pages[self.page(row, block), :last]
        return float(self.token_scores(row, keys).max(initial=-np.inf))


@canary("D32", "Superblocks")
class BestOfWhatIsAbsent(ShowingIndexer):
    """Counts unseen blocks as 0 in the best score that it shows of a row's last superblock."""

    def best(self, score: torch.Tensor) -> torch.Tensor:
        return super().best(score.nan_to_num(0.0, torch.inf, -torch.inf))


@canary("D12", "Forced", asks=("local blocks", "several tokens"))
class LocalOfLastToken(NaiveIndexer):
    """Forces the local blocks of the request's last token on all of its tokens."""

    def forced(self, row: Row, n: int) -> set[int]:
        num_blocks = -(-row.seq_len // self.config.block_size)
        first, last = range(min(self.config.init_blocks, n)), range(max(0, num_blocks - self.config.local_blocks), n)
        return {*first, *last}


@canary("D13", "Forced", asks=("local blocks",))
class LocalForgotten(NaiveIndexer):
    """Forgets the local blocks."""

    def forced(self, row: Row, n: int) -> set[int]:
        return set(range(min(self.config.init_blocks, n)))


@canary("D14", "Distinct", asks=("init and local blocks",))
class OverlapTwice(NaiveIndexer):
    """Selects a block twice that is both initial and local."""

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        n, config = self.num_blocks(row), self.config
        both = {*range(min(config.init_blocks, n))} & {*range(max(0, n - config.local_blocks), n)}
        return sorted([*chosen, *both])[: config.topk_blocks]


@canary("D15", "Best", "HeadIndependence", asks=("several heads",))
class OneHeadForAll(NaiveIndexer):
    """Uses the first head's selection for every head."""

    def query(self, row: Row) -> np.ndarray:
        vector: np.ndarray = self.q[row.token, 0]
        return vector


@canary("D16", "Visible", "Count", asks=("padding rows",))
class NegativeLength(NaiveIndexer):
    """Takes the negative length of a row that sees nothing as a huge one."""

    def visible_len(self, row: Row) -> int:
        length = row.seq_len - row.query_len + row.token_in_req + 1
        return length if length > 0 else self.table.shape[1] * self.config.block_size

    def page(self, row: Row, block: int) -> int:
        return super().page(row, block) % len(self.pages)

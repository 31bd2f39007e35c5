"""Canaries that are right up to a size that small cases do not reach: a number of 12 to 20 bits holds it."""

import numpy as np

from fuzz.canaries.naive import NaiveIndexer, Row
from fuzz.canaries.table import canary


@canary("systematic", "Best", needs=("large cases",))
class BlocksOfTwelveBits(NaiveIndexer):
    """Ranks the first 4,096 blocks of a row alone, as many as its staging holds."""

    def split_ranges(self, row: Row, n: int) -> list[range]:
        return super().split_ranges(row, min(n, 2**12))


@canary("systematic", "Best", needs=("large cases",))
class TokensOfFourteenBits(NaiveIndexer):
    """Prefills in one launch of 16,384 tokens: those behind them have the queries of the first ones."""

    def query(self, row: Row) -> np.ndarray:
        vector: np.ndarray = self.q[row.token % 2**14, row.head]
        return vector


@canary("systematic", "Best", needs=("large cases",))
class RequestsOfSixteenBits(NaiveIndexer):
    """Numbers requests by 16 bits: request 65,536 reads the table of request 0."""

    def page(self, row: Row, block: int) -> int:
        return int(self.table[row.req % 2**16, block])


@canary("systematic", "Best", needs=("large cases",))
class PagesOfSeventeenBits(NaiveIndexer):
    """Keeps a page id in 17 bits, as an offset of 31 bits does where pages have 128 x 128 elements."""

    def page(self, row: Row, block: int) -> int:
        return super().page(row, block) % 2**17

"""The shape of a case's tensors, as far as a family of values may know it."""

import math
from dataclasses import dataclass, replace

from msa_ref.config import IndexerConfig
from msa_ref.formats import ELEMENTS, FORMAT_PAIRS, ElementFormat


@dataclass(frozen=True)
class Shape:
    """The facts that a family may use: blocks n, tokens per block S, head dim D, slots K.

    formats: of queries and keys, by the name of their pair.
    is_score: whether numbers are given scores, which no sum makes: they may be subnormal.
    max_abs_score: a magnitude that no score may reach; None for any.
    """

    num_blocks: int
    block_size: int
    index_head_dim: int
    topk_blocks: int
    formats: str
    is_score: bool = False
    max_abs_score: float | None = None

    @staticmethod
    def of(config: IndexerConfig, num_blocks: int, formats: str, max_abs_score: float | None = None) -> "Shape":
        """The shape of some blocks of a config."""
        sizes = config.block_size, config.index_head_dim, config.topk_blocks
        return Shape(num_blocks, *sizes, formats, max_abs_score=max_abs_score)

    @property
    def dtype(self) -> str:
        """The format whose numbers keys hold, by name."""
        keys = FORMAT_PAIRS[self.formats].keys
        return keys.numbers or keys.name

    @property
    def query_dtype(self) -> str:
        """The format of queries, by name: it holds all numbers that keys do."""
        return FORMAT_PAIRS[self.formats].queries.name

    @property
    def shares_scales(self) -> bool:
        """True if neighbours in a key share a scale, so that a key cannot hold any numbers side by side."""
        return FORMAT_PAIRS[self.formats].keys.numbers != ""

    @property
    def max_integer(self) -> int:
        """Integers of up to this magnitude lie side by side in a key, whatever they are."""
        return 4 if self.shares_scales else 2**self.format.precision

    @property
    def format(self) -> ElementFormat:
        """The row of `dtype` in the table of formats; it ends at a quarter of the magnitude that no score may reach.

        So twice its greatest number, as a key planted behind a query has it (`fuzz.inputs.future_keys`), is below.
        """
        row = ELEMENTS[self.dtype]
        if self.max_abs_score is None:
            return row
        return replace(row, max=min(row.max, 2.0 ** (math.floor(math.log2(self.max_abs_score)) - 2)))

    @property
    def keys_size(self) -> tuple[int, int, int]:
        """[n, S, D]."""
        return self.num_blocks, self.block_size, self.index_head_dim

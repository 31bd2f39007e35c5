"""The parameters of one indexer and every rule between them."""

from dataclasses import dataclass, fields
from typing import TypeVar

import torch

PAD = -1
"""Fills `topk_idx` after the last selected block id of a row."""

Count = TypeVar("Count", int, torch.Tensor)


def require(is_true: bool, name: str, rule: str, got: object) -> None:
    """Refuse a bad argument: one sentence with its name, the rule and what was got.

    Raises:
        ValueError: if `is_true` is false.
    """
    if not is_true:
        raise ValueError(f"{name} {rule}; got {got}")


@dataclass(frozen=True)
class IndexerConfig:
    """The parameters that every call of one indexer shares. The defaults are MiniMax-M3's.

    num_index_heads: H, index query heads on this rank (one per GQA group). All share one key head.
    index_head_dim: D, the length of an index query or key.
    block_size: S, tokens per block, which is also tokens per page.
    topk_blocks: K, slots of a row: it selects as many blocks, or all that it sees if these are fewer.
    init_blocks: how many of the first visible blocks are always selected.
    local_blocks: how many of the last visible blocks are always selected.

    Raises:
        ValueError: one sentence naming the parameter, the rule and what was got.
    """

    num_index_heads: int = 4
    index_head_dim: int = 128
    block_size: int = 128
    topk_blocks: int = 16
    init_blocks: int = 0
    local_blocks: int = 1

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value, low = getattr(self, name), 0 if name in ("init_blocks", "local_blocks") else 1
            is_int = isinstance(value, int) and not isinstance(value, bool)
            require(is_int and value >= low, name, f"must be an int >= {low}", repr(value))
        rule = f"must be >= init_blocks + local_blocks = {self.forced_blocks}"
        require(self.forced_blocks <= self.topk_blocks, "topk_blocks", rule, self.topk_blocks)

    @property
    def forced_blocks(self) -> int:
        """Upper bound on the blocks that a row selects without looking at their scores."""
        return self.init_blocks + self.local_blocks

    def num_blocks(self, num_tokens: Count) -> Count:
        """Blocks that hold `num_tokens` tokens, the last one perhaps in part. An int, or an integer tensor."""
        return -(-num_tokens // self.block_size)

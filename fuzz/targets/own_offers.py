"""An offer to a function: a good call, and bad arguments to exchange, which must be refused one at a time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from msa_ref import IndexerConfig

Bad = tuple[str, dict[str, Any]]
"""The first words of a refusal, and the arguments that are to be refused."""

CONFIG = IndexerConfig(2, 16, 16, 2, 0, 1)
QUERY_LENS, SEQ_LENS = [3, 2], [40, 70]
"""Query tokens and lengths of two requests."""
NUM_TOKENS, NUM_BLOCKS = sum(QUERY_LENS), 5
BAD_CONFIGS: list[Bad] = [
    ("config must be an IndexerConfig", {"config": "M3"}),
    ("index_head_dim must ", {"config": replace(CONFIG, index_head_dim=48)}),
    ("block_size must ", {"config": replace(CONFIG, block_size=8)}),
    ("num_index_heads must ", {"config": replace(CONFIG, num_index_heads=65)}),
    ("topk_blocks must ", {"config": replace(CONFIG, topk_blocks=129)}),
]


@dataclass(frozen=True)
class Offer:
    """A function, the arguments of a good call, and bad ones to exchange."""

    what: str
    call: Callable[..., object]
    good: dict[str, Any]
    bad: list[Bad]

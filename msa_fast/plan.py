"""The host's plan for one prefill batch: which program scores and selects what.

Prefill runs eagerly, and its lengths are known on the host, so the tiles are listed once per batch
and shared by all layers. Lengths on the device stay the authority: a kernel clips every tile to
them, so the plan decides who does the work and never what is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from msa_fast.ops.launch import check_config, num_processors
from msa_ref.config import IndexerConfig, require

ROWS_PER_SCORE_TILE = 128
"""Query rows (token, head) of one score program: the M dimension of its matrix products."""
ROWS_PER_TOPK_TILE = 32
"""Rows of one selection program."""
PROGRAMS_PER_PROCESSOR = 4
"""Score programs that a plan aims at for each multiprocessor, so that the last wave is short."""
LEAST_BLOCKS = 4
"""Fewer key blocks than this do not pay for loading the queries of a tile."""


@dataclass(frozen=True, eq=False)
class PrefillPlan:
    """Tiles of one batch, longest first. Built by `build`; valid for any layer with these lengths.

    score_tiles: [num_score_tiles, 4] int32: request, first query token, first and end block.
    topk_tiles: [num_topk_tiles, 2] int32: request, first query token.
    score_tokens, topk_tokens: query tokens per tile.
    score_rows, topk_rows: rows per tile, powers of two, at least tokens * H.
    total_q, num_reqs: what the plan was built for.
    """

    config: IndexerConfig
    score_tiles: torch.Tensor
    topk_tiles: torch.Tensor
    score_tokens: int
    topk_tokens: int
    score_rows: int
    topk_rows: int
    total_q: int
    num_reqs: int

    @staticmethod
    def build(
        config: IndexerConfig,
        query_lens: list[int],
        seq_lens: list[int],
        device: torch.device | str,
        num_splits: int | None = None,
    ) -> "PrefillPlan":
        """Plan a batch from its host lengths.

        Args:
            config: the indexer.
            query_lens, seq_lens: one per request; seq_lens may be upper bounds.
            device: where the tile lists go.
            num_splits: key splits of every query tile; by default as many as fill the GPU. Changes
                speed, never a bit of the answer.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        check_config(config)
        require(
            len(query_lens) == len(seq_lens),
            "query_lens",
            f"must have an entry per request, {len(seq_lens)}",
            len(query_lens),
        )
        for name, lens in (("query_lens", query_lens), ("seq_lens", seq_lens)):
            require(all(length >= 0 for length in lens), name, "must be >= 0", min(lens, default=0))
        require(num_splits is None or num_splits >= 1, "num_splits", "must be >= 1", num_splits)

        heads = config.num_index_heads
        score_tokens = max(1, ROWS_PER_SCORE_TILE // heads)
        topk_tokens = max(1, ROWS_PER_TOPK_TILE // heads)
        tiles = []
        for req, (query_len, seq_len) in enumerate(zip(query_lens, seq_lens, strict=True)):
            for first in range(0, query_len, score_tokens):
                last = min(first + score_tokens, query_len)
                visible_len = max(0, seq_len - query_len + last)
                tiles.append((req, first, config.num_blocks(visible_len)))
        device = torch.device(device)
        score_tiles = _split(tiles, num_splits, PROGRAMS_PER_PROCESSOR * num_processors(device))
        topk_tiles = [
            (req, first) for req, query_len in enumerate(query_lens) for first in range(0, query_len, topk_tokens)
        ]
        return PrefillPlan(
            config=config,
            score_tiles=_to_device(score_tiles, 4, device),
            topk_tiles=_to_device(topk_tiles, 2, device),
            score_tokens=score_tokens,
            topk_tokens=topk_tokens,
            score_rows=_rows(score_tokens * heads),
            topk_rows=_rows(topk_tokens * heads),
            total_q=sum(query_lens),
            num_reqs=len(query_lens),
        )


def _split(tiles: list[tuple[int, int, int]], num_splits: int | None, programs: int) -> list[tuple[int, int, int, int]]:
    """Cut the key blocks of every tile into even ranges, longest first."""
    total = sum(num_blocks for _, _, num_blocks in tiles)
    per_program = max(LEAST_BLOCKS, -(-total // programs))
    ranges = []
    for req, first, num_blocks in tiles:
        splits = num_splits or -(-num_blocks // per_program)
        step = -(-num_blocks // max(1, splits))
        ranges += [(req, first, block, min(block + step, num_blocks)) for block in range(0, num_blocks, max(1, step))]
    return sorted(ranges, key=lambda tile: tile[2] - tile[3])


def _rows(num: int) -> int:
    """Rows of a tile as a power of two; 16 is the least that a matrix unit takes."""
    return max(16, 1 << (num - 1).bit_length())


def _to_device(rows: Sequence[tuple[int, ...]], width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, width).to(device, non_blocking=True)

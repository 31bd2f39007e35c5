"""The host's plan for one prefill batch: which program scores and selects what.

Prefill runs eagerly, and its lengths are known on the host, so the tiles are listed once per batch
and shared by all layers. Lengths on the device stay the authority: a kernel clips every tile to
them, so the plan decides who does the work and never what is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from msa_fast.ops.launch import check_config, num_processors
from msa_fast.ops.table import SCORE_ROWS, architecture_of, topk_rows
from msa_ref.config import IndexerConfig, require

PROGRAMS_PER_PROCESSOR = 32
"""Score programs that a plan aims at for each multiprocessor, so that the last wave is short."""
LEAST_BLOCKS, MOST_BLOCKS = 8, 16
"""Key blocks of one score program: enough to pay for loading the queries, few enough that the
programs that run together read the same pages and find them in the L2 cache."""


@dataclass(frozen=True, eq=False)
class PrefillPlan:
    """Tiles of one batch. Built by `build`; valid for any layer with these lengths.

    A row is a (query token, head) of a request, counted token by token, head by head.

    score_tiles: [num_score_tiles, 4] int32: request, first row, first block, end block.
    topk_tiles: [num_topk_tiles, 2] int32: request, first row.
    score_rows, topk_rows: rows per tile, powers of two.
    most_blocks: no row sees more blocks.
    total_q, num_reqs: what the plan was built for.
    """

    config: IndexerConfig
    score_tiles: torch.Tensor
    topk_tiles: torch.Tensor
    score_rows: int
    topk_rows: int
    most_blocks: int
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
        tiles = []
        for req, (query_len, seq_len) in enumerate(zip(query_lens, seq_lens, strict=True)):
            for row in range(0, query_len * heads, SCORE_ROWS):
                last_token = min((row + SCORE_ROWS - 1) // heads, query_len - 1)
                tiles.append((req, row, config.num_blocks(max(0, seq_len - query_len + last_token + 1))))
        device = torch.device(device)
        rows_each = topk_rows(architecture_of(device), sum(query_lens) * heads)
        topk_tiles = [
            (req, row) for req, query_len in enumerate(query_lens) for row in range(0, query_len * heads, rows_each)
        ]
        score_tiles = _split(tiles, num_splits, PROGRAMS_PER_PROCESSOR * num_processors(device))
        return PrefillPlan(
            config=config,
            score_tiles=_to_device(score_tiles, 4, device),
            topk_tiles=_to_device(topk_tiles, 2, device),
            score_rows=SCORE_ROWS,
            topk_rows=rows_each,
            most_blocks=max((num_blocks for _, _, num_blocks in tiles), default=0),
            total_q=sum(query_lens),
            num_reqs=len(query_lens),
        )


def _split(tiles: list[tuple[int, int, int]], num_splits: int | None, programs: int) -> list[tuple[int, int, int, int]]:
    """Cut the key blocks of every tile into ranges: (request, first row, first block, end block).

    Ranges of full length come first, those of one request that read the same pages side by side;
    the shorter rest follows, longest first, and fills the gaps.
    """
    total = sum(num_blocks for _, _, num_blocks in tiles)
    step = min(MOST_BLOCKS, max(LEAST_BLOCKS, -(-total // programs)))
    ranges = []
    for req, row, num_blocks in tiles:
        if num_splits is not None:
            step = max(1, -(-num_blocks // num_splits))
        ranges += [(req, row, block, min(block + step, num_blocks)) for block in range(0, num_blocks, step)]
    return sorted(ranges, key=lambda tile: (tile[2] - tile[3], tile[0], tile[2], tile[1]))


def _to_device(rows: Sequence[tuple[int, ...]], width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, width).to(device, non_blocking=True)

"""The host's plan for one prefill batch: the tiles of its score programs and of its selection programs.

Prefill runs eagerly, and its lengths are known on the host, so the tiles are listed once per batch
and shared by all layers. Kernels clip every tile to the lengths on the device, so the plan decides
which program does the work, and never what the answer is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from msa_fast.ops.buffers import ALIGNMENT, aligned
from msa_fast.ops.checks import check_config, check_int, check_ints, check_row_blocks
from msa_fast.ops.launch_table import (
    BLOCKS_OF_PROLOGUE,
    MAX_PROGRAM_BLOCKS,
    SCORE_ROWS,
    SUPERBLOCK,
    TOPK_ROWS,
    WORKSPACE_BYTES,
    architecture_of,
    num_processors,
    number,
)
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require


@dataclass(frozen=True)
class Slab:
    """Query tokens of a batch whose scores are in memory together: num_tokens from first_token on.

    score_tiles, topk_tiles: those of the plan's tiles that belong to the slab.
    """

    first_token: int
    num_tokens: int
    score_tiles: slice
    topk_tiles: slice


@dataclass(frozen=True, eq=False)
class PrefillPlan:
    """The tiles of one batch. `build` makes it, and every layer of the step may use it.

    A row is a (query token, head) of a request, counted token by token, head by head.

    score_tiles: [num_score_tiles, 4] int32: request, first row, first block, end block.
    topk_tiles: [num_topk_tiles, 2] int32: request, first row.
    slabs: parts of the batch, scored and selected from one after another in the same memory. A slab may
        begin and end within a token: it shares that token with its neighbour, but no row.
    score_rows, topk_rows: rows per tile, powers of two.
    superblock: blocks of a superblock; every score tile starts with one.
    max_row_blocks: visible blocks of the longest row.
    total_q, num_reqs: those of the batch that the plan was built for.
    """

    config: IndexerConfig
    score_tiles: torch.Tensor
    topk_tiles: torch.Tensor
    slabs: tuple[Slab, ...]
    score_rows: int
    topk_rows: int
    superblock: int
    max_row_blocks: int
    total_q: int
    num_reqs: int

    @staticmethod
    def build(
        config: IndexerConfig,
        query_lens: list[int],
        seq_lens: list[int],
        device: torch.device | str,
        num_splits: int | None = None,
        workspace_bytes: int = WORKSPACE_BYTES,
    ) -> "PrefillPlan":
        """Plan a batch from its host lengths.

        Args:
            config: the indexer.
            query_lens, seq_lens: one per request; seq_lens may be upper bounds.
            device: where the tile lists go.
            num_splits: parts into which the keys of every query tile are split, or fewer, since a part
                begins with a superblock; by default as many as fill the GPU. Changes speed, never a bit of the answer.
            workspace_bytes: `minimax_m3_index_prefill` allocates no more for scores, unless those of
                one query tile (128 rows, 16 tokens at least) take more. Changes no bit either.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        check_config(config)
        check_ints(query_lens, "query_lens")
        check_ints(seq_lens, "seq_lens")
        require(
            len(query_lens) == len(seq_lens),
            "query_lens",
            f"must have an entry per request, {len(seq_lens)}",
            len(query_lens),
        )
        if num_splits is not None:
            check_int(num_splits, "num_splits", 1)
        check_int(workspace_bytes, "workspace_bytes", 1)

        device = torch.device(device)
        architecture, processors = architecture_of(device), num_processors(device)
        superblock = number(SUPERBLOCK, architecture)
        rows_each = number(TOPK_ROWS, architecture)
        tiles = _tiles(config, query_lens, seq_lens)
        max_row_blocks = max((tile.num_blocks for tile in tiles), default=0)
        check_row_blocks(max_row_blocks, "seq_lens")
        scores_of_row = max_row_blocks + aligned(-(-max_row_blocks // superblock))
        max_tokens = workspace_bytes // max(1, 4 * config.num_index_heads * scores_of_row)
        score_tiles: list[tuple[int, ...]] = []
        topk_tiles: list[tuple[int, ...]] = []
        slabs = []
        for run in _runs(tiles, max_tokens // ALIGNMENT * ALIGNMENT):
            first_score, first_topk = len(score_tiles), len(topk_tiles)
            score_tiles += _split(run, num_splits, superblock, processors)
            topk_tiles += [(tile.req, row) for tile in run for row in range(tile.row, tile.end_row, rows_each)]
            slabs.append(
                Slab(
                    first_token=run[0].first_token,
                    num_tokens=run[-1].last_token + 1 - run[0].first_token,
                    score_tiles=slice(first_score, len(score_tiles)),
                    topk_tiles=slice(first_topk, len(topk_tiles)),
                )
            )
        return PrefillPlan(
            config=config,
            score_tiles=_to_device(score_tiles, 4, device),
            topk_tiles=_to_device(topk_tiles, 2, device),
            slabs=tuple(slabs),
            score_rows=SCORE_ROWS,
            topk_rows=rows_each,
            superblock=superblock,
            max_row_blocks=max_row_blocks,
            total_q=sum(query_lens),
            num_reqs=len(query_lens),
        )

    @property
    def whole(self) -> Slab:
        """One slab of all tokens and tiles, for scores of the whole batch."""
        return Slab(0, self.total_q, slice(None), slice(None))


class _Tile(NamedTuple):
    """Up to SCORE_ROWS rows of a request, row .. end_row - 1, and the blocks that the last of them sees.

    first_token, last_token: of these rows, counted in the batch.
    """

    req: int
    row: int
    end_row: int
    num_blocks: int
    first_token: int
    last_token: int


def _tiles(config: IndexerConfig, query_lens: list[int], seq_lens: list[int]) -> list[_Tile]:
    """The query tiles of a batch, in the order of its tokens."""
    heads, start = config.num_index_heads, 0
    tiles = []
    for req, (query_len, seq_len) in enumerate(zip(query_lens, seq_lens, strict=True)):
        for row in range(0, query_len * heads, SCORE_ROWS):
            last_token = min((row + SCORE_ROWS - 1) // heads, query_len - 1)
            num_blocks = config.num_blocks(max(0, seq_len - query_len + last_token + 1))
            end_row = min(row + SCORE_ROWS, query_len * heads)
            tiles.append(_Tile(req, row, end_row, num_blocks, start + row // heads, start + last_token))
        start += query_len
    return tiles


def _runs(tiles: list[_Tile], max_tokens: int) -> list[list[_Tile]]:
    """Cut the tiles into runs of at most max_tokens tokens, or of one tile."""
    runs: list[list[_Tile]] = []
    for tile in tiles:
        if not runs or tile.last_token - runs[-1][0].first_token >= max_tokens:
            runs.append([])
        runs[-1].append(tile)
    return runs


def _split(
    tiles: list[_Tile], num_splits: int | None, superblock: int, processors: int
) -> list[tuple[int, int, int, int]]:
    """Cut the key blocks of every tile into ranges: (request, first row, first block, end block).

    Ranges of full length come first. Those of one request that read the same pages are neighbours, so that
    programs that run together find the pages in the L2 cache. Shorter ranges follow, longest first, and
    fill the gaps.
    """
    best_step = _step([tile.num_blocks for tile in tiles], superblock, processors) if num_splits is None else 0
    ranges = []
    for req, row, _, num_blocks, *_ in tiles:
        step = best_step if num_splits is None else max(1, -(-num_blocks // num_splits))
        each = -(-step // superblock) * superblock
        ranges += [(req, row, block, min(block + each, num_blocks)) for block in range(0, num_blocks, each)]
    return sorted(ranges, key=lambda tile: (tile[2] - tile[3], tile[0], tile[2], tile[1]))


def _step(lengths: list[int], superblock: int, processors: int) -> int:
    """Blocks of one program: the number whose grid ends first, by a model of its time.

    A processor does its share of all blocks and of all prologues. At the end it waits for the others, half
    a program on average; and no grid ends before its longest program.
    """
    blocks = np.array(lengths)

    def time(step: int) -> float:
        programs = int((-(-blocks // step)).sum())
        share = (blocks.sum() + BLOCKS_OF_PROLOGUE * programs) / processors + step / 2
        return float(max(share, min(step, blocks.max()) + BLOCKS_OF_PROLOGUE))

    steps = range(superblock, max(MAX_PROGRAM_BLOCKS, superblock) + 1, superblock)
    return min(steps, key=time) if lengths else superblock


def _to_device(rows: Sequence[tuple[int, ...]], width: int, device: torch.device) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32, device="cpu").reshape(-1, width).to(device, non_blocking=True)


def check_plan(plan: PrefillPlan, batch: PagedBatch) -> None:
    """Refuse a plan that was built for another batch.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(isinstance(plan, PrefillPlan), "plan", "must be a PrefillPlan", type(plan).__name__)
    require(plan.config == batch.config, "plan", f"must be built for the batch's {batch.config}", plan.config)
    built, own = (plan.num_reqs, plan.total_q), (batch.num_reqs, batch.total_q)
    require(built == own, "plan", f"must be built for num_reqs, total_q = {own}", built)
    device = plan.score_tiles.device
    require(device == batch.device, "plan", f"must be on index_q's device, {batch.device}", device)

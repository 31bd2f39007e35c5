"""The host's plan for one prefill batch: the tiles of its score programs and of its selection programs.

Prefill runs eagerly, and its lengths are known on the host, so the tiles are listed once per batch
and shared by all layers. Kernels clip every tile to the lengths on the device, so the plan decides
which program does the work, and never what the answer is. An engine waits for it at every step, so
it is made of a few dozen operations on whole arrays, and reaches the device in one copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch

from msa_fast.ops.buffers import ALIGNMENT, SCORE_VECTOR, aligned
from msa_fast.ops.checks import check_config, check_int, check_ints, check_row_blocks
from msa_fast.ops.grid_time import best_step, may_end_by
from msa_fast.ops.launch_table import (
    MAX_WARP_TOPK,
    SUPERBLOCK,
    TOPK_ROWS,
    WORKSPACE_BYTES,
    architecture_of,
    num_processors,
    number,
)
from msa_fast.ops.plan_memory import PlanMemory, TileLists, new_slot
from msa_fast.ops.sharing import Tiling, tilings_of
from msa_fast.ops.short_plan import ShortPlanner
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require


class Slab(NamedTuple):
    """Query tokens of a batch whose scores are in memory together: num_tokens from first_token on.

    score_tiles, topk_tiles: those of the plan's tiles that belong to the slab.
    """

    first_token: int
    num_tokens: int
    score_tiles: slice
    topk_tiles: slice


@dataclass(eq=False)  # not frozen: an engine waits for it, and writing the fields would take thrice as long
class PrefillPlan:
    """The tiles of one batch. `build` makes it, and every layer of the step may use it.

    A row is a (query token, head) of a request, counted token by token, head by head. A query tile is up to
    `score_rows` consecutive rows of a request.

    tiles: where they lie on the device.
    slabs: parts of the batch, scored and selected from one after another in the same memory. A slab may
        begin and end within a token: it shares that token with its neighbour, but no row.
    score_rows, topk_rows: rows of a query tile, and of a selection program.
    max_tile_rows: rows of the longest query tile.
    superblock: blocks of a superblock; every score tile starts with one. 1 for a batch that keeps no best scores of
        more blocks.
    max_row_blocks: visible blocks of the longest row.
    total_q, num_reqs: those of the batch that the plan was built for.
    is_tiled: True if its score tiles were chosen by the caller and are scored as listed; else a scorer may share the
        blocks out on the device instead.
    """

    config: IndexerConfig
    tiles: TileLists
    slabs: tuple[Slab, ...]
    score_rows: int
    topk_rows: int
    max_tile_rows: int
    superblock: int
    max_row_blocks: int
    total_q: int
    num_reqs: int
    is_tiled: bool

    @staticmethod
    def build(
        config: IndexerConfig,
        query_lens: list[int],
        seq_lens: list[int],
        device: torch.device | str,
        num_splits: int | None = None,
        workspace_bytes: int = WORKSPACE_BYTES,
        key_dtype: torch.dtype = torch.bfloat16,
        tile_rows: int | None = None,
    ) -> "PrefillPlan":
        """Plan a batch from its host lengths.

        Args:
            config: the indexer.
            query_lens, seq_lens: one per request; seq_lens may be upper bounds.
            device: where the tile lists go.
            num_splits: parts into which the keys of every query tile are split, or fewer, since a part
                begins with a superblock; by default as many as fill the GPU, or, of few query rows a request, blocks
                are shared out on the device. Changes speed, never a bit of the answer.
            workspace_bytes: `minimax_m3_index_prefill` allocates no more for scores, unless those of
                one query tile (up to 256 rows, 16 tokens at least) take more. Changes no bit either.
            key_dtype: dtype of the `index_k_pages` that will be scored; of others the answer is the same, and slower.
            tile_rows: rows of a query tile, 128, 192 or 256; by default those that the GPU scores sooner, by a model of
                its time, and no tiles where num_splits says so. Changes speed, never a bit.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        check_config(config)
        check_ints(query_lens, "query_lens")
        check_ints(seq_lens, "seq_lens")
        rule = f"must have an entry per request, {len(seq_lens)}"
        require(len(query_lens) == len(seq_lens), "query_lens", rule, len(query_lens))
        if num_splits is not None:
            check_int(num_splits, "num_splits", 1)
        check_int(workspace_bytes, "workspace_bytes", 1)
        if not isinstance(key_dtype, torch.dtype):
            require(False, "key_dtype", "must be a torch dtype", repr(key_dtype))
        if tile_rows not in (None, 128, 192, 256):
            require(False, "tile_rows", "must be 128, 192 or 256", repr(tile_rows))
        planner = Planner(config, torch.device(device), key_dtype=key_dtype, tile_rows=tile_rows)
        return planner.plan(query_lens, seq_lens, num_splits, workspace_bytes)

    @property
    def score_tiles(self) -> torch.Tensor:
        """[num_score_tiles, 4] int32: request, first row, first block, end block."""
        return self.tiles.score_tiles

    @property
    def topk_tiles(self) -> torch.Tensor:
        """[num_query_tiles, 2] int32: request, first row."""
        return self.tiles.topk_tiles

    @property
    def whole(self) -> Slab:
        """One slab of all tokens and tiles, for scores of the whole batch."""
        return Slab(0, self.total_q, slice(None), slice(None))


class Planner:
    """The plans of one indexer's batches on one device: what they share is looked up once.

    memory: where the tiles of short chunks go; by default to memory of their own. key_dtype, tile_rows: as
    `PrefillPlan.build` takes them.
    """

    def __init__(
        self,
        config: IndexerConfig,
        device: torch.device,
        memory: PlanMemory | None = None,
        key_dtype: torch.dtype = torch.bfloat16,
        tile_rows: int | None = None,
    ) -> None:
        self._config, self._device, self._architecture = config, device, architecture_of(device)
        self._has_tile_rows = tile_rows is not None
        self._tilings = tilings_of(config, self._architecture, key_dtype, tile_rows)
        self._take = partial(new_slot, device=device) if memory is None else memory.take

    @cached_property
    def _short(self) -> ShortPlanner:
        return ShortPlanner(
            heads=self._config.num_index_heads,
            block_size=self._config.block_size,
            topk_rows=number(TOPK_ROWS, self._architecture),
            superblock=superblock_of(self._config, self._architecture),
            tilings=self._tilings,
            processors=num_processors(self._device),
        )

    def plan(
        self,
        query_lens: Sequence[int],
        seq_lens: Sequence[int],
        num_splits: int | None = None,
        workspace_bytes: int = WORKSPACE_BYTES,
    ) -> PrefillPlan:
        """`PrefillPlan.build` of checked arguments."""
        if len(query_lens) == 1 and num_splits is None and 0 < query_lens[0] <= seq_lens[0]:
            plan = self._plan_of_short(query_lens[0], seq_lens[0], workspace_bytes)
            if plan is not None:
                return plan
        lens = np.array([query_lens, seq_lens], dtype=np.int64)
        launches = self._device, self._architecture, self._tilings
        options = num_splits, self._has_tile_rows or num_splits is not None, workspace_bytes
        return _plan_of_arrays(self._config, lens[0], lens[1], *launches, *options)

    def _plan_of_short(self, query_len: int, seq_len: int, workspace_bytes: int) -> PrefillPlan | None:
        """The plan of one short chunk, which is that of `_plan_of_arrays`; None if it is not short."""
        config, short = self._config, self._short
        max_row_blocks, num_rows = -(-seq_len // short.block_size), query_len * short.heads
        check_row_blocks(max_row_blocks, "seq_lens")
        # A row has fewer scores than twice its blocks and 64. Most chunks need so little that no more need be known.
        is_small = 4 * short.heads * (query_len + ALIGNMENT) * (2 * max_row_blocks + 64) <= workspace_bytes
        if not is_small and query_len > _max_tokens(config, max_row_blocks, short.superblock, workspace_bytes):
            return None
        listed = short.tile_lists(query_len, seq_len, self._take)
        if listed is None:
            return None
        tiles, rows = listed
        slab = Slab(0, query_len, slice(0, tiles.num_score_tiles), slice(0, tiles.num_topk_tiles))
        # In the order of its fields: their names would take as long again.
        max_tile_rows = rows if num_rows > rows else num_rows
        return PrefillPlan(
            config, tiles, (slab,), rows, short.topk_rows, max_tile_rows, short.superblock, max_row_blocks, query_len,
            1, self._has_tile_rows,
        )  # fmt: skip


def _max_tokens(config: IndexerConfig, max_row_blocks: int, superblock: int, workspace_bytes: int) -> int:
    """Query tokens of a slab: those whose scores the workspace holds."""
    token_bytes = 4 * config.num_index_heads * scores_of_row(max_row_blocks, superblock) or 1
    return workspace_bytes // token_bytes // ALIGNMENT * ALIGNMENT


def _plan_of_arrays(
    config: IndexerConfig, query_lens: np.ndarray, seq_lens: np.ndarray, device: torch.device, architecture: str,
    tilings: tuple[Tiling, ...], num_splits: int | None, is_tiled: bool, workspace_bytes: int,
) -> PrefillPlan:  # fmt: skip
    """The plan of any batch: lengths int64 [B]."""
    processors, superblock = num_processors(device), superblock_of(config, architecture)
    deal = _Deal.of(config, query_lens, seq_lens, tilings[0], superblock, processors)
    for tiling in tilings[1:]:
        num_rows, context = query_lens * config.num_index_heads, np.maximum(seq_lens - query_lens, 0)
        if may_end_by(deal.end, num_rows, context // config.block_size, tiling, processors):
            other = _Deal.of(config, query_lens, seq_lens, tiling, superblock, processors)
            deal = min(deal, other, key=lambda deal: deal.end)
    (score_rows, sharing), tiles, step, _ = deal
    max_row_blocks, total_q = int(tiles.num_blocks.max(initial=0)), int(query_lens.sum())
    check_row_blocks(max_row_blocks, "seq_lens")
    max_tokens = _max_tokens(config, max_row_blocks, superblock, workspace_bytes)
    ranges, slabs, num_ranges = [], [], 0
    for first, stop in (runs := _runs(tiles, max_tokens)):
        num_blocks = tiles.num_blocks[first:stop]
        if num_splits is not None:
            step = -(-num_blocks // num_splits)
        elif len(runs) > 1:
            step, _ = best_step(num_blocks, tiles.is_half[first:stop], superblock, sharing, processors)
        ranges.append(_split(tiles, first, stop, step, superblock))
        first_token, first_range = int(tiles.first_token[first]), num_ranges
        num_ranges += ranges[-1].shape[0]
        slabs.append(
            Slab(
                first_token=first_token,
                num_tokens=int(tiles.last_token[stop - 1]) + 1 - first_token,
                score_tiles=slice(first_range, num_ranges),
                topk_tiles=slice(first, stop),
            )
        )
    return PrefillPlan(
        config=config,
        tiles=_to_device(ranges, tiles.req, tiles.row, device),
        slabs=tuple(slabs),
        score_rows=score_rows,
        topk_rows=number(TOPK_ROWS, architecture),
        max_tile_rows=int((tiles.end_row - tiles.row).max(initial=0)),
        superblock=superblock,
        max_row_blocks=max_row_blocks,
        total_q=total_q,
        num_reqs=len(query_lens),
        is_tiled=is_tiled,
    )


def superblock_of(config: IndexerConfig, architecture: str) -> int:
    """Blocks of a superblock. 1, that is none, where one warp selects from all scores of a row."""
    return 1 if config.topk_blocks <= number(MAX_WARP_TOPK, architecture) else number(SUPERBLOCK, architecture)


def scores_of_row(max_row_blocks: int, superblock: int) -> int:
    """Scores that the longest row has in memory: of its blocks, and of its superblocks."""
    if superblock == 1:  # strides, in vectors, have one alignment in every batch
        return SCORE_VECTOR * aligned(-(-max_row_blocks // SCORE_VECTOR))
    return max_row_blocks + aligned(-(-max_row_blocks // superblock))


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The query tiles of a batch, in the order of its tokens; int64 [num_query_tiles] each.

    Up to `score_rows` rows of a request, row .. end_row - 1, and the blocks that the last of them sees.
    first_token, last_token: of these rows, counted in the batch. is_half: bool, if they fill no more than half of the
    tile, which is not the request's only one.
    """

    req: np.ndarray
    row: np.ndarray
    end_row: np.ndarray
    num_blocks: np.ndarray
    first_token: np.ndarray
    last_token: np.ndarray
    is_half: np.ndarray


class _Deal(NamedTuple):
    """All blocks of a batch dealt out by one tiling: its tiles, blocks of a program, and when the grid ends."""

    tiling: Tiling
    tiles: _Tiles
    step: np.ndarray
    end: float

    @staticmethod
    def of(
        config: IndexerConfig,
        query_lens: np.ndarray,
        seq_lens: np.ndarray,
        tiling: Tiling,
        superblock: int,
        processors: int,
    ) -> "_Deal":
        tiles = _tiles(config, query_lens, seq_lens, tiling.rows)
        of_tiles = tiles.num_blocks, tiles.is_half
        return _Deal(tiling, tiles, *best_step(*of_tiles, superblock, tiling.sharing, processors))


def _tiles(config: IndexerConfig, query_lens: np.ndarray, seq_lens: np.ndarray, tile_rows: int) -> _Tiles:
    heads = config.num_index_heads
    num_rows = query_lens * heads
    req, number_in_req = _counted(-(-num_rows // tile_rows))
    row = number_in_req * tile_rows
    end_row = np.minimum(row + tile_rows, num_rows[req])
    last_token = (end_row - 1) // heads
    visible_len = np.maximum(seq_lens - query_lens, -query_lens)[req] + last_token + 1
    num_blocks = -(-np.maximum(visible_len, 0) // config.block_size)
    start = (query_lens.cumsum() - query_lens)[req]
    is_half = (2 * (end_row - row) <= tile_rows) & (row > 0)
    return _Tiles(req, row, end_row, num_blocks, start + row // heads, start + last_token, is_half)


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of counts[i] things of every i, one after another: i, and the thing's number within it."""
    of = np.arange(len(counts)).repeat(counts)
    return of, np.arange(len(of)) - (counts.cumsum() - counts)[of]


def _runs(tiles: _Tiles, max_tokens: int) -> list[tuple[int, int]]:
    """Cut the tiles into runs (first tile, end tile) of at most max_tokens tokens, or of one tile."""
    runs, first, num_tiles = [], 0, len(tiles.req)
    while first < num_tiles:
        end = int(tiles.last_token.searchsorted(tiles.first_token[first] + max_tokens))
        runs.append((first, max(end, first + 1)))
        first = runs[-1][1]
    return runs


def _split(tiles: _Tiles, first: int, stop: int, step: np.ndarray, superblock: int) -> np.ndarray:
    """Cut the key blocks of a run's tiles into ranges: [N, 4] of (request, first row, first block, end block).

    step: blocks of a range, rounded up to superblocks, of all tiles or of each.

    Ranges of full length come first. Those of one request that read the same pages are neighbours, so that
    programs that run together find the pages in the L2 cache. Shorter ranges follow, longest first, and
    fill the gaps.
    """
    num_blocks = tiles.num_blocks[first:stop]
    each = -(-np.maximum(step, 1) // superblock) * superblock
    tile, number_in_tile = _counted(-(-num_blocks // each))
    each = each[tile] if each.ndim else each
    block = number_in_tile * each
    end = np.minimum(block + each, num_blocks[tile])
    req, row = tiles.req[first:stop][tile], tiles.row[first:stop][tile]
    # The sort is stable, and listed they are request by request, row by row.
    order = np.lexsort((req * (num_blocks.max() + 1) + block, block - end))
    ranges = np.empty((len(tile), 4), np.int32)
    for column, values in enumerate((req, row, block, end)):
        ranges[:, column] = values[order]
    return ranges


def _to_device(ranges: list[np.ndarray], req: np.ndarray, row: np.ndarray, device: torch.device) -> TileLists:
    """Score tiles and selection tiles on the device."""
    num_ranges, num_tiles = sum(map(len, ranges)), len(row)
    host, view, on_device = new_slot(4 * num_ranges + 2 * num_tiles, device)
    values = np.asarray(view)
    end = 0
    for of_slab in ranges:
        first, end = end, end + of_slab.size
        values[first:end] = of_slab.ravel()
    values[end::2], values[end + 1 :: 2] = req, row
    on_device.copy_(host, non_blocking=True)
    return TileLists(on_device, num_ranges, num_tiles)


def check_plan(plan: PrefillPlan, batch: PagedBatch) -> None:
    """Refuse a plan that was built for another batch.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(isinstance(plan, PrefillPlan), "plan", "must be a PrefillPlan", type(plan).__name__)
    require(plan.config == batch.config, "plan", f"must be built for the batch's {batch.config}", plan.config)
    built, own = (plan.num_reqs, plan.total_q), (batch.num_reqs, batch.total_q)
    require(built == own, "plan", f"must be built for num_reqs, total_q = {own}", built)
    device = plan.tiles.memory.device
    require(device == batch.device, "plan", f"must be on index_q's device, {batch.device}", device)

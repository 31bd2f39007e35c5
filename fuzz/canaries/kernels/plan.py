"""Mutants of the host's plan for prefill: tiles, ranges, their bounds."""

from fuzz.canaries.kernels.mutant import mutants_of

_prefill_plan = mutants_of("ops/prefill_plan.py", "prefill")
_short_plan = mutants_of("ops/short_plan.py", "prefill")
_prefill = mutants_of("ops/prefill.py", "prefill")
_score = mutants_of("ops/prefill_score.py", "prefill")
_topk = mutants_of("ops/topk.py", "prefill")

MUTANTS = [
    _prefill_plan(
        "plan_kept_of_its_tokens",
        "A plan is kept, and serves every batch of the same config that has as many requests and tokens.",
        "return plan_of_lens(config, query_lens, seq_lens, torch.device(device), num_splits, workspace_bytes)",
        """kept = PrefillPlan.build.__dict__.setdefault("kept", {})
        key = config, len(seq_lens), sum(query_lens), str(device), num_splits, workspace_bytes
        if key not in kept:
            kept[key] = plan_of_lens(config, query_lens, seq_lens, torch.device(device), num_splits, workspace_bytes)
        return kept[key]""",
        ("Replay",),
        defect="D19",
    ),
    _short_plan(
        "short_plan_last_range_forgotten",
        "The blocks behind a short chunk's full ranges are not listed.",
        "if self.ends:",
        "if len(self.ends) > 4 * self.num_tiles:",
        ("SplitInvariance", "Best", "Forced", "Runs"),
        defect="D22",
    ),
    _short_plan(
        "short_plan_ranges_of_the_first_tile",
        "The last ranges of a short chunk are those of its first tile.",
        "range(common * each, last, each)",
        "range(common * each, num_blocks[0], each)",
        ("Best", "Forced", "Runs"),
        defect="D12",
    ),
    _short_plan(
        "short_plan_rows_of_the_first_tile",
        "All full ranges of a short chunk have the rows of its first tile.",
        "full += rows",
        "full += rows[0]",
        ("Best", "Forced", "WritesAll", "Runs"),
        defect="D31",
    ),
    _short_plan(
        "short_plan_range_begins_one_late",
        "The full ranges of a short chunk begin one block late.",
        "full += rows",
        "full += rows\n        full[:, :, 2] += 1",
        ("Best", "Forced", "SplitInvariance"),
        defect="D23",
    ),
    _prefill_plan(
        "short_plan_bound_one_short",
        "The blocks of a short chunk's tiles are bounded one token short.",
        "(end - 1) // heads + 1) // block_size",
        "(end - 1) // heads) // block_size",
        ("Best", "Forced", "Runs"),
        defect="D11",
    ),
    _prefill_plan(
        "short_plan_has_any_memory",
        "A short chunk is planned as one slab, whatever workspace was allowed.",
        "if query_len > _max_tokens(config, max_row_blocks, superblock, workspace_bytes):",
        "if query_len > _max_tokens(config, max_row_blocks, superblock, 1 << 60):",
        equivalent="The answer does not depend on the slabs; tests/fast/test_slabs.py holds their number.",
    ),
    _prefill_plan(
        "plan_last_range_forgotten",
        "The last of several ranges of a tile's blocks is not listed.",
        "_counted(-(-num_blocks // each))",
        "_counted(np.maximum(-(-num_blocks // each) - 1, np.minimum(num_blocks, 1)))",
        ("SplitInvariance", "Best"),
        defect="D22",
    ),
    _prefill_plan(
        "plan_tiles_without_heads",
        "Score tiles count a request's tokens, not its rows.",
        "_counted(-(-num_rows // tile_rows))",
        "_counted(-(-query_lens // tile_rows))",
        ("Best", "WritesAll", "Forced"),
    ),
    _prefill_plan(
        "plan_bound_of_first_row",
        "A tile's blocks are bounded by its first row, not by its last.",
        "last_token = (end_row - 1) // heads",
        "last_token = row // heads",
        ("Best", "Forced"),
        defect="D12",
    ),
    _prefill_plan(
        "plan_bound_one_short",
        "A tile's blocks are bounded one token short.",
        "[req] + last_token + 1",
        "[req] + last_token",
        ("Best", "Runs"),
        defect="D11",
    ),
    _prefill_plan(
        "plan_topk_without_heads",
        "Selection programs count a tile's tokens, not its rows.",
        "(tiles.end_row - tiles.row).max(initial=0)",
        "(tiles.last_token - tiles.first_token).max(initial=-1) + 1",
        ("WritesAll",),
        target="topk",
    ),
    _prefill_plan(
        "plan_most_blocks_of_the_least",
        "The bound on blocks per row is that of the shortest tile.",
        "tiles.num_blocks.max(initial=0)",
        "tiles.num_blocks.min(initial=2**20)",
        ("Best", "Forced", "Count"),
        target="topk",
    ),
    _prefill_plan(
        "plan_step_rounded_down",
        "The blocks per range are rounded down.",
        "-(-num_blocks // num_splits)",
        "num_blocks // num_splits",
        equivalent="Ranges are listed until the blocks end, so that there are only more of them.",
    ),
    _prefill_plan(
        "plan_range_past_the_end",
        "The last range does not end with the tile's blocks.",
        "np.minimum(block + each, num_blocks[tile])",
        "block + each",
        equivalent="A kernel clips every range to the lengths on the device.",
    ),
    _prefill_plan(
        "plan_range_one_short",
        "The last block of every range is left out.",
        "np.minimum(block + each, num_blocks[tile])",
        "np.minimum(block + each, num_blocks[tile]) - 1",
        ("Best",),
        defect="D22",
    ),
    _prefill_plan(
        "plan_range_one_more",
        "Every range ends one block late, inside the next range.",
        "np.minimum(block + each, num_blocks[tile])",
        "np.minimum(block + each + 1, num_blocks[tile])",
        ("SplitInvariance", "Best", "RepeatDeterminism"),
        needs=("gpu",),
    ),
    _prefill_plan(
        "plan_order_of_tiles",
        "Tiles are listed in reverse.",
        "+ block, block - end))",
        "+ block, end - block))",
        equivalent="No program depends on another's place in the list.",
    ),
    _prefill_plan(
        "plan_half_a_score_tile",
        "A score program takes half the rows of its tile.",
        "score_rows=tile_rows",
        "score_rows=tile_rows // 2",
        ("Best",),
    ),
    # `Runs` where a tile has one row
    _prefill_plan(
        "plan_half_a_topk_tile",
        "A query tile has half the selection programs that its rows need.",
        "max_tile_rows=int((tiles.end_row - tiles.row).max(initial=0))",
        "max_tile_rows=int((tiles.end_row - tiles.row).max(initial=0)) // 2",
        ("WritesAll", "Runs"),
        target="topk",
    ),
    _prefill_plan(
        "plan_slab_without_its_last_rows",
        "The last selection tile of a slab is not listed.",
        "topk_tiles=slice(first, stop)",
        "topk_tiles=slice(first, stop - 1)",
        ("WritesAll",),
    ),
    _prefill_plan(
        "plan_slab_of_one_token_more",
        "A slab has one token more than fits.",
        "first_token[first] + max_tokens",
        "first_token[first] + max_tokens + 1",
        equivalent="Room is made for the largest slab there is; that it keeps to the bound is a test's to see.",
    ),
    _prefill(
        "plan_first_slab_alone",
        "Only the first slab is scored and selected from.",
        "for slab in plan.slabs:",
        "for slab in plan.slabs[:1]:",
        ("WritesAll",),
    ),
    _score(
        "plan_slab_scores_not_rebased",
        "A slab's scores are stored where the whole batch's would be.",
        "rows -= slab_token",
        "rows -= 0",
        ("Best", "Runs"),
        defect="D30",
    ),
    _topk(
        "plan_slab_selects_from_the_first",
        "Every slab but the first reads its scores as if they began with the batch's first token.",
        "slab_rows = rows - slab_token",
        "slab_rows = rows",
        ("Best", "Runs"),
        defect="D30",
    ),
    _prefill_plan(
        "plan_not_at_superblocks",
        "Ranges start anywhere instead of at superblocks only.",
        "each = -(-np.maximum(step, 1) // superblock) * superblock",
        "each = np.maximum(step, 1)",
        ("SplitInvariance", "Best"),
    ),
    _prefill_plan(
        "plan_superblocks_rounded_down",
        "Ranges are rounded down to whole superblocks, at least one.",
        "each = -(-np.maximum(step, 1) // superblock) * superblock",
        "each = np.maximum(1, step // superblock) * superblock",
        equivalent="Ranges still start at superblocks and are listed until the blocks end.",
    ),
]

"""Mutants of the host's plan for prefill: tiles, ranges, their bounds."""

from fuzz.canaries.kernels.mutant import mutants_of

_prefill_plan = mutants_of("ops/prefill_plan.py", "prefill")
_prefill = mutants_of("ops/prefill.py", "prefill")
_score = mutants_of("ops/prefill_score.py", "prefill")
_topk = mutants_of("ops/topk.py", "prefill")

MUTANTS = [
    _prefill_plan(
        "plan_last_range_forgotten",
        "The last of several ranges of a tile's blocks is not listed.",
        "for block in range(0, num_blocks, each)]",
        "for block in range(0, max(1, num_blocks - each), each)]",
        ("SplitInvariance", "Best"),
        defect="D22",
    ),
    _prefill_plan(
        "plan_tiles_without_heads",
        "Score tiles count a request's tokens, not its rows.",
        "range(0, query_len * heads, SCORE_ROWS)",
        "range(0, query_len, SCORE_ROWS)",
        ("Best", "WritesAll", "Forced"),
    ),
    _prefill_plan(
        "plan_bound_of_first_row",
        "A tile's blocks are bounded by its first row, not by its last.",
        "min((row + SCORE_ROWS - 1) // heads, query_len - 1)",
        "row // heads",
        ("Best", "Forced"),
        defect="D12",
    ),
    _prefill_plan(
        "plan_bound_one_short",
        "A tile's blocks are bounded one token short.",
        "seq_len - query_len + last_token + 1",
        "seq_len - query_len + last_token",
        ("Best", "Runs"),
        defect="D11",
    ),
    _prefill_plan(
        "plan_topk_without_heads",
        "Selection tiles count a request's tokens, not its rows.",
        "min(row + SCORE_ROWS, query_len * heads)",
        "min(row + SCORE_ROWS, query_len)",
        ("WritesAll",),
        target="topk",
    ),
    _prefill_plan(
        "plan_most_blocks_of_the_least",
        "The bound on blocks per row is that of the shortest tile.",
        "max_row_blocks = max((tile.num_blocks",
        "max_row_blocks = min((tile.num_blocks",
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
        "min(block + each, num_blocks)",
        "block + each",
        equivalent="A kernel clips every range to the lengths on the device.",
    ),
    _prefill_plan(
        "plan_range_one_short",
        "The last block of every range is left out.",
        "min(block + each, num_blocks)",
        "min(block + each, num_blocks) - 1",
        ("Best",),
        defect="D22",
    ),
    _prefill_plan(
        "plan_range_one_more",
        "Every range ends one block late, inside the next range.",
        "min(block + each, num_blocks)",
        "min(block + each + 1, num_blocks)",
        ("SplitInvariance", "Best", "RepeatDeterminism"),
        needs=("gpu",),
    ),
    _prefill_plan(
        "plan_order_of_tiles",
        "Tiles are listed in reverse.",
        "tile[2] - tile[3], tile[0]",
        "tile[3] - tile[2], tile[0]",
        equivalent="No program depends on another's place in the list.",
    ),
    _prefill_plan(
        "plan_half_a_score_tile",
        "A score program takes half the rows of its tile.",
        "score_rows=SCORE_ROWS",
        "score_rows=SCORE_ROWS // 2",
        ("Best",),
    ),
    # `Runs` where a tile has one row
    _prefill_plan(
        "plan_half_a_topk_tile",
        "A selection program takes half the rows of its tile.",
        "topk_rows=rows_each",
        "topk_rows=rows_each // 2",
        ("WritesAll", "Runs"),
        target="topk",
    ),
    _prefill_plan(
        "plan_slab_without_its_last_rows",
        "The last selection tile of a slab is not listed.",
        "slice(first_topk, len(topk_tiles))",
        "slice(first_topk, len(topk_tiles) - 1)",
        ("WritesAll",),
    ),
    _prefill_plan(
        "plan_slab_of_one_token_more",
        "A slab has one token more than fits.",
        "first_token >= max_tokens",
        "first_token > max_tokens",
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
        "each = -(-step // superblock) * superblock",
        "each = step",
        ("SplitInvariance", "Best"),
    ),
    _prefill_plan(
        "plan_superblocks_rounded_down",
        "Ranges are rounded down to whole superblocks, at least one.",
        "each = -(-step // superblock) * superblock",
        "each = max(1, step // superblock) * superblock",
        equivalent="Ranges still start at superblocks and are listed until the blocks end.",
    ),
]

"""Mutants of the prefill scorer on Hopper: what only its pages in flight and its halves can get wrong."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score.py", "prefill-apart", "gpu")
_of_vectors = mutants_of("ops/hopper/score.py", "prefill", "gpu")
_diagonal = mutants_of("ops/hopper/diagonal.py", "prefill", "gpu")
_put = mutants_of("ops/nvidia/put.py", "prefill", "gpu")
_generic = mutants_of("ops/prefill_score.py", "prefill", "gpu")
_put_apart = mutants_of("ops/nvidia/put.py", "prefill-apart", "gpu")

MUTANTS = [
    _mutant(
        "sm90_diagonal_not_masked",
        "The second half of the rows sees every token of a diagonal page.",
        "scores = masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)",
        "scores = scores",
        ("Score", "PoisonBlind", "Best"),
    ),
    _mutant(
        "sm90_phase_not_flipped",
        "The loop waits for no page after its first round of slots.",
        "phase = phase ^ 1\n            block += STAGES",
        "block += STAGES",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "sm90_rows_of_the_second_half",
        "The second half of the rows has the bound of the first.",
        "stored_row < num_rows - HALF, score_a",
        "stored_row < num_rows, score_a",
        ("Score", "Best", "Runs", "NeighbourIndependence"),
    ),
    _of_vectors(
        "sm90_half_tile_page_taken_early",
        "The loop of a tile of one half lets a page take another's place while warps multiply that.",
        "scores = warpgroup_mma_wait(0, deps=[product_a])\n                barrier()\n",
        "scores = warpgroup_mma_wait(0, deps=[product_a])\n",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _of_vectors(
        "sm90_half_tile_of_one_row_more",
        "A tile whose second half has one row counts as a tile of one half.",
        "has_b = first_row + HALF < query_len * H",
        "has_b = first_row + HALF + 1 < query_len * H",
        ("Best",),
    ),
    _put_apart(
        "sm90_superblock_not_reset",
        "The best of a superblock starts from the best of the superblock before.",
        "held = gl.where(block % SUPERBLOCK == 0, best, gl.maximum(held, best))",
        "held = gl.maximum(held, best)",
        ("Superblocks", "Best"),
    ),
    _mutant(
        "sm90_slot_one_on",
        "The second half of the rows multiplies the page in the next slot.",
        "product_b = product(q_b, pages, slot, HALF, S, D, mma)\n                ahead = block + i",
        "product_b = product(q_b, pages, (slot + 1) % STAGES, HALF, S, D, mma)\n                ahead = block + i",
        ("Score", "Best"),
    ),
    _mutant(
        "sm90_full_blocks_of_the_last_row",
        "Blocks that are wholly visible to the last row count as such for every row.",
        "context_len + first_row // H + 1",
        "context_len + last_token + 1",
        ("Score", "Best"),
    ),
    _put(
        "sm90_last_vector_not_filled",
        "Scores behind a tile's last block are left as they were.",
        "((place <= own) | (block + 1 == num_blocks))",
        "(place <= own)",
        ("Best", "Forced", "Runs"),
        defect="D18",
    ),
    _put(
        "sm90_filler_of_the_vector_before",
        "Behind a row's last block lie scores of the vector before, not -inf.",
        """        if not IS_INSIDE:
            held = gl.where(place < own, held, float("-inf"))
""",
        "",
        ("Best", "Forced", "Runs"),
        defect="D18",
    ),
    _generic(
        "score_fillers_but_one",
        "The third score behind a row's last block is left as it was.",
        "for i in tl.static_range(VECTOR - 1):",
        "for i in tl.static_range(VECTOR - 2):",
        ("Best", "Forced", "Runs"),
        defect="D18",
    ),
    _put(
        "sm90_vector_of_the_program_before",
        "A program that begins within a vector also stores its first scores, which are another program's.",
        "(place >= first_block - (block - own))",
        "(place >= 0)",
        ("Best", "SplitInvariance", "RepeatDeterminism"),
        defect="D22",
    ),
    _put(
        "sm90_last_vector_not_stored",
        "A program that ends within a vector does not store it.",
        "is_whole = (own == VECTOR - 1) | (block + 1 == end_block)",
        "is_whole = own == VECTOR - 1",
        ("Best", "Forced", "Runs", "SplitInvariance"),
        defect="D22",
    ),
    _mutant(
        "sm90_queries_not_handed_over",
        "A page takes the queries' place without the fence that orders it after the threads' loads.",
        "q_b = halves.index(place_a + 1).reshape([HALF, D]).load(operand)\n            fence_async_shared()",
        "q_b = halves.index(place_a + 1).reshape([HALF, D]).load(operand)",
        ("Score", "Best", "Runs"),
        defect="D46",
        needs=("gpu", "early Gluon", "twin"),
    ),
    _of_vectors(
        "sm90_second_half_of_few_tokens",
        "The queries of a tile's second half are copied only where the request has as many tokens as it needs rows.",
        "has_both = (first_row + HALF < query_len * H)",
        "has_both = (first_row + HALF < query_len)",
        ("Best", "Runs"),
        needs=("gpu", "early Gluon"),
    ),
    _of_vectors(
        "sm90_second_half_has_the_first_s_queries",
        "The second half of a tile has the queries of the first.",
        "[first_token + HALF // H, 0, 0]",
        "[first_token, 0, 0]",
        ("Best",),
        needs=("gpu", "early Gluon"),
    ),
    _of_vectors(
        "sm90_first_page_twice",
        "The last slot of the first round gets the first page.",
        "fetch(keys, first_pages[last], 0, (block + last) % STAGES, ready, pages, block + last < end_block, S, D)",
        "fetch(keys, first_pages[0], 0, (block + last) % STAGES, ready, pages, block + last < end_block, S, D)",
        ("Best", "SplitInvariance"),
        defect="D46",
        needs=("gpu", "early Gluon"),
    ),
    _put_apart(
        "sm90_rows_of_superblocks_not_asked",
        "Best scores of superblocks whose rows lie apart in any way are stored as if they lay one stride apart.",
        "for output in (score, superblock_score) if output is not None]",
        "for output in (score,) if output is not None]",
        ("Superblocks", "Runs", "Best"),
        defect="D25",
    ),
    _of_vectors(
        "sm90_tile_ends_with_whole_tokens",
        "A token of which a tile has some heads alone is not counted where a tile's last block is sought.",
        "gl.minimum((first_row + ROWS - 1) // H, query_len - 1)",
        "gl.minimum((first_row + ROWS) // H - 1, query_len - 1)",
        ("Best", "Score"),
        defect="D11",
    ),
    _mutant(
        "score_sm90_rows_in_31_bits",
        "The offset of a row of scores wraps where the rows lie 2**31 elements apart.",
        "(q_start - slab_token).to(gl.int64) * H, score_ptr",
        "(q_start - slab_token) * H, score_ptr",
        ("Score", "Best", "Runs"),
        defect="D26",
        needs=("gpu", "far memory"),
    ),
    _diagonal(
        "sm90_diagonal_of_one_token_more",
        "On the diagonal a row sees one token more than it should.",
        "token < num_seen",
        "token <= num_seen",
        ("PoisonBlind", "Best"),
    ),
    _diagonal(
        "sm90_diagonal_of_the_first_lane",
        "On the diagonal every lane counts tokens as the first of four does.",
        "num_seen - of_lane",
        "num_seen",
        ("PoisonBlind", "Best"),
    ),
]

"""Mutants of the prefill scorer for e4m3 keys on Hopper: how keys are widened and summed, and where warps meet."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score_e4m3.py", "prefill-apart", "gpu")
_of_vectors = mutants_of("ops/hopper/score_e4m3.py", "prefill", "gpu")
_put = mutants_of("ops/nvidia/put.py", "prefill", "gpu")
_widen = mutants_of("ops/hopper/widen.py", "prefill-apart", "gpu")
_copies = mutants_of("ops/nvidia/tma.py", "prefill-apart", "gpu")

_LAWS = ("Score", "Best")

MUTANTS = [
    _mutant(
        "e4m3_sm90_queries_as_they_lie",
        "Queries are summed in the order in which they lie, and keys in that in which threads hold them.",
        "q.store(as_multiplied(rows.to(q_type)))",
        "q.store(rows.to(q_type))",
        _LAWS,
    ),
    _widen(
        "e4m3_sm90_nan_codes_are_480",
        "Exponents and fractions of keys are moved to where fp16 has them, those of NaN like any others.",
        "    wide = keys.to(gl.float16)\n",
        """    bits = keys.to(gl.uint8, bitcast=True).to(gl.uint16)
    wide = (((bits & 0x80) << 8) | ((bits & 0x7F) << 7)).to(gl.float16, bitcast=True) * 256.0
""",
        _LAWS,
        defect="D49",
    ),
    _mutant(
        "e4m3_sm90_first_half_twice",
        "A page's first half is multiplied twice, and its second half never.",
        "keys.slice(half * KEYS, KEYS)",
        "keys.slice(0 * KEYS, KEYS)",
        ("Score", "Best", "Runs"),
    ),
    _mutant(
        "e4m3_sm90_second_half_forgotten",
        "A block that every row sees has the score of its first half.",
        "gl.maximum(best, _best_of_threads(scores))",
        "gl.maximum(best, best)",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_halves_masked_alike",
        "On the diagonal a page's second half is masked like its first.",
        "_masked(scores, block * (2 * HALF) + HALF, ",
        "_masked(scores, block * (2 * HALF), ",
        ("Score", "Best", "PoisonBlind"),
        defect="D11",
    ),
    _mutant(
        "e4m3_sm90_masked_as_a_requests_first_rows",
        "Every tile of a request is masked as its first.",
        "- context_len) * H - first_row)",
        "- context_len) * H)",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_own_token_hidden",
        "A row's first head does not see the row's own token.",
        "gl.where(row >= first_seeing",
        "gl.where(row > first_seeing",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_full_blocks_of_the_last_row",
        "Blocks that are wholly visible to the last row count as such for every row.",
        "context_len + first_row // H + 1",
        "context_len + last_token + 1",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_phase_not_flipped",
        "The loop waits for no page after its first round of slots.",
        "((block - first_block) // 2) & 1",
        "((block - first_block) // 2) & 0",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "e4m3_sm90_slot_of_the_page_after",
        "A page fetched ahead takes the place of the page before it, which is still to be read.",
        "ready[1 - slot], pages[1 - slot], ahead",
        "ready[1 - slot], pages[slot], ahead",
        ("Score", "Best", "Runs"),
        defect="D46",
    ),
    _mutant(
        "e4m3_sm90_first_page_in_every_slot",
        "A program reads its first page again and again.",
        "    page = pages[slot].index(0)\n    HALF",
        "    page = pages[0].index(0)\n    HALF",
        ("Score", "Best", "Runs"),
        defect="D46",
    ),
    _mutant(
        "e4m3_sm90_slots_one_block_on",
        "A page fetched ahead is that of the block before.",
        "gl.load(table_row + ahead.to",
        "gl.load(table_row + block.to",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_worst_of_the_warps",
        "A block has the score of the thread whose best key is the worst.",
        "gl.max(shared.load(own_row), axis=1)",
        "gl.min(shared.load(own_row), axis=1)",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_maxima_of_other_rows",
        "Threads store their maxima as if those of a row lay side by side, and go on with those of other rows.",
        "best.reshape([THREADS, ROWS]).permute((1, 0))",
        "best.reshape([ROWS, THREADS])",
        _LAWS,
    ),
    _put(
        "e4m3_sm90_vector_of_the_program_before",
        "A program that begins within a vector also stores its first scores, which are another program's.",
        "is_own = place >= first_block - (block - own)\n",
        "is_own = place >= 0\n",
        ("Best", "SplitInvariance", "RepeatDeterminism"),
        defect="D22",
    ),
    _of_vectors(
        "e4m3_sm90_last_vector_not_stored",
        "A program that ends within a vector, at a block that every row sees, does not store it.",
        "// S, end_block - 1)",
        "// S, end_block)",
        ("Best", "Forced", "Runs", "SplitInvariance"),
        defect="D22",
    ),
    _put(
        "e4m3_sm90_vector_of_the_program_before_by_its_number",
        "The first vector of a program that begins within it is stored whole, once it is full.",
        "is_own = place >= first_block - (block - own)\n",
        "is_own = place >= first_block - block\n",
        ("Best", "Runs", "SplitInvariance", "RepeatDeterminism"),
        defect="D22",
    ),
    _of_vectors(
        "e4m3_sm90_last_vector_of_a_tile_alone",
        "Of the programs that end within a vector, at a block that every row sees, a tile's last alone stores it.",
        "// S, end_block - 1)",
        "// S, end_block - (end_block == num_blocks).to(gl.int32))",
        ("Best", "Forced", "Runs", "SplitInvariance"),
        defect="D22",
    ),
    _mutant(
        "e4m3_sm90_block_of_nan_stays_nan",
        "A block has the score NaN if all of its tokens have.",
        'best = gl.where(best == best, best, float("-inf"))  # NaN only',
        "# NaN only",
        ("Score", "Best", "Forced"),
    ),
    _widen(
        "e4m3_sm90_bits_of_fp16_as_bf16",
        "For bf16 queries, the bits of keys in fp16 are read as bf16.",
        "wide = wide.to(gl.float32).to(gl.bfloat16)",
        "wide = wide.to(gl.bfloat16, bitcast=True)",
        _LAWS,
    ),
    _mutant(
        "e4m3_sm90_page_over_unread_maxima",
        "A page takes the place of the last one before all warps have read their maxima there.",
        "read and stored there\n    barrier()",
        "read and stored there",
        ("Score", "Best", "Runs"),
    ),
    _mutant(
        "e4m3_sm90_place_not_handed_over",
        "A page takes the place of stored maxima without the fence that orders it after the threads' stores.",
        "    fence_async_shared()  # a copy",
        "    # a copy",
        ("Score", "Best", "Runs"),
    ),
    _mutant(
        "e4m3_sm90_queries_not_handed_over",
        "The matrix unit reads queries without the fence that orders it after the threads' stores.",
        "fence_async_shared()  # the matrix unit",
        "# the matrix unit",
        ("Score", "Best", "Runs"),
    ),
    _mutant(
        "e4m3_sm90_page_not_handed_back",
        "A copy takes the page's place without the fence that orders it after the threads' loads.",
        "fence_async_shared()  # a copy takes",
        "# a copy takes",
        ("Score", "Best", "Runs"),
        defect="D46",
        needs=("gpu", "twin"),
    ),
    _copies(
        "e4m3_sm90_bytes_of_sixteen_bits",
        "A page of e4m3 keys is waited for as if its elements had two bytes.",
        "BYTES: gl.constexpr = pages.dtype.primitive_bitwidth // 8",
        "BYTES: gl.constexpr = 2",
        ("Score", "Best", "Runs"),
        needs=("gpu", "Hopper"),
    ),
    mutants_of("ops/hopper/score_e4m3.py", "prefill", "gpu")(
        "sm90_e4m3_tile_ends_with_whole_tokens",
        "A token of which a tile has some heads alone is not counted where a tile's last block is sought.",
        "gl.minimum((first_row + ROWS - 1) // H, query_len - 1)",
        "gl.minimum((first_row + ROWS) // H - 1, query_len - 1)",
        ("Best", "Score"),
        defect="D11",
    ),
    _mutant(
        "e4m3_sm90_whole_blocks_of_the_next_token",
        "Where a tile begins within a token, its whole blocks are counted from the next one.",
        "context_len + first_row // H + 1, 0)",
        "context_len + (first_row + H - 1) // H + 1, 0)",
        _LAWS,
        defect="D11",
    ),
]

"""Mutants of the prefill scorer on Blackwell: what its rows load, see and store, and its rings."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/blackwell/score.py", "prefill-apart", "gpu", "Blackwell")
_RACE = ("Score", "Best", "Runs", "RepeatDeterminism")
"""Laws that a race breaks on a GPU; the twin tells it by `Runs`."""

WAIT_FOR_PRODUCT = "            mbarrier.wait(done.index(turn), phase)\n"
NEXT_OF_HALF = "turn, phase = _next(turn, phase, steps, SLOTS)"

MAXIMA = [
    _mutant(
        "sm100_product_not_waited_for",
        "Scores of whole blocks are loaded before their product is done.",
        WAIT_FOR_PRODUCT,
        "",
        _RACE,
        defect="D46",
        count=2,
    ),
    _mutant(
        "sm100_product_of_the_diagonal_not_waited_for",
        "Scores of the diagonal are loaded before their product is done.",
        WAIT_FOR_PRODUCT,
        "",
        _RACE,
        defect="D46",
        nth=1,
        count=2,
    ),
    _mutant(
        "sm100_taken_before_it_is_loaded",
        "An accumulator counts as taken when half of its columns are loaded.",
        "        if i == 1:\n            mbarrier.arrive(taken",
        "        if i == 0:\n            mbarrier.arrive(taken",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_taken_twice",
        "Each half of an accumulator's columns tells that the whole is taken.",
        "        if i == 1:\n            mbarrier.arrive(taken",
        "        if i < 2:\n            mbarrier.arrive(taken",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_never_taken",
        "Nobody says that an accumulator's scores are taken.",
        "        if i == 1:\n            mbarrier.arrive(taken",
        "        if i == 2:\n            mbarrier.arrive(taken",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_first_columns_twice",
        "The scores of a block's second half are never loaded.",
        "accumulator.slice(i * PART, PART)",
        "accumulator.slice(0, PART)",
        ("Score", "Best"),
    ),
    _mutant(
        "sm100_phase_of_products_not_flipped",
        "Products of whole blocks are waited for in the first round alone.",
        NEXT_OF_HALF,
        "turn, _ = _next(turn, phase, steps, SLOTS)",
        _RACE,
        defect="D46",
        count=2,
    ),
    _mutant(
        "sm100_first_accumulator_of_both_halves",
        "Both halves begin with the first accumulator.",
        "turn = block * 0 + half",
        "turn = block * 0",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_every_second_accumulator",
        "A half without another passes over every second accumulator.",
        "steps = 1 + has_b.to(gl.int32)",
        "steps = 2",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_every_accumulator",
        "Each half looks at every accumulator, those of the other half too.",
        "steps = 1 + has_b.to(gl.int32)",
        "steps = 1",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_second_half_idle",
        "The second half's scores are never stored.",
        "if half == 0 or has_b:",
        "if half == 0:",
        ("Runs",),
    ),
    _mutant(
        "sm100_diagonal_not_masked",
        "Rows see every token of a diagonal block.",
        "taken.index(turn), at, visible_len, True, S, part)",
        "taken.index(turn), at, visible_len, False, S, part)",
        ("Score", "PoisonBlind", "Best"),
    ),
    _mutant(
        "sm100_diagonal_of_its_first_half",
        "The second half of a block's tokens is masked by the positions of the first.",
        "key_pos = block * S + i * PART + gl",
        "key_pos = block * S + gl",
        ("Score", "PoisonBlind", "Best"),
    ),
    _mutant(
        "sm100_full_blocks_of_the_last_row",
        "Blocks that are wholly visible to the last row count as such for every row.",
        "context_len + first_row // H + 1, 0) // S  # seen",
        "context_len + last_token + 1, 0) // S  # seen",
        ("Score", "Best"),
    ),
    _mutant(
        "sm100_rows_of_the_next_request",
        "The second half's rows are stored past the request.",
        "is_row = stored_row < num_rows",
        "is_row = stored_row < num_rows + half",
        ("Score", "Best", "Runs", "NeighbourIndependence"),
    ),
]

QUERIES_AND_RINGS = [
    _mutant(
        "sm100_queries_told_too_soon",
        "Queries count as loaded before half of their columns are stored.",
        "        q.index(half).slice(i * PART, PART).store(part)\n    mbarrier.arrive(loaded.index(half), count=1)\n",
        "        if i == 1:\n            mbarrier.arrive(loaded.index(half), count=1)\n"
        "        q.index(half).slice(i * PART, PART).store(part)\n",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_queries_told_to_the_first_half",
        "Both halves tell that the first half's queries are loaded.",
        "mbarrier.arrive(loaded.index(half), count=1)",
        "mbarrier.arrive(loaded.index(0), count=1)",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_query_columns_overlap",
        "The second half of each query lies on the first.",
        "q.index(half).slice(i * PART, PART).store(part)",
        "q.index(half).slice(0, PART).store(part)",
        ("Score", "Best", "Runs"),
    ),
    _mutant(
        "sm100_queries_of_the_first_rows",
        "The second half loads the first half's queries.",
        "row = first_row + half * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, rows))",
        "row = first_row + gl.arange(0, ROWS, layout=gl.SliceLayout(1, rows))",
        ("Score", "Best"),
    ),
    _mutant(
        "sm100_ring_one_longer",
        "Rings have one slot more than there is memory.",
        "is_round = slot >= SLOTS",
        "is_round = slot > SLOTS",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_phase_of_the_next_round",
        "The phase of a ring turns one slot late.",
        "gl.where(is_round, phase ^ 1, phase)",
        "gl.where(slot > SLOTS, phase ^ 1, phase)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_accumulator_taken_by_two",
        "An accumulator is free only when it was taken twice.",
        "mbarrier.init(taken.index(i), count=1)",
        "mbarrier.init(taken.index(i), count=2)",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_queries_need_two",
        "Queries are loaded only when two have told so.",
        "mbarrier.init(loaded.index(i), count=1)",
        "mbarrier.init(loaded.index(i), count=2)",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_barrier_not_initialised",
        "The last accumulator's barrier is not initialised.",
        "        mbarrier.init(done.index(i), count=1)\n",
        "        if i < SLOTS - 1:\n            mbarrier.init(done.index(i), count=1)\n",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_one_accumulator_less",
        "Tensor memory has one accumulator less than turns are taken with.",
        "gl.float32, [SLOTS, HALF, S], blackwell",
        "gl.float32, [SLOTS - 1, HALF, S], blackwell",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_tile_ends_with_whole_tokens",
        "A token of which a tile has the first heads alone is not counted as the tile's last.",
        "gl.minimum((first_row + ROWS - 1) // H, query_len - 1)",
        "gl.minimum((first_row + ROWS) // H, query_len) - 1",
        ("Score", "Best"),
        defect="D11",
    ),
]

MUTANTS = [*MAXIMA, *QUERIES_AND_RINGS]

"""Mutants of the prefill scorer of wide tiles on Hopper: its ring, its groups' queries and rows."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score_wide.py", "prefill", "gpu")
_apart = mutants_of("ops/hopper/score_wide.py", "prefill-apart", "gpu")

MUTANTS = [
    _mutant(
        "wide_sm90_slot_taken_once_one_group_is_done",
        "A page takes another's place once one of the groups is done with it.",
        "mbarrier.init(done.index(i), count=GROUPS)",
        "mbarrier.init(done.index(i), count=1)",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "wide_sm90_queries_not_handed_over",
        "A page takes the queries' place without the fence that orders it after the threads' loads.",
        "        q_b = copied.slice(HALF, HALF).load(operand)\n        fence_async_shared()\n",
        "        q_b = copied.slice(HALF, HALF).load(operand)\n",
        ("Best", "Runs"),
        defect="D46",
        needs=("gpu", "twin"),
    ),
    _mutant(
        "wide_sm90_queries_of_the_first_group",
        "The second group has the queries of the first.",
        "load_tile(queries, [first_token + i * (ROWS // H), 0, 0], asked.index(i), place)",
        "load_tile(queries, [first_token, 0, 0], asked.index(i), place)",
        ("Best",),
    ),
    _mutant(
        "wide_sm90_rows_of_the_first_group",
        "The second group stores the rows of the first.",
        "first_row + ROWS, query_len",
        "first_row, query_len",
        ("Best", "Runs", "WritesAll"),
    ),
    _mutant(
        "wide_sm90_second_ids_not_loaded",
        "Page ids behind the first 32 are those of the pages before.",
        "if (number > 0) & (number % 32 == 0):",
        "if (number > 0) & (number % 32 == 0) & (number < 0):",
        ("Best", "SplitInvariance"),
    ),
    _mutant(
        "wide_sm90_ready_of_one_parity",
        "The loop takes every page of a slot for there once its first was.",
        "        while block + 3 <= full_blocks:\n            mbarrier.wait(ready.index(slot), uses & 1)",
        "        while block + 3 <= full_blocks:\n            mbarrier.wait(ready.index(slot), 0)",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "wide_sm90_slots_of_the_queries_free_at_once",
        "The slots that begin as queries count as free before they are read.",
        "FREE: gl.constexpr = STAGES - GROUPS if IS_Q_COPIED else STAGES",
        "FREE: gl.constexpr = STAGES",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "wide_sm90_diagonal_not_masked",
        "The second half of a group's rows sees every token of a diagonal page.",
        "scores = masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)",
        "scores = scores",
        ("PoisonBlind", "Best"),
    ),
    _apart(
        "wide_sm90_tile_of_one_group",
        "The last block of a tile is that of its first group.",
        "(first_row + GROUPS * ROWS - 1) // H",
        "(first_row + ROWS - 1) // H",
        ("Score", "Best", "Runs"),
        defect="D11",
    ),
    _mutant(
        "wide_sm90_empty_group_leaves_pages",
        "A group without rows does not say that it is done with pages.",
        "    while block < end_block:\n        mbarrier.wait",
        "    while (block < end_block) & has_a:\n        mbarrier.wait",
        ("Runs",),
    ),
    _apart(
        "wide_sm90_rows_in_31_bits",
        "The offset of a row of scores wraps where the rows lie 2**31 elements apart.",
        "flat_start = (q_start - slab_token).to(gl.int64) * H",
        "flat_start = (q_start - slab_token) * H",
        ("Score", "Best", "Runs"),
        defect="D26",
        needs=("gpu", "far memory"),
    ),
]

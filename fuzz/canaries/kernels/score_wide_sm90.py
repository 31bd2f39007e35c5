"""Mutants of the prefill scorer of wide tiles on Hopper: its ring, its groups' queries and rows."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score_wide.py", "prefill", "gpu")
_apart = mutants_of("ops/hopper/score_wide.py", "prefill-apart", "gpu")
_of_group = mutants_of("ops/hopper/wide_groups.py", "prefill", "gpu")

MUTANTS = [
    _mutant(
        "wide_sm90_slot_taken_once_one_group_is_done",
        "A page takes another's place once one of the groups is done with it.",
        "mbarrier.init(done.index(i), count=GROUPS)",
        "mbarrier.init(done.index(i), count=1)",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _of_group(
        "wide_sm90_queries_not_handed_over",
        "A page takes the queries' place without the fence that orders it after the threads' loads.",
        "    fence_async_shared()\n    for i in",
        "    for i in",
        ("Best", "Runs"),
        defect="D46",
        needs=("gpu", "twin"),
    ),
    _mutant(
        "wide_sm90_queries_of_the_first_group",
        "All groups have the queries of the first.",
        "first_token = q_start + first_row // H + i * (ROWS // H)",
        "first_token = q_start + first_row // H",
        ("Best",),
    ),
    _of_group(
        "wide_sm90_queries_read_from_the_first_place",
        "All groups read what was copied for the first.",
        "return place_of_queries(pages, group,",
        "return place_of_queries(pages, 0,",
        ("Best", "Runs"),
    ),
    _mutant(
        "wide_sm90_rows_of_the_first_group",
        "The second of two groups stores the rows of the first.",
        """                (score_in_halves, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row + ROWS, query_len""",
        """                (score_in_halves, (
                    q_ptr, q_start, stride_q_t, stride_q_h, first_row, query_len""",
        ("Best", "Runs", "WritesAll"),
    ),
    _mutant(
        "wide_sm90_rows_of_the_second_group",
        "The third of three groups stores the rows of the second.",
        "first_row + 2 * ROWS, query_len",
        "first_row + ROWS, query_len",
        ("Best", "Runs", "WritesAll"),
    ),
    _mutant(
        "wide_sm90_first_page_again",
        "The pages whose ids are looked up with the first page's are that page.",
        "fetch(keys, first_pages[i], 0, i",
        "fetch(keys, first_pages[0], 0, i",
        ("Best", "SplitInvariance"),
    ),
    _mutant(
        "wide_sm90_waits_for_a_page_behind_the_last",
        "The warp that copies waits for pages that nobody asks for, where a program has few.",
        "mbarrier.wait(ready.index(i - 1), 0, pred=i < num_pages)",
        "mbarrier.wait(ready.index(i - 1), 0)",
        ("Runs",),
    ),
    _mutant(
        "wide_sm90_second_ids_not_loaded",
        "Page ids behind the first 32 are those of the pages before.",
        "if number % 32 == 0:",
        "if (number % 32 == 0) & (number < 0):",
        ("Best", "SplitInvariance"),
    ),
    _mutant(
        "wide_sm90_first_page_of_the_table",
        "A program's first pages are its request's first.",
        "entry = table_row + (block + i).to(gl.int64) * stride_table_b",
        "entry = table_row + i * stride_table_b",
        ("Best", "SplitInvariance"),
    ),
    _of_group(
        "wide_sm90_ready_of_one_parity",
        "The loop in halves takes every page of a slot for there once its first was.",
        "        while block + 3 <= full_blocks:\n            mbarrier.wait(ready.index(slot), uses & 1)",
        "        while block + 3 <= full_blocks:\n            mbarrier.wait(ready.index(slot), 0)",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _of_group(
        "wide_sm90_ready_of_one_parity_at_once",
        "The loop of whole groups takes every page of a slot for there once its first was.",
        "            mbarrier.wait(ready.index(slot), uses & 1)\n            scores = warpgroup_mma_wait",
        "            mbarrier.wait(ready.index(slot), 0)\n            scores = warpgroup_mma_wait",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _of_group(
        "wide_sm90_page_left_before_its_product",
        "A group says that it is done with a page before its product has read it.",
        "            scores = warpgroup_mma_wait(0, deps=[product(q, pages, slot, ROWS, S, D, mma)])\n"
        "            mbarrier.arrive(done.index(slot), count=1)\n",
        "            begun = product(q, pages, slot, ROWS, S, D, mma)\n"
        "            mbarrier.arrive(done.index(slot), count=1)\n"
        "            scores = warpgroup_mma_wait(0, deps=[begun])\n",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
        needs=("gpu", "twin"),
    ),
    _mutant(
        "wide_sm90_slots_of_the_queries_free_at_once",
        "The slots that begin as queries count as free before they are read.",
        "gl.where(slot < FREE, uses + 1, uses) & 1",
        "(uses + 1) & 1",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _of_group(
        "wide_sm90_diagonal_not_masked",
        "The second half of a group's rows sees every token of a diagonal page.",
        "scores = masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)",
        "scores = scores",
        ("PoisonBlind", "Best"),
    ),
    _of_group(
        "wide_sm90_diagonal_not_masked_at_once",
        "The rows of a whole group see every token of a diagonal page.",
        "            scores = masked(scores, block, context_len + row // H + 1, S, mma)\n            held = put(",
        "            held = put(",
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
    _of_group(
        "wide_sm90_empty_group_leaves_pages",
        "A group of two halves without rows does not say that it is done with pages.",
        "    while block < end_block:\n        mbarrier.wait(ready.index(slot), uses & 1)\n        if has_a:",
        "    while (block < end_block) & has_a:\n        mbarrier.wait(ready.index(slot), uses & 1)\n        if has_a:",
        ("Runs",),
    ),
    _of_group(
        "wide_sm90_empty_whole_group_leaves_pages",
        "A whole group without rows does not say that it is done with pages.",
        "    while block < end_block:\n        mbarrier.wait(ready.index(slot), uses & 1)\n        if has_rows:",
        "    while (block < end_block) & has_rows:\n"
        "        mbarrier.wait(ready.index(slot), uses & 1)\n"
        "        if has_rows:",
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

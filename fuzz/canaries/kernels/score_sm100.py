"""Mutants of the prefill scorer on Blackwell: the barriers, phases, slots and commits of copies and products."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/blackwell/score.py", "prefill-apart", "gpu", "Blackwell")
_RACE = ("Score", "Best", "Runs", "RepeatDeterminism")
"""Laws that a race breaks on a GPU; the twin tells it by `Runs`."""

WAIT_FOR_ACCUMULATOR = "mbarrier.wait(taken.index(turn), turn_phase)"
NEXT_PAGE = "slot, phase = _next(slot, phase, 1, STAGES)"
SECOND_COMMITS = (
    "        blackwell.tcgen05_commit(empty.index(slot))\n        blackwell.tcgen05_commit(done.index(turn))\n"
)

COPIES = [
    _mutant(
        "sm100_slots_taken_at_first",
        "The first page waits for a slot that nobody frees.",
        "phase = slot + 1  # the phase",
        "phase = slot  # the phase",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_slot_not_waited_for",
        "A page is copied to a slot whose page is still multiplied.",
        "        mbarrier.wait(empty.index(slot), phase)\n",
        "",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_slot_0_waited_for",
        "A page is copied as soon as slot 0 is free.",
        "mbarrier.wait(empty.index(slot), phase)",
        "mbarrier.wait(empty.index(0), phase)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_phase_of_slots_not_flipped",
        "Slots are waited for in the first round alone.",
        NEXT_PAGE,
        "slot, _ = _next(slot, phase, 1, STAGES)",
        _RACE,
        defect="D46",
        count=2,
    ),
    _mutant(
        "sm100_page_ahead",
        "Each copy brings the page behind its own.",
        "fetch(keys, page, 0, slot,",
        "fetch(keys, following, 0, slot,",
        ("Score", "Best"),
    ),
    _mutant(
        "sm100_page_to_the_next_slot",
        "A page lands in the slot behind the one that was free.",
        "fetch(keys, page, 0, slot,",
        "fetch(keys, page, 0, (slot + 1) % STAGES,",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_bytes_of_half_a_page",
        "A page counts as there when half of it is.",
        "fetch(keys, page, 0, slot, ready, pages, True, S, D)",
        "fetch(keys, page, 0, slot, ready, pages, True, S // 2, D)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_first_page_not_fetched",
        "The first page of a program is never copied.",
        "ready, pages, True, S, D)",
        "ready, pages, at > block, S, D)",
        ("Runs",),
    ),
    _mutant(
        "sm100_last_page_not_looked_up",
        "The number of a program's last page is taken to be 0.",
        "mask=at + 1 < end_block, other=0)",
        "mask=at + 2 < end_block, other=0)",
        ("Score", "Best"),
    ),
]

PRODUCTS = [
    _mutant(
        "sm100_queries_not_waited_for",
        "Products of the first half begin before its queries lie in tensor memory.",
        "    mbarrier.wait(loaded.index(0), 0)\n",
        "",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_queries_of_the_second_half_not_waited_for",
        "Products of the second half begin before its queries lie in tensor memory.",
        "    mbarrier.wait(loaded.index(1), 0)\n",
        "",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_page_not_waited_for",
        "A page is multiplied before it is there.",
        "        mbarrier.wait(ready.index(slot), phase)\n",
        "",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_phase_of_pages_not_flipped",
        "Pages are waited for in the first round alone.",
        NEXT_PAGE,
        "slot, _ = _next(slot, phase, 1, STAGES)",
        _RACE,
        defect="D46",
        nth=1,
        count=2,
    ),
    _mutant(
        "sm100_page_in_the_next_slot",
        "The page in the slot behind is multiplied.",
        "k = pages.index(slot)",
        "k = pages.index((slot + 1) % STAGES)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_accumulator_not_waited_for",
        "The first half's product goes to an accumulator whose maxima are not taken.",
        WAIT_FOR_ACCUMULATOR + "\n        blackwell.tcgen05_mma(q.index(0)",
        "blackwell.tcgen05_mma(q.index(0)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_accumulator_of_the_second_half_not_waited_for",
        "The second half's product goes to an accumulator whose maxima are not taken.",
        WAIT_FOR_ACCUMULATOR + "\n            blackwell.tcgen05_mma(q.index(1)",
        "blackwell.tcgen05_mma(q.index(1)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_accumulators_taken_at_first",
        "The first product waits for an accumulator that nobody frees.",
        "turn_phase = slot + 1",
        "turn_phase = slot",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_both_halves_in_one_accumulator",
        "The second half's product goes to the accumulator of the first.",
        "            turn, turn_phase = _next(turn, turn_phase, 1, SLOTS)\n            mbarrier.wait(taken",
        "            mbarrier.wait(taken",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_page_freed_by_an_arrival",
        "A page's slot counts as free as soon as its products have begun.",
        "blackwell.tcgen05_commit(empty.index(slot))",
        "mbarrier.arrive(empty.index(slot), count=1)",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_page_never_freed",
        "Nothing says that a page's products are done.",
        "        blackwell.tcgen05_commit(empty.index(slot))\n",
        "",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_page_freed_behind_the_maxima",
        "The page's slot is freed last, so that a program may end with a commit on its way.",
        SECOND_COMMITS,
        "        blackwell.tcgen05_commit(done.index(turn))\n        blackwell.tcgen05_commit(empty.index(slot))\n",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_page_freed_before_the_second_half",
        "A page's slot is freed by the first half's product, while the second half reads it.",
        "use_acc=False)\n        if has_b:",
        "use_acc=False)\n        blackwell.tcgen05_commit(empty.index((slot + STAGES) % STAGES))\n        if has_b:",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_done_by_an_arrival",
        "The first half's product counts as done as soon as it has begun.",
        "            blackwell.tcgen05_commit(done.index(turn))\n            turn,",
        "            mbarrier.arrive(done.index(turn), count=1)\n            turn,",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_last_done_by_an_arrival",
        "A page's last product counts as done as soon as it has begun.",
        SECOND_COMMITS,
        "        blackwell.tcgen05_commit(empty.index(slot))\n        mbarrier.arrive(done.index(turn), count=1)\n",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_done_of_slot_0",
        "Every last product tells the barrier of the first accumulator that it is done.",
        SECOND_COMMITS,
        "        blackwell.tcgen05_commit(empty.index(slot))\n        blackwell.tcgen05_commit(done.index(turn * 0))\n",
        ("Runs",),
        defect="D46",
    ),
    _mutant(
        "sm100_done_before_the_product",
        "The first half's accumulator is told to be done before its product is started.",
        "        blackwell.tcgen05_mma(q.index(0), k, accumulators.index(turn), use_acc=False)\n        if has_b:\n"
        "            blackwell.tcgen05_commit(done.index(turn))\n",
        "        if has_b:\n            blackwell.tcgen05_commit(done.index(turn))\n"
        "        blackwell.tcgen05_mma(q.index(0), k, accumulators.index(turn), use_acc=False)\n        if has_b:\n",
        _RACE,
        defect="D46",
    ),
    _mutant(
        "sm100_added_to_what_was_there",
        "The first half's product is added to the scores of a block before.",
        "k, accumulators.index(turn), use_acc=False)\n        if has_b",
        "k, accumulators.index(turn), use_acc=True)\n        if has_b",
        ("Score", "Best"),
    ),
    _mutant(
        "sm100_queries_of_the_first_half_twice",
        "Both halves multiply the first half's queries.",
        "blackwell.tcgen05_mma(q.index(1)",
        "blackwell.tcgen05_mma(q.index(0)",
        ("Score", "Best"),
    ),
]

MUTANTS = [*COPIES, *PRODUCTS]

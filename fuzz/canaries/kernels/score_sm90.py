"""Mutants of the prefill scorer on Hopper: what only its pages in flight and its halves can get wrong."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score.py", "prefill-apart", "gpu")

MUTANTS = [
    _mutant(
        "sm90_diagonal_not_masked",
        "The second half of the rows sees every token of a diagonal page.",
        "scores = _masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)",
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
        "is_b = row < query_len * H - HALF",
        "is_b = row < query_len * H",
        ("Score", "Best", "Runs", "NeighbourIndependence"),
    ),
    _mutant(
        "sm90_superblock_not_reset",
        "The best of a superblock starts from the best of the superblock before.",
        "super_best = gl.where(block % SUPERBLOCK == 0, best, gl.maximum(super_best, best))",
        "super_best = gl.maximum(super_best, best)",
        ("Superblocks", "Best"),
    ),
    _mutant(
        "sm90_slot_one_on",
        "The second half of the rows multiplies the page in the next slot.",
        "product_b = _product(q_b, pages, slot, HALF, S, D, mma)",
        "product_b = _product(q_b, pages, (slot + 1) % STAGES, HALF, S, D, mma)",
        ("Score", "Best"),
    ),
    _mutant(
        "sm90_full_blocks_of_the_last_row",
        "Blocks that are wholly visible to the last row count as such for every row.",
        "context_len + first_row // H + 1",
        "context_len + last_token + 1",
        ("Score", "Best"),
    ),
]

"""Mutants of the prefill scorer on Hopper: what only its pages in flight and its halves can get wrong."""

from fuzz.canaries.kernels.mutant import Mutant

_PATH = "ops/hopper/score.py"

MUTANTS = [
    Mutant(
        "sm90_diagonal_not_masked",
        "The second half of the rows sees every token of a diagonal page.",
        _PATH,
        "scores = _masked(scores, block, context_len + (row + HALF) // H + 1, S, mma)",
        "scores = scores",
        "prefill-apart",
        ("Score", "PoisonBlind", "Best"),
        needs=("gpu",),
    ),
    Mutant(
        "sm90_phase_not_flipped",
        "The loop in flight waits for no page after its first time round.",
        _PATH,
        "phase = phase ^ 1\n            block += STAGES",
        "block += STAGES",
        "prefill-apart",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        needs=("gpu",),
    ),
    Mutant(
        "sm90_rows_of_the_second_half",
        "The second half of the rows is bounded as the first.",
        _PATH,
        "is_b = row < query_len * H - HALF",
        "is_b = row < query_len * H",
        "prefill-apart",
        ("Score", "Best", "Runs", "NeighbourIndependence"),
        needs=("gpu",),
    ),
    Mutant(
        "sm90_superblock_not_reset",
        "The best of a superblock goes on from the superblock before.",
        _PATH,
        "super_best = gl.where(block % SUPERBLOCK == 0, best, gl.maximum(super_best, best))",
        "super_best = gl.maximum(super_best, best)",
        "prefill-apart",
        ("Superblocks", "Best"),
        needs=("gpu",),
    ),
    Mutant(
        "sm90_slot_one_on",
        "The second half multiplies the page in the next slot.",
        _PATH,
        "product_b = _product(q_b, pages, slot, HALF, S, D, mma)",
        "product_b = _product(q_b, pages, (slot + 1) % STAGES, HALF, S, D, mma)",
        "prefill-apart",
        ("Score", "Best"),
        needs=("gpu",),
    ),
    Mutant(
        "sm90_full_blocks_of_the_last_row",
        "Blocks that the last row sees whole count as seen whole by every row.",
        _PATH,
        "context_len + first_row // H + 1",
        "context_len + last_token + 1",
        "prefill-apart",
        ("Score", "Best"),
        needs=("gpu",),
    ),
]

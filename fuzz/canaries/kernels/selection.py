"""Mutants of the selection: rank images, the search for the cut, ties, the two rounds."""

from fuzz.canaries.kernels.mutant import Mutant

_BEST, _RANK, _TOPK = "ops/best.py", "ops/rank.py", "ops/topk.py"

MUTANTS = [
    Mutant(
        "tie_to_the_highest_id",
        "Of equal blocks at the cut the last ones are taken, not the first.",
        _BEST,
        "is_chosen = is_above | (is_tied & (tied <= num_tied))",
        "is_chosen = is_above | (is_tied & (tied > (tl.sum(both, axis=1) >> 16)[:, None] - num_tied))",
        "topk",
        ("Best",),
        defect="D03",
    ),
]

"""Mutants of the host's plan for prefill: tiles, ranges, their bounds."""

from fuzz.canaries.kernels.mutant import Mutant

_PATH = "plan.py"

MUTANTS = [
    Mutant(
        "plan_last_range_forgotten",
        "The last range of a tile's blocks is not listed, when there is more than one.",
        _PATH,
        "for block in range(0, num_blocks, step)]",
        "for block in range(0, max(1, num_blocks - step), step)]",
        "prefill",
        ("SplitInvariance", "Best"),
        defect="D22",
    ),
]

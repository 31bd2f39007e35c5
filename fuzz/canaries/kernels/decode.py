"""Mutants of the decode scorer: the flattened sharing of blocks, addresses and masks."""

from fuzz.canaries.kernels.mutant import Mutant

_PATH = "ops/decode.py"

MUTANTS = [
    Mutant(
        "decode_last_split_forgotten",
        "The last program's share of the blocks is never scored, when there is more than one program.",
        _PATH,
        "end = tl.minimum(position + share, total)",
        "end = tl.minimum(position + share, tl.maximum(total - share, share))",
        "decode",
        ("SplitInvariance", "Best"),
        defect="D22",
    ),
]

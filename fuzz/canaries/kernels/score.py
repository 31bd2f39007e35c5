"""Mutants of the prefill scorer, and of the product that both scorers use."""

from fuzz.canaries.kernels.mutant import Mutant

_PATH = "ops/score.py"

MUTANTS = [
    Mutant(
        "score_tail_not_masked",
        "Scores every token of a diagonal page, seen or not, live or not.",
        _PATH,
        'tl.where(key_pos[None, :] < visible_len[:, None], token_score, float("-inf"))',
        "token_score",
        "prefill",
        ("PoisonBlind", "Best"),
        defect="D10",
    ),
]

"""Mutants of the prefill scorer of few rows on Hopper, and of plans whose blocks it shares out."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/score_few.py", "prefill", "gpu")
_apart = mutants_of("ops/hopper/score_few.py", "prefill-apart", "gpu")

MUTANTS = [
    _mutant(
        "few_sm90_rows_of_the_average_request",
        "Requests longer than the average of their batch miss the scores of their last rows.",
        "return plan.max_tile_rows // plan.config.num_index_heads",
        "return -(-plan.total_q // plan.num_reqs)",
        ("Best", "Runs", "RepeatDeterminism"),
    ),
    _mutant(
        "few_sm90_slabs_of_a_batch",
        "Each slab of a batch is scored as if it were the first.",
        "or plan.superblock != 1 or len(plan.slabs) != 1:",
        "or plan.superblock != 1:",
        ("Best", "Runs", "RepeatDeterminism"),
        defect="D18",
    ),
    _apart(
        "few_sm90_scores_of_any_layout",
        "Scores that are asked for block by block are stored as vectors.",
        "(score is None or score.ndim == 4)",
        "True",
        ("Score", "Runs", "Best"),
    ),
    _mutant(
        "few_sm90_first_rows_alone",
        "A batch whose longest request has more rows than the scorer takes is given to it.",
        "next((scorer for scorer in SCORERS if scorer.is_served(batch, _query_len(plan))), None)",
        "next((scorer for scorer in SCORERS if scorer.is_served(batch, 1)), None)",
        ("Best", "Runs", "RepeatDeterminism"),
    ),
]

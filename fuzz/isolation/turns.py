"""Cases that take much of a GPU's memory: children that share the GPU judge them one at a time."""

from fuzz.cases.case import Case

MAX_SHARED_SCORES = 1 << 30
"""Scores of rows and blocks of a case that is judged beside others: the reference holds 8 GiB for so many."""


def num_scores(case: Case) -> int:
    """Scores of a case's first state, of all its rows and as many blocks as the longest row sees."""
    return case.config.num_index_heads * sum(one.query_len for one in case.requests) * case.max_row_blocks


def takes_turns(case: Case) -> bool:
    """True if a case is judged by one child at a time: far pages, or very many scores."""
    return case.pages.is_far or num_scores(case) > MAX_SHARED_SCORES

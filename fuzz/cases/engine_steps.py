"""The states of a case as the steps of an engine: which requests decode, which prefill, and which are padding.

An engine orders a step decode-first: requests of up to 1 + drafts query tokens, then longer ones, then requests
without a token, which fill a captured graph.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fuzz.cases.case import Case
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN


class StepCounts(NamedTuple):
    """The requests of one step. decodes: the leading ones that bring as many tokens as the first."""

    decodes: int
    prefills: int
    padding: int


def query_lens_of(case: Case) -> list[list[int]]:
    """The query lengths of every state."""
    return [[request.query_len for request in state.requests] for state in case.states]


def drafts_of(steps: Sequence[Sequence[int]]) -> int:
    """Draft tokens of a decode request: one less than the longest leading request that can be a decode.

    steps: the query lengths of each.
    """
    return max([1, *(lens[0] for lens in steps if lens and lens[0] <= MAX_DECODE_QUERY_LEN)]) - 1


def counts(query_lens: Sequence[int], drafts: int) -> StepCounts:
    """The requests of one step by what they are."""
    lens = _live(query_lens)
    decodes = 0
    if lens and lens[0] <= 1 + drafts:
        decodes = next((req for req, query_len in enumerate(lens) if query_len != lens[0]), len(lens))
    return StepCounts(decodes, len(lens) - decodes, len(query_lens) - len(lens))


def order_fault(steps: Sequence[Sequence[int]]) -> str | None:
    """The reason why batches of these query lengths are no steps of an engine; None if they are."""
    longest = 1 + drafts_of(steps)
    for number, query_lens in enumerate(steps):
        lens = _live(query_lens)
        if 0 in lens:
            return f"a request without a token comes before others at step {number}"
        is_long = [query_len > longest for query_len in lens]
        if is_long != sorted(is_long):
            return f"its requests are not decode-first at step {number}"
    return None


def _live(query_lens: Sequence[int]) -> Sequence[int]:
    """The lengths without the trailing ones that are 0."""
    last = max((req for req, query_len in enumerate(query_lens) if query_len), default=-1)
    return query_lens[: last + 1]

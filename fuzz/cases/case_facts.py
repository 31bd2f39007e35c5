"""Facts of a case by which the dimensions sort it into buckets."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from fuzz.cases.case import Case, Request, ViewPlan
from fuzz.cases.dimension import Test
from fuzz.cases.replay_script import FEW_BLOCKS
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import OWN_SHAPE


def sizes_of(case: Case) -> dict[str, int]:
    """The sizes of a case that a report names, in its words."""
    return {
        "query tokens": case.total_q - case.extra_queries,
        "requests": max(len(state.requests) for state in case.states),
        "blocks in a row": case.max_row_blocks,
        "index heads": case.config.num_index_heads,
        "slots": case.config.topk_blocks,
    }


def all_requests(case: Case) -> Iterator[Request]:
    """Every request in every state."""
    for state in case.states:
        yield from state.requests


def own_shape(case: Case) -> Iterator[str]:
    """The layout of the keys of a case of MiniMax-M3's shape."""
    if (case.config.index_head_dim, case.config.block_size) == OWN_SHAPE:
        yield "keys as they lie" if case.views.index_k_pages == ViewPlan() else "keys in a view"


def topk_words(k: int) -> str:
    """The kind of number that the slots of a row are."""
    if k > 16:
        return "above 32" if k > 32 else "above 16"
    return "1" if k == 1 else "power of two" if k & (k - 1) == 0 else "odd one out"


def forces(scale: Scale, init: bool, local: bool) -> bool:
    """True if configs inside a scale's bounds may force initial blocks, and local ones, or may force none."""
    pairs = ((init, scale.bounds.init_blocks), (local, scale.bounds.local_blocks))
    return all(allowed is None or any((number > 0) == forced for number in allowed) for forced, allowed in pairs)


def row_blocks(case: Case) -> Iterator[str]:
    """Blocks of each request, as a number, and by their distance from the slots."""
    k = case.config.topk_blocks
    for request in all_requests(case):
        n = case.config.num_blocks(request.seq_len)
        yield from (str(n), {k - 1: "K-1", k: "K", k + 1: "K+1"}.get(n, str(n)))


def length_words(case: Case) -> Iterator[str]:
    """The kind of each request's length."""
    size = case.config.block_size
    names = {0: "full last block", 1: "one token in it", size - 1: "all but one"}
    for request in all_requests(case):
        if request.seq_len == 0:
            yield "padding row"
        elif request.seq_len < request.query_len:
            yield "shorter than its query"
        else:
            yield names.get(request.seq_len % size, "other")


def context_rest(case: Case) -> Iterator[str]:
    """Tokens of each context in its last block."""
    size = case.config.block_size
    for request in all_requests(case):
        if request.seq_len and request.seq_len >= request.query_len:
            rest = (request.seq_len - request.query_len) % size
            yield {0: "0", 1: "1", size - 1: "S-1"}.get(rest, "other")


def strided_views(case: Case) -> list[ViewPlan]:
    """The views of all inputs that may have strides."""
    views = case.views
    return [views.index_q, views.index_k_pages, views.block_table, views.seq_lens, views.cu_seqlens_q]


def split_words(case: Case) -> Iterator[str]:
    """The kind of each split count."""
    max_row_blocks = case.max_row_blocks
    for num in case.num_splits:
        yield "own" if num == 0 else "1" if num == 1 else "2..8" if num <= 8 else "9 and more"
        if num > max_row_blocks:
            yield "more than blocks"


def changes(case: Case) -> list[tuple[Request, Request]]:
    """Every request before and after every replay step."""
    return [
        pair
        for before, after in zip(case.states, case.states[1:], strict=False)
        for pair in zip(before.requests, after.requests, strict=True)
    ]


def query_rows(case: Case) -> int:
    """(token, head) rows of the longest query."""
    return case.config.num_index_heads * max((request.query_len for request in case.requests), default=0)


def has_far_rows(case: Case) -> bool:
    """True if rows of the block table may pass 2**31 (on a CPU)."""
    return case.pages.is_far and case.views.block_table == ViewPlan() and len(case.requests) > 2


def has_repeated_page(case: Case) -> bool:
    """True if a request of several blocks has a page twice."""
    longest = case.max_row_blocks
    return longest > 1 and bool(case.pages.repeated_blocks or 0 < case.pages.pool_pages < longest)


def trades_lengths(case: Case) -> bool:
    """True if a step gives requests the lengths of others, and none that is new."""
    lens = [[request.seq_len for request in state.requests] for state in case.states]
    return any(old != new and sorted(old) == sorted(new) for old, new in pairwise(lens))


def shrinks_a_little(case: Case) -> bool:
    """True if a row with more blocks than slots loses a few of them, and still has more."""
    blocks = [[case.config.num_blocks(request.seq_len) for request in pair] for pair in changes(case)]
    return any(case.config.topk_blocks < new < old <= new + FEW_BLOCKS for old, new in blocks)


def replay_test(test: Callable[[Request, Request], object]) -> Test:
    """A test of a case by its requests before and after each replay step."""
    return lambda case: any(test(old, new) for old, new in changes(case))


def has_neighbours(case: Case) -> bool:
    """True if a program, of as many as requests, begins with the only blocks of several requests."""
    blocks = [case.config.num_blocks(request.seq_len) for request in case.requests]
    average = sum(blocks) // max(1, len(blocks))
    return 1 in case.num_splits and len(blocks) > 4 and 0 < max(blocks[:4]) <= average // 2

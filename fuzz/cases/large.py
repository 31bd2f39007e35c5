"""Large cases for a CPU: numbers past 12 to 16 bits, and page ids past 20, for targets that answer them in seconds.

They are about blocks of a row, tokens of a step and of a request, requests, and page ids. One head and short vectors
keep them cheap. Of each a target gets the largest case that its promises leave affordable.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan
from fuzz.cases.inside import Domain
from fuzz.cases.project import project
from msa_ref import IndexerConfig

MAX_KEYS = 2**27 + 2**20
"""Key elements of a row: 8,193 blocks of MiniMax-M3's."""
MAX_ALL_KEYS = 2**31
"""Key elements of all requests."""
MAX_PRODUCTS = 2**36
"""Products of queries' and keys' elements."""
MAX_SKIPPED = 2**30
"""Elements of skipped pages, which a target may copy in another format."""
PARTS = 16
"""The parts of a large case, or of each length in it."""


def is_large(case: Case) -> bool:
    """True if a slow target would take minutes for a case."""
    is_long = case.total_q > 2**13 or case.max_row_blocks > 2**12
    return is_long or len(case.requests) > 2**12 or case.pages.skipped_pages > 2**16


def large_cases(seed: int, domain: Domain) -> Iterator[Case]:
    """The cases inside a domain."""
    for cases in _all(seed):
        inside = _affordable(cases, domain)
        if inside:
            yield max(inside, key=_size)


def part_of(case: Case) -> tuple[Case, int]:
    """A case that is a part of a large one, and the number of such parts, or more than there are."""
    pages, requests = case.pages, case.requests
    if pages.skipped_pages:
        return replace(case, pages=replace(pages, skipped_pages=pages.skipped_pages // PARTS)), PARTS
    if len(requests) > PARTS:
        return replace(case, requests=requests[: len(requests) // PARTS]), PARTS + 1
    shorter = tuple(Request(-(-one.query_len // PARTS), -(-one.seq_len // PARTS)) for one in requests)
    return replace(case, requests=shorter), PARTS if case.decode_query_len < PARTS else PARTS**2


def _affordable(cases: list[Case], domain: Domain) -> list[Case]:
    """The cases that are affordable, as they are inside a domain."""
    inside = list[Case]()
    for case in cases:
        with suppress(ValueError):
            inside.append(project(case, domain))
    return list(filter(_is_affordable, inside))


def _size(case: Case) -> int:
    return case.total_q + case.max_row_blocks + case.pages.skipped_pages


def _is_affordable(case: Case) -> bool:
    config = case.config
    page = config.block_size * config.index_head_dim
    keys = [config.num_blocks(one.seq_len) * page for one in case.requests]
    products = sum(one.query_len * one.seq_len for one in case.requests)
    is_small = max(keys) <= MAX_KEYS and sum(keys) <= MAX_ALL_KEYS and case.pages.skipped_pages * page <= MAX_SKIPPED
    return is_small and products * config.num_index_heads * config.index_head_dim <= MAX_PRODUCTS


def _all(seed: int) -> Iterator[list[Case]]:
    """The cases about one thing after the other, of each several sizes."""
    short, wide = IndexerConfig(1, 16, 16, 4, 0, 1), IndexerConfig(1, 16, 128, 16, 0, 1)
    pool, other = PagePlan(pool_pages=64, is_in_runs=True, tail="bait"), Request(1, 90)

    def case(config: IndexerConfig, requests: list[Request], note: str) -> Case:
        return Case(config, tuple(requests), seed, values=ValuePlan("hashed"), pages=pool, note=f"large: {note}")

    lens = (70_000, 16_385, 8_193)
    yield [case(short, [Request(3, 16 * blocks - 3), other], f"a row of {blocks:,} blocks") for blocks in lens]
    yield [case(short, [Request(100, 104)] * reqs, f"{100 * reqs:,} tokens") for reqs in (700, 170)]
    yield [case(wide, [Request(tokens, tokens + 9)], f"a request of {tokens:,} tokens") for tokens in (16_500, 8_200)]
    yield [
        case(short, [Request(1, 70 + req % 40) for req in range(reqs)], f"{reqs:,} requests")
        for reqs in (70_000, 4_100)
    ]
    late = replace(case(short, [Request(1, 120), Request(2, 99)], "late pages"), values=ValuePlan("integers"))
    yield [replace(late, pages=PagePlan(skipped_pages=pages - 3)) for pages in (2**20, 2**17)]

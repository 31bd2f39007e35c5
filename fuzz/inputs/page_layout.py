"""Maps logical blocks to pages and poisons everything else."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fuzz.cases.case import Case, Step
from fuzz.values.rng import Stream
from msa_ref.formats import ElementFormat

INT_MAX = 2**31 - 1
"""The greatest int32: no page, no length."""


@dataclass(eq=False)
class Layout:
    """The page of every block of every request, at one state of a case. Pages are counted behind the skipped ones.

    page: [B] arrays, the page of each block that a request ever has.
    source: for each page (in order of page id), the logical page it holds; -1 for a spare one.
    logical: [B] arrays, the logical page ids of each request's blocks. Logical pages are numbered
        shared prefix first, then request by request, wherever they lie.
    """

    num_pages: int
    page: list[np.ndarray]
    source: np.ndarray
    logical: list[np.ndarray]


def lay_out(case: Case, state: int) -> Layout:
    """Place the pages of a case at one state: remapping draws a new order."""
    reqs = range(len(case.requests))
    if case.pages.pool_pages:
        pool = case.pages.pool_pages
        starts = Stream(case.seed, "pool").integers(0, pool - 1, (len(reqs),))
        counts = [case.num_blocks(req) for req in reqs]
        steps = [np.arange(count) * pool // count if case.pages.is_in_runs else np.arange(count) for count in counts]
        logical = [(start + step) % pool for start, step in zip(starts, steps, strict=True)]
        num_logical = pool
    else:
        shared = min(case.pages.shared_blocks, case.max_row_blocks)
        logical, num_logical = [], shared
        for req in reqs:
            own = max(0, case.num_blocks(req) - shared)
            ids = np.concatenate([np.arange(shared), np.arange(num_logical, num_logical + own)])
            logical.append(_with_repeats(case, req, ids[: case.num_blocks(req)]))
            num_logical += own
    num_pages = num_logical if case.pages.is_tight else max(1, num_logical + case.pages.spare_pages)
    remaps = sum(step.is_remapped for step in case.states[: state + 1])
    if remaps or case.pages.order == "permuted":
        order = Stream(case.seed, f"pages {remaps}").permutation(num_pages)
    else:
        order = np.arange(num_pages)[:: -1 if case.pages.order == "reversed" else 1]
    source = np.full(num_pages, -1)
    source[order[:num_logical]] = np.arange(num_logical)
    return Layout(num_pages, [order[ids] for ids in logical], source, logical)


def _with_repeats(case: Case, req: int, logical: np.ndarray) -> np.ndarray:
    """The logical pages of a request's blocks, some of them the same page.

    Half of the repeated blocks lie in one page, as null blocks do, and each other one in a page of some block.
    """
    count = min(case.pages.repeated_blocks, len(logical) - 1)
    if count > 0:
        order = Stream(case.seed, f"repeated {req}").permutation(len(logical))
        in_one = -(-count // 2)
        logical[order[1 : 1 + in_one]] = logical[order[0]]
        logical[order[1 + in_one : 1 + count]] = logical[order[::-1][: count - in_one]]
    return logical


BAIT = 60_000.0
"""Magnitude of a finite poison, if the format holds numbers as large."""


def poison_page(case: Case) -> torch.Tensor:
    """CPU [S, D], or as many elements as D numbers take, of poison, which no kernel may read: a page of the cache."""
    # Whatever the sign of a row's query, one of two neighbouring tokens of a bait beats every honest score.
    keys = [_poison(case, case.formats.keys, sign) for sign in (1.0, -1.0)]
    return torch.stack(keys)[torch.arange(case.config.block_size) % (2 if case.pages.tail == "bait" else 1)]


def poison_query(case: Case) -> torch.Tensor:
    """CPU [D] of poison, in the format of queries."""
    return _poison(case, case.formats.queries, 1.0)


def _poison(case: Case, row: ElementFormat, sign: float) -> torch.Tensor:
    value = {"nan": math.nan, "inf": math.inf, "bait": sign * BAIT}[case.pages.tail]
    return row.vector(value, case.config.index_head_dim)


def physical_pages(case: Case, step: Step, layout: Layout, logical_pages: torch.Tensor) -> torch.Tensor:
    """CPU, the cache: logical pages where the layout puts them, poison elsewhere."""
    config = case.config
    poison = poison_page(case)
    pages = poison.expand(layout.num_pages, -1, -1).clone()
    is_used = torch.from_numpy(layout.source >= 0)
    pages[is_used] = logical_pages[torch.from_numpy(layout.source[layout.source >= 0])]
    live = torch.from_numpy(live_tokens(case, step, layout))
    is_dead = torch.arange(config.block_size) >= live[:, None]
    return torch.where(is_dead[..., None], poison, pages)


def live_tokens(case: Case, step: Step, layout: Layout) -> np.ndarray:
    """[num_pages] int64, the tokens of each page that some request has; all of a shared page's
    tokens that its longest request has."""
    live = np.zeros(layout.num_pages, dtype=np.int64)
    size = case.config.block_size
    for req, request in enumerate(step.requests):
        tokens = np.clip(request.seq_len - size * np.arange(len(layout.page[req])), 0, size)
        np.maximum.at(live, layout.page[req], tokens)
    return live


def block_table(case: Case, step: Step, state: int, layout: Layout) -> torch.Tensor:
    """CPU [B, max_blocks] int32: live entries, and garbage behind them."""
    size = (len(step.requests), case.max_blocks)
    match case.pages.behind:
        case "int_max":
            table = np.full(size, INT_MAX)
        case "minus_one":
            table = np.full(size, -1)
        case "huge":
            table = np.full(size, case.pages.skipped_pages + layout.num_pages + 2**20)
        case _:
            table = Stream(case.seed, f"behind {state}").integers(-(2**31), INT_MAX, size)
    for req, request in enumerate(step.requests):
        num_blocks = case.config.num_blocks(request.seq_len)
        table[req, :num_blocks] = case.pages.skipped_pages + layout.page[req][:num_blocks]
    return torch.from_numpy(table).to(torch.int32)

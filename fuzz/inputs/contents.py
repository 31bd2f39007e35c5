"""The values that a case's buffers hold at one state, bit for bit the same on any machine.

Small tensors are built on the CPU from raw Philox words and then copied. Only the `hashed` family is made
on its own device, by integer arithmetic.
"""

from dataclasses import replace

import numpy as np
import torch

from fuzz.cases.case import Case, Step
from fuzz.inputs.future_keys import plant_future
from fuzz.inputs.page_layout import Layout, live_tokens, poison_page, poison_query
from fuzz.inputs.stored_keys import any_nvfp4_bytes, hashed_nvfp4, stored
from fuzz.values.codes import AnyBytes
from fuzz.values.families import mix_scores, plant_nonfinite, require_exact
from fuzz.values.family import Designed, Lattice
from fuzz.values.rng import Stream, hashed_integers
from fuzz.values.shape import Shape
from msa_ref import PagedBatch
from msa_ref.config import require

GARBAGE = {"nan": np.nan, "inf": np.inf, "bait": 1e30}
"""Scores of blocks that a row does not see, by the poison of a case's page tails."""
MAX_OWN_SCORES = 64
"""Requests whose given scores are all made; of more, some have the scores of others of their lengths."""


def shape_of(case: Case, num_blocks: int) -> Shape:
    """The facts of a case that a family of values may use."""
    return Shape.of(case.config, num_blocks, case.dtype, case.values.max_abs_score)


def queries_and_keys(case: Case, step: Step, layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """CPU [T, H, D] and logical pages [num_logical, S, D] of one state, in the case's formats.

    Raises:
        ValueError: if the values would not be exact.
    """
    config, family = case.config, case.values.made_by
    seed = step.values_seed or case.seed
    queries: list[np.ndarray] = []
    num_logical = int(layout.source.max(initial=-1)) + 1
    pages = np.zeros((num_logical, config.block_size, config.index_head_dim), dtype=np.float32)
    for req, request in enumerate(step.requests):
        logical, place = _pages_once(layout.logical[req])
        shape = shape_of(case, len(logical))
        # Where all blocks come several times, fewer pages fill the slots.
        times = max(1, len(place) // max(1, len(logical)))
        shape = replace(shape, topk_blocks=max(1, config.topk_blocks // times))
        stream, is_negative = Stream(seed, f"request {req}"), case.values.is_negative
        keys = family.keys(stream, shape, is_negative)
        query = family.queries(stream, request.query_len, config.num_index_heads, shape, is_negative)
        if case.values.is_future_best:
            own = query[:, :1] if 1 in case.views.index_q.expanded else query  # all heads then have those of the first
            plant_future(stream, keys, own, request.seq_len, case.values, shape, place)
        if family.sums_are_exact:
            require_exact(torch.from_numpy(query), torch.from_numpy(keys), family.name)
        if family.has_nonfinite:
            plant_nonfinite(stream, keys, query, shape)
        queries.append(query)
        is_own = logical >= (case.pages.shared_blocks if req else 0)
        pages[logical[is_own]] = keys[is_own]
    formats = case.formats
    is_scaled = not isinstance(family, Designed)
    scale, q_scale = (2.0 ** (log2 * is_scaled) for log2 in (case.values.log2_scale, case.values.log2_queries))
    none = np.zeros((0, config.num_index_heads, config.index_head_dim), dtype=np.float32)
    q, k = torch.from_numpy(np.concatenate([none, *queries])) * q_scale, torch.from_numpy(pages) * scale
    rounded = q.to(formats.queries.dtype), stored(k, formats.keys)
    # Where neighbours share a scale, other keys than those of lattices are rounded; designed scores stay exact.
    is_exact = not formats.keys.numbers or (isinstance(family, Lattice) and not family.has_nonfinite)
    checked = [("queries", q, formats.queries.values(rounded[0]))]
    checked += [("keys", k, formats.keys.values(rounded[1]))] if is_exact else []
    for name, exact, there in checked:
        is_kept = (there == exact) | exact.isnan()
        require(bool(is_kept.all()), name, f"must be representable in {case.dtype}", f"family {family.name!r}")
    if isinstance(family, AnyBytes) and formats.keys.numbers:
        rounded = rounded[0], any_nvfp4_bytes(Stream(seed, "bytes"), tuple(k.shape[:2]), config.index_head_dim)
    padding = poison_query(case).expand(case.rows_behind(step), config.num_index_heads, -1)
    return torch.cat([rounded[0], padding]), rounded[1]


def _pages_once(logical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a request's logical pages, each once, in the order of their first blocks, the place of every block's page)."""
    _, first, page = np.unique(logical, return_index=True, return_inverse=True)
    return logical[np.sort(first)], np.argsort(np.argsort(first))[page]


def fill_hashed(case: Case, step: Step, layout: Layout, batch: PagedBatch) -> None:
    """Write queries and pages of the `hashed` family into a batch's buffers, a few thousand pages at a time."""
    config, seed, device = case.config, step.values_seed or case.seed, batch.device
    family, row, log2_scale = case.values.made_by, case.formats.keys, case.values.log2_scale
    assert isinstance(family, Lattice)
    ranges = family.ranges(shape_of(case, 1))
    q_low, k_high = (0, 0) if case.values.is_negative else (-ranges.q_high, ranges.k_high)
    q = hashed_integers(0, batch.index_q.numel(), seed + 1, q_low, ranges.q_high, device)
    batch.index_q.copy_(q.view(batch.index_q.shape))
    batch.index_q[case.total_q - case.rows_behind(step) :] = poison_query(case).to(device)
    page_size = config.block_size * config.index_head_dim
    order = torch.from_numpy(np.argsort(layout.source, kind="stable")).to(device)
    num_spare = int((layout.source < 0).sum())
    chunk = max(1, 2**25 // page_size)
    for first in range(0, batch.num_pages - num_spare, chunk):
        count = min(chunk, batch.num_pages - num_spare - first)
        keys = hashed_integers(first * page_size, count * page_size, seed, -ranges.k_high, k_high, device)
        keys = keys.view(count, config.block_size, config.index_head_dim)
        keys = hashed_nvfp4(keys, log2_scale) if row.numbers else (keys.float() * 2.0**log2_scale).to(row.dtype)
        batch.index_k_pages[order[num_spare + first : num_spare + first + count]] = keys
    live = torch.from_numpy(live_tokens(case, step, layout)).to(device)
    poison = poison_page(case).to(device)
    batch.index_k_pages[live == 0] = poison
    for page in ((live > 0) & (live < config.block_size)).nonzero().flatten().tolist():
        batch.index_k_pages[page, int(live[page]) :] = poison[int(live[page]) :]


def designed_scores(case: Case, step: Step) -> torch.Tensor:
    """CPU [H, T, max_blocks] float32 made to order, garbage where a row sees no block."""
    num_heads, garbage = case.config.num_index_heads, GARBAGE[case.pages.tail]
    score = np.full((num_heads, case.total_q, case.max_blocks), garbage, dtype=np.float32)
    num_visible, made = visible_blocks(case, step), dict[tuple[int, int, int], np.ndarray]()
    token = 0
    for req, request in enumerate(step.requests):
        tokens = slice(token, token + request.query_len)
        key = req % MAX_OWN_SCORES, request.query_len, request.seq_len
        if key not in made:
            stream = Stream(step.values_seed or case.seed, f"score {key[0]}")
            made[key] = _scores_of_rows(case, stream, num_visible[tokens])
        score[:, tokens, : made[key].shape[2]] = made[key]
        token += request.query_len
    score[:, np.arange(case.max_blocks) >= num_visible[:, None]] = garbage
    return torch.from_numpy(score)


def _scores_of_rows(case: Case, stream: Stream, num_visible: np.ndarray) -> np.ndarray:
    """[H, Q, n] float32, scores of one request's tokens, each made for the blocks that the token sees."""
    heads, values = case.config.num_index_heads, case.values
    score = np.zeros((heads, len(num_visible), num_visible.max(initial=0)), dtype=np.float32)
    for num_blocks in sorted(set(num_visible[num_visible > 0].tolist()), reverse=True):
        is_seen = num_visible == num_blocks
        shape = replace(shape_of(case, num_blocks), formats="float32", is_score=True)
        rows = mix_scores(values.family, stream, heads * int(is_seen.sum()), shape, values.is_finite)
        score[:, is_seen, :num_blocks] = rows.reshape(heads, -1, num_blocks)
    return score


def visible_blocks(case: Case, step: Step) -> np.ndarray:
    """[T] int64, blocks that each query token sees."""
    rows = [
        np.maximum(0, request.seq_len - request.query_len + 1 + np.arange(request.query_len))
        for request in step.requests
    ]
    return -(-np.concatenate([*rows, np.zeros(case.rows_behind(step), dtype=np.int64)]) // case.config.block_size)

"""Draws the requests of a case: lengths around every boundary of blocks, context, slots and query."""

from dataclasses import replace

from fuzz.cases.case import Request
from fuzz.cases.chooser import Chooser
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization
from msa_ref import IndexerConfig

MAX_DRAWN_REQS = 8
"""Requests of a batch that are drawn one by one; a larger batch repeats them, except for the first."""
MIN_LONGEST = 65
"""Blocks that the first request of a batch may have at any size of blocks: one more than a round of kernels ranks."""


def draw_requests(chooser: Chooser, scale: Scale, specialization: Specialization, kind: str) -> list[Request]:
    """The requests of a batch. kind: one of `Scale.kinds`; a prefill batch may begin with a decode request."""
    is_idle = chooser.boolean(4)  # a batch without a query: nothing to answer, nothing to trip over
    max_reqs = specialization.max_reqs if kind == "decode" else min(specialization.max_reqs, MAX_DRAWN_REQS)
    num_reqs = chooser.integer(max_reqs // 2 + 1, max_reqs)
    lens = _query_lens(chooser, scale, specialization, kind, min(num_reqs, MAX_DRAWN_REQS))
    longest = 0 if is_idle else scale.bounds.max_total_q // num_reqs
    lens = [min(query_len, longest) for query_len in lens]
    requests = [draw_request(chooser, scale, specialization, query_len, req) for req, query_len in enumerate(lens)]
    return requests + [requests[1 + i % (MAX_DRAWN_REQS - 1)] for i in range(num_reqs - MAX_DRAWN_REQS)]


def _query_lens(chooser: Chooser, scale: Scale, specialization: Specialization, kind: str, num_reqs: int) -> list[int]:
    """The query lengths of the first requests of a batch, as far as their kind and their request limit them."""
    longest = scale.bounds.max_row_blocks * specialization.config.block_size
    is_mixed = kind == "prefill" and not scale.bounds.is_uniform and chooser.boolean(33)
    lens = list[int]()
    for req in range(num_reqs):
        is_decode = kind != "prefill" or (is_mixed and req == 0)
        query_len = specialization.decode_query_len if is_decode else _prefill_len(chooser, scale, specialization)
        if chooser.boolean(15):
            query_len = chooser.integer(0, query_len)
        lens.append(min(query_len, longest))
    return lens[:1] * num_reqs if scale.bounds.is_uniform else lens


def draw_request(chooser: Chooser, scale: Scale, specialization: Specialization, query_len: int, req: int) -> Request:
    """The request number `req` of a batch, with some query tokens."""
    return within(
        scale, specialization.config, Request(query_len, _seq_len(chooser, scale, specialization, query_len, req))
    )


def within(scale: Scale, config: IndexerConfig, request: Request) -> Request:
    """The request, as long as the bounds of a scale allow."""
    least = 0 if scale.bounds.has_padding else request.query_len
    return replace(request, seq_len=max(least, min(request.seq_len, scale.bounds.max_row_blocks * config.block_size)))


def _seq_len(chooser: Chooser, scale: Scale, specialization: Specialization, query_len: int, req: int) -> int:
    config = specialization.config
    size = config.block_size
    if chooser.boolean(10):
        return chooser.integer(0, query_len)  # padding, or shorter than its query
    max_blocks = max_blocks_of(scale, specialization, query_len, req)
    edges = [
        edge for edge in _edges_of_runs(config.topk_blocks) if edge <= min(max_blocks, max(scale.edges, default=0))
    ]
    # A long query spans several blocks, so its rows fall on both sides of the edge.
    if query_len > 2 * size and edges and chooser.boolean(75):
        return chooser.choice(edges) * size + chooser.integer(0, query_len)
    blocks = _blocks(chooser, scale, config.topk_blocks, max_blocks)
    rest = chooser.choice((0, 1, size - 1, chooser.integer(0, size - 1)))
    match chooser.choice(("last", "first", "both sides")):
        case "last":  # the last token sees that many blocks
            return max(0, blocks * size - rest)
        case "first":  # the first token does, or is about to
            return max(0, (blocks - 1) * size) + rest + query_len
    # Some tokens see fewer blocks, and some more.
    return blocks * size + (chooser.integer(0, query_len) if blocks else query_len)


def max_blocks_of(scale: Scale, specialization: Specialization, query_len: int, req: int) -> int:
    """Bound on the blocks of a request. The first may be long: it has half of the keys, the others share the rest.

    However large its blocks, the first may have MIN_LONGEST of them: else nothing would be ranked.
    """
    config = specialization.config
    keys = scale.max_key_elements // (2 * specialization.max_reqs if req else 2)
    blocks = max(keys // (config.block_size * config.index_head_dim), 0 if req else MIN_LONGEST)
    cells = scale.max_cells // max(1, query_len * config.num_index_heads)
    return min(max(2, min(blocks, cells)), scale.bounds.max_row_blocks)


def _prefill_len(chooser: Chooser, scale: Scale, specialization: Specialization) -> int:
    size = specialization.config.block_size
    short = [1, 2, 9, 17, 33, size - 1, size, size + 1, chooser.integer(1, scale.max_prefill_len)]
    # Tokens with whole blocks between them: rows of one tile see quite different numbers of blocks.
    options = [3 * size + 2, 4 * size - 1, 5 * size] if chooser.boolean(scale.percent.across) else short
    lengths = [length for length in options if 0 < length <= scale.max_prefill_len]
    return chooser.choice(lengths or [scale.max_prefill_len])


def _edges_of_runs(topk_blocks: int) -> list[int]:
    """Numbers of blocks in K runs of 2, 4, 8 .. blocks, K rounded up to a power of two."""
    return [(1 << (topk_blocks - 1).bit_length()) * length for length in (2, 4, 8, 16)]


def _blocks(chooser: Chooser, scale: Scale, topk_blocks: int, max_blocks: int) -> int:
    """A number of blocks: at an edge where kernels take another way, near the number of slots, or large."""
    k = topk_blocks
    many = [n for n in scale.many_blocks if n <= max_blocks]
    if many and chooser.boolean(scale.percent.many):
        return chooser.choice(many)
    # Up to about 2K blocks there are hardly more candidates than slots.
    edges = [n for n in scale.edges if k + 2 < n <= max_blocks]
    if edges and chooser.boolean():
        return chooser.choice(edges)
    return min(max_blocks, chooser.choice((k + 1, k - 1, k, k + 2, 2 * k + 1, 1, 2, 3, 0, 5)))

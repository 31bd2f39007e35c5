"""Draws the requests of a case: lengths around every boundary of blocks, context, slots and query."""

from fuzz.cases.case import Request
from fuzz.cases.chooser import Chooser
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization

MAX_DRAWN_REQS = 8
"""Requests of a batch that are drawn one by one; a larger batch repeats them, except for the first."""


def draw_requests(chooser: Chooser, scale: Scale, specialization: Specialization, kind: str) -> list[Request]:
    """The requests of a batch. kind: `decode`, `prefill`, or `mixed`, one decode request before prefills."""
    is_idle = chooser.boolean(4)  # a batch without a query: nothing to answer, nothing to trip over
    max_reqs = specialization.max_reqs if kind == "decode" else min(specialization.max_reqs, MAX_DRAWN_REQS)
    num_reqs = chooser.integer(max_reqs // 2 + 1, max_reqs)
    requests = []
    for req in range(min(num_reqs, MAX_DRAWN_REQS)):
        is_decode = kind == "decode" or (kind == "mixed" and req == 0)
        query_len = specialization.decode_query_len if is_decode else _prefill_len(chooser, scale, specialization)
        if chooser.boolean(15):
            query_len = chooser.integer(0, query_len)
        query_len = 0 if is_idle else query_len
        requests.append(draw_request(chooser, scale, specialization, query_len, req))
    return requests + [requests[1 + i % (MAX_DRAWN_REQS - 1)] for i in range(num_reqs - MAX_DRAWN_REQS)]


def draw_request(chooser: Chooser, scale: Scale, specialization: Specialization, query_len: int, req: int) -> Request:
    """The request number `req` of a batch, with some query tokens."""
    config = specialization.config
    size = config.block_size
    if chooser.boolean(10):
        return Request(query_len, chooser.integer(0, query_len))  # padding, or shorter than its query
    max_blocks = _max_blocks(scale, specialization, query_len, req)
    edges = [edge for edge in _edges_of_runs(config.topk_blocks) if edge <= min(max_blocks, max(scale.edges))]
    # A long query spans several blocks, so its rows fall on both sides of the edge.
    if query_len > 2 * size and edges and chooser.boolean(75):
        return Request(query_len, chooser.choice(edges) * size + chooser.integer(0, query_len))
    blocks = _blocks(chooser, scale, config.topk_blocks, max_blocks)
    rest = chooser.choice((0, 1, size - 1, chooser.integer(0, size - 1)))
    match chooser.choice(("last", "first", "both sides")):
        case "last":  # the last token sees that many blocks
            return Request(query_len, max(0, blocks * size - rest))
        case "first":  # the first token does, or is about to
            return Request(query_len, max(0, (blocks - 1) * size) + rest + query_len)
    # Some tokens see fewer blocks, and some more.
    return Request(query_len, blocks * size + (chooser.integer(0, query_len) if blocks else query_len))


def _max_blocks(scale: Scale, specialization: Specialization, query_len: int, req: int) -> int:
    """Bound on the blocks of a request. The first may be long: it has half of the keys, the others share the rest."""
    config = specialization.config
    keys = scale.max_key_elements // (2 * specialization.max_reqs if req else 2)
    cells = scale.max_cells // max(1, query_len * config.num_index_heads)
    return max(2, min(keys // (config.block_size * config.index_head_dim), cells))


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
    return min(max_blocks, chooser.choice((k + 1, k, k - 1, k + 2, 2 * k + 1, 1, 2, 3, 0, 5)))

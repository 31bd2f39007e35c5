"""Sizes that no array of fixed size holds: drawn cases at regular distances give way to cases that have them.

Many requests, tokens, blocks, heads or slots cost time: a gate draws each of them a few times only, but each of them.
A size is one row of a table: its name, and the cases that have it, made of a drawn one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fuzz.cases.case import Case, PagePlan, Request, Step, ViewPlan
from fuzz.cases.chooser import Chooser
from fuzz.cases.inside import families_inside
from fuzz.cases.promised import outside
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN, Scale
from fuzz.values.shape import Shape

PAST_A_GRID = 70_000
"""More than the 65,535 programs that some axes of a grid allow."""
BAND_BLOCKS = (2_065, 2_080, 2_111)
"""Blocks of a row: 2,049, more than any staging buffer of candidates holds, and 16 that win or are forced."""
LONG_BLOCKS = (1_025, 1_090)
"""Blocks of a row: more than a thread block has threads, and than a search counts in ten bits."""
MAX_LONG_KEYS = 2**20
"""Key elements of a long row; one that would have more has several blocks in each page."""
MANY_HEADS = (13, 16, 33, 64)
MANY_SLOTS = (128, 128, 33, 64)
TILE_ROWS = 129
"""Query rows of a prefill request: one more than the largest tile holds."""
MIN_ROWS = 65
"""Query rows (head, token) of a request: one more than the largest tile of decode's products holds."""
CONTEXT_BLOCKS = 17
"""Blocks in front of a query of 257 tokens: rows of one tile then see 31 to 33 blocks of 16 tokens, fewer and more than
16 runs of two."""
SMALLEST = 16
"""Head dim and block size of cases that need neither."""
MAX_SPLITS = 8
"""Bound on the splits of many requests where nothing is compiled."""
FEW_LENGTHS = 7
"""Requests whose lengths are drawn; the others repeat these."""

Cases = Iterator[Case]
"""Cases of a rare size, the best one first: the first that a target's promises allow is taken."""


@dataclass(frozen=True)
class RareSize:
    """One rare size.

    name: the thing that there are many of. kind: that of the drawn cases whose place it takes. scales: by name.
    cases: makes the cases in the place of a drawn one.
    """

    name: str
    kind: str
    scales: tuple[str, ...]
    cases: Callable[[Chooser, Scale, Case], Cases]


EVERY = {"small": {"prefill": 9, "decode": 6, "replay": 24}, "large": {"prefill": 66, "decode": 18, "replay": 51}}
"""Scale -> kind -> n: one drawn case of the kind in n has a rare size. Every n is a multiple of `OWN_EACH`, so none
takes the place of a case of MiniMax-M3's own config."""


def rare_case(chooser: Chooser, scale: Scale, kind: str, number: int, case: Case) -> Case:
    """The drawn case number `number` of a kind, or one of rare size in its place: every size in turn."""
    every = EVERY[scale.name].get(kind, 0)  # none of the steps of an engine, which are several batches each
    if not every or number % every != every - 3:
        return case
    turn = number // every
    sizes = [size for size in RARE_SIZES if kind == size.kind and scale.name in size.scales]
    size = sizes[turn % len(sizes)]
    return next((rare for rare in size.cases(chooser, scale, _unexpanded(case)) if _takes(scale, rare)), case)


def _unexpanded(case: Case) -> Case:
    """The case without expanded tensors, which a rare size with pages or values of its own could not have."""
    expanded = {name: replace(getattr(case.views, name), expanded=()) for name in ("index_q", "block_table")}
    return replace(case, views=replace(case.views, **expanded))


def _takes(scale: Scale, case: Case) -> bool:
    """True if the targets that a scale is for take the case."""
    return outside(case, scale.bounds.profile) is None


def _with_config(scale: Scale, case: Case, **wanted: int) -> Case:
    """The case with each wanted number in its config that is promised; forced blocks fit the slots."""
    for name, value in wanted.items():
        slots = value if name == "topk_blocks" else case.config.topk_blocks
        init = min(case.config.init_blocks, slots)
        local = min(case.config.local_blocks, slots - init)
        config = replace(case.config, **{"init_blocks": init, "local_blocks": local, name: value})
        if _takes(scale, changed := replace(case, config=config)):
            case = changed
    return case


def _promised(scale: Scale, case: Case, family: str) -> str:
    """The family, or a plain one where the promises do not allow its scores."""
    shape = Shape.of(case.config, max(BAND_BLOCKS), case.dtype)
    return families_inside((family,), scale.bounds, shape)[0]


def _with_requests(case: Case, requests: Sequence[Request]) -> Case:
    """The case with other requests, without what would make many of them slow: a script, repeats, wide tables."""
    pages = replace(case.pages, extra_blocks=min(1, case.pages.extra_blocks), is_far=False)
    return replace(
        case, requests=tuple(requests), replay=(), repeats=0, num_splits=case.num_splits[:1], host_slack=0, pages=pages
    )


def _short(chooser: Chooser, case: Case, query_lens: Sequence[int]) -> Cases:
    """Requests of at most three blocks; some of them see nothing, where that is allowed."""
    lens = [chooser.integer(0, 3 * case.config.block_size) for _ in range(FEW_LENGTHS)]
    seq_lens = [lens[req % FEW_LENGTHS] for req in range(len(query_lens))]
    pairs = list(zip(query_lens, seq_lens, strict=True))
    yield _with_requests(case, [Request(query_len, seq_len) for query_len, seq_len in pairs])
    yield _with_requests(case, [Request(query_len, max(query_len, seq_len)) for query_len, seq_len in pairs])


def _requests(low: int, high: int) -> Callable[[Chooser, Scale, Case], Cases]:
    """Decode batches of `low` or `high` requests of one token."""

    def cases(chooser: Chooser, scale: Scale, case: Case) -> Cases:
        if not scale.is_compiled:
            case = _with_config(scale, case, num_index_heads=1, index_head_dim=SMALLEST, block_size=SMALLEST)
            case = _with_config(scale, case, init_blocks=0, local_blocks=1, topk_blocks=2)
            # Each split of each request is a program, which an interpreter runs one by one.
            case = replace(case, num_splits=(min(MAX_SPLITS, case.num_splits[0]),))
        for many in _short(chooser, case, [1] * chooser.choice((low, high, high))):
            yield from _far(scale, many)

    return cases


def _far(scale: Scale, case: Case) -> Cases:
    """The case as it is, and before it with pages, queries and table rows past 2**31, where nothing is compiled."""
    if not scale.is_compiled:
        views = replace(case.views, index_q=ViewPlan(), index_k_pages=ViewPlan(), block_table=ViewPlan())
        pages = replace(case.pages, is_far=True, spare_pages=max(4, case.pages.spare_pages))
        yield replace(case, views=views, pages=pages)
    yield case


def _mostly_idle(low: int, high: int) -> Callable[[Chooser, Scale, Case], Cases]:
    """Prefill batches of `low` to `high` requests, of which most bring no token."""

    def cases(chooser: Chooser, scale: Scale, case: Case) -> Cases:
        lens = [0] * chooser.choice((low, low + 1, high))
        for _ in range(10):
            lens[chooser.integer(0, len(lens) - 1)] = chooser.integer(1, 3)
        lens[-1] = MAX_DECODE_QUERY_LEN + 1
        last = Request(lens[-1], 3 * case.config.block_size)  # which has an answer, and a place for it
        for many in _short(chooser, case, lens):
            yield replace(many, requests=(*many.requests[:-1], last), views=replace(many.views, is_out_given=True))

    return cases


def _tokens(low: int, high: int, num_reqs: int) -> Callable[[Chooser, Scale, Case], Cases]:
    """Prefill batches of `low` to `high` tokens in some requests of equal length, with a short one behind or none."""

    def cases(chooser: Chooser, scale: Scale, case: Case) -> Cases:
        few_heads = _with_config(scale, case, num_index_heads=1)
        context, rest = 0, 40
        if not scale.is_compiled:
            few_heads = _with_config(scale, few_heads, block_size=SMALLEST, init_blocks=0, local_blocks=1)
            few_heads = _with_config(scale, few_heads, topk_blocks=16)
            context, rest = CONTEXT_BLOCKS * few_heads.config.block_size, SMALLEST
        query_len = -(-chooser.choice((low, high)) // num_reqs)
        requests = [Request(query_len, context + query_len + chooser.integer(0, rest))] * num_reqs
        yield _with_requests(few_heads, [*requests, Request(3, 3 + chooser.integer(0, 40))])
        yield _with_requests(few_heads, requests)

    return cases


def _band(chooser: Chooser, scale: Scale, case: Case) -> Cases:
    """More blocks in a narrow band of scores than any staging buffer holds, and a few above."""
    if not scale.is_compiled:
        case = _with_config(scale, case, num_index_heads=4, index_head_dim=SMALLEST, block_size=SMALLEST)
    case = _with_config(scale, case, init_blocks=0, local_blocks=1, topk_blocks=16)
    config, blocks = case.config, chooser.choice(BAND_BLOCKS)
    family = _promised(scale, case, "band")
    values = replace(case.values, family=family, log2_scale=0, log2_queries=0, is_negative=False, is_future_best=False)
    request = Request(1, blocks * config.block_size - chooser.integer(0, config.block_size - 1))
    yield _with_requests(replace(case, pages=_pooled(case, blocks), values=values), [request])


def _pooled(case: Case, blocks: int) -> PagePlan:
    """The case's pages for a row of `blocks` blocks; several of them lie in one page if they would take much memory."""
    config = case.config
    page = config.block_size * config.index_head_dim
    # Each page comes as often as two of them fill the slots.
    pool = 0 if blocks * page <= MAX_LONG_KEYS else -(-2 * blocks // config.topk_blocks)
    return replace(case.pages, shared_blocks=0, repeated_blocks=0, pool_pages=pool)


def _long(chooser: Chooser, scale: Scale, case: Case) -> Cases:
    """A few tokens behind 1,025 blocks and more, and a short request."""
    case = _with_config(scale, case, num_index_heads=2, index_head_dim=SMALLEST, block_size=SMALLEST)
    blocks, size = chooser.choice(LONG_BLOCKS), case.config.block_size
    values = replace(case.values, is_future_best=False)
    case = replace(case, values=values, pages=_pooled(case, blocks))
    row = Request(3, blocks * size - chooser.integer(0, size - 1))
    yield from _far(scale, _with_requests(case, [row, Request(1, 3 * size)]))
    yield _with_requests(case, [Request(3, blocks * size - chooser.integer(0, size - 1))] * 2)


def _heads(num_rows: int, max_query_len: int) -> Callable[[Chooser, Scale, Case], Cases]:
    """Heads that no tile holds, and with their tokens `num_rows` rows and more; few slots, for which blocks compete."""

    def cases(chooser: Chooser, scale: Scale, case: Case) -> Cases:
        heads, size = chooser.choice(MANY_HEADS), case.config.block_size
        case = _with_config(scale, case, num_index_heads=heads, init_blocks=0, local_blocks=1, topk_blocks=2)
        query_len = min(max_query_len, -(-num_rows // case.config.num_index_heads))
        # Every head has keys of its own that are best.
        values = replace(case.values, family=_promised(scale, case, "integers"), is_future_best=False)
        requests = [Request(query_len, blocks * size + chooser.integer(0, size)) for blocks in (4, 7)]
        yield _with_requests(replace(case, values=values), requests)

    return cases


def _slots(chooser: Chooser, scale: Scale, case: Case) -> Cases:
    """Slots that no warp holds, one for each thread: a row of one more block, and one of hundreds of equals."""
    case = _with_config(scale, case, num_index_heads=2, init_blocks=0, local_blocks=1)
    case = _with_config(scale, case, topk_blocks=chooser.choice(MANY_SLOTS))
    if not scale.is_compiled:
        case = _with_config(scale, case, index_head_dim=SMALLEST, block_size=SMALLEST)
    family = _promised(scale, case, chooser.choice(("plateau", "few_values", "tie_at_cut")))
    values = replace(case.values, family=family, log2_scale=0, log2_queries=0, is_negative=False, is_future_best=False)
    many = chooser.choice((300, 600, 513))
    size, slots = case.config.block_size, case.config.topk_blocks
    blocks = [slots + 1, many]
    requests = [Request(1, count * size - chooser.integer(0, 3)) for count in blocks]
    yield _with_requests(replace(case, values=values, pages=_pooled(case, many)), requests)


def _replayed(chooser: Chooser, scale: Scale, case: Case) -> Cases:
    """33 or 66 requests, a third of which bring a token, and which change their lengths once."""
    if not scale.is_compiled:
        case = _with_config(scale, case, num_index_heads=1, index_head_dim=SMALLEST, block_size=SMALLEST)
    for many in _short(chooser, case, [1, 0, 0] * chooser.choice((11, 22))):
        after = (*many.requests[3:], *many.requests[:3])
        yield replace(many, replay=(Step(after, is_remapped=chooser.boolean()),))


def _blocks(chooser: Chooser, scale: Scale, case: Case) -> Cases:
    """Rows of more blocks than a grid has programs, none where their keys would need too much memory."""
    case = _with_config(scale, case, index_head_dim=SMALLEST, block_size=SMALLEST)
    size = case.config.block_size
    if PAST_A_GRID * size * case.config.index_head_dim > scale.max_long_key_elements:
        return
    row = Request(1, PAST_A_GRID * size - chooser.integer(0, size - 1))
    yield _with_requests(case, [row, Request(1, 3 * size)])


def _hashed(made: Callable[[Chooser, Scale, Case], Cases]) -> Callable[[Chooser, Scale, Case], Cases]:
    """Cases whose values are made on the device, in few pages."""

    def cases(chooser: Chooser, scale: Scale, case: Case) -> Cases:
        for large in made(chooser, scale, case):
            pages = replace(large.pages, shared_blocks=0, repeated_blocks=0, pool_pages=2**12)
            values = replace(large.values, family="hashed", log2_scale=0, log2_queries=0, is_future_best=False)
            yield replace(large, pages=pages, values=values)

    return cases


BOTH, ON_SMALL, ON_LARGE = ("small", "large"), ("small",), ("large",)
RARE_SIZES = (
    RareSize("a band of 2,049 blocks", "decode", BOTH, _band),
    RareSize("39 or 71 requests", "decode", ON_SMALL, _requests(39, 71)),
    RareSize("33 requests, replayed", "replay", BOTH, _replayed),
    RareSize("257 requests", "prefill", ON_SMALL, _mostly_idle(257, 260)),
    RareSize("1,025 requests", "prefill", BOTH, _mostly_idle(1_025, 1_030)),
    RareSize("257 tokens", "prefill", ON_SMALL, _tokens(257, 280, 1)),
    RareSize("1,025 blocks", "prefill", ON_SMALL, _long),
    RareSize("13 to 64 heads", "prefill", ON_SMALL, _heads(TILE_ROWS, TILE_ROWS)),
    RareSize("13 to 64 heads", "decode", ON_SMALL, _heads(MIN_ROWS, MAX_DECODE_QUERY_LEN)),
    RareSize("33 to 128 slots", "decode", ON_SMALL, _slots),
    RareSize("257 requests", "decode", ON_LARGE, _requests(257, 300)),
    RareSize("1,025 requests", "decode", ON_LARGE, _requests(1_025, 1_100)),
    RareSize("70,000 requests", "decode", ON_LARGE, _hashed(_requests(PAST_A_GRID, PAST_A_GRID + 1))),
    RareSize("70,000 tokens", "prefill", ON_LARGE, _hashed(_tokens(PAST_A_GRID, PAST_A_GRID + 1, 14))),
    RareSize("70,000 blocks", "decode", ON_LARGE, _hashed(_blocks)),
)
"""Every rare size, in the order in which they take turns."""

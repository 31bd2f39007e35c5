"""The sizes of cases: small ones for Triton's interpreter, large ones for a GPU."""

from dataclasses import dataclass

from fuzz.cases.case import DTYPES
from msa_ref.call_facts import Strides
from msa_ref.profile import CONTRACT, Profile

HEADS = (1, 2, 3, 4, 5, 6, 8, 12)
TOPK = (16, 1, 2, 3, 4, 5, 7, 8, 12, 13, 17, 24, 32)
DECODE_QUERY_LENS = (1, 2, 3, 4, 1, 5, 7, 8)
"""Query tokens of decode requests: one, and up to seven drafts."""
MAX_DECODE_QUERY_LEN = max(DECODE_QUERY_LENS)
"""Query tokens of the longest decode request; a test holds it to the limit of the kernels."""


@dataclass(frozen=True)
class Shares:
    """Percentages: how often a draw is special in one way. Some draws are skipped altogether at 0.

    Of specializations:
    own_shape: MiniMax-M3's own head dim and block size, the only ones that some kernels serve; of those
        specializations that do not have its whole config.
    plain: all tensors contiguous, as engines hand them over; the others are views.
    corner: the most slots and the widest table at once, where limits meet.

    Of cases:
    negative: no score above 0; of cases of lattice families.
    long: rows as long as the scale allows, of values made on the device.
    company: a late producer, or another stream's noise: where there are streams.
    far: pages and scores so far apart that offsets pass 2**31.

    Of single draws:
    many: a number of blocks from `many_blocks`. many_splits: a large split count.
    across: a prefill query with whole blocks between its tokens.
    """

    many: int
    many_splits: int
    own_shape: int = 0
    plain: int = 0
    corner: int = 0
    negative: int = 0
    long: int = 0
    company: int = 0
    across: int = 0
    far: int = 2


@dataclass(frozen=True)
class Bounds:
    """Limits that a target's promises set to every case of a scale. The defaults set none.

    init_blocks, local_blocks: the numbers of forced blocks that a config may have; None for all.
    max_total_q: of a batch. max_row_blocks: of a request. max_table_blocks: columns of a block table.
    is_uniform: whether all requests of a batch bring equally many tokens.
    has_padding: whether a query token may see nothing.
    has_padded_queries: whether `index_q` may have rows behind the last request's tokens.
    strides: of every tensor: any, contiguous, or aligned as well; see `msa_ref.profile`.
    is_token_major: whether `out` is [T, H, K] in memory, where it has to be contiguous.
    has_nonfinite: whether queries, keys and given scores may be NaN or infinite.
    has_subnormals: whether queries and keys may be subnormal on purpose.
    max_abs_score: a magnitude that no score reaches; None for any.
    profile: the promises themselves.
    """

    init_blocks: tuple[int, ...] | None = None
    local_blocks: tuple[int, ...] | None = None
    max_total_q: int = 2**30
    max_row_blocks: int = 2**30
    max_table_blocks: int = 2**30
    is_uniform: bool = False
    has_padding: bool = True
    has_padded_queries: bool = False
    strides: Strides = "any"
    is_token_major: bool = False
    has_nonfinite: bool = True
    has_subnormals: bool = True
    max_abs_score: float | None = None
    profile: Profile = CONTRACT


@dataclass(frozen=True)
class Scale:
    """Part of what a seed means: the same seed at the same scale is the same list of cases anywhere.

    Options of a specialization; one that is repeated is drawn more often:
    heads, head_dims, block_sizes, topk: of the config.
    dtypes: formats of queries and keys, by the names of their pairs.
    odd_head_dims, odd_block_sizes: more of these, in the place of every fourth; see `fuzz.cases.inside`.
    decode_query_lens: query tokens of decode requests.
    max_reqs: powers of two, bounds on the requests of a decode batch.
    table_blocks: minimum of a decode batch's table columns; 0 for as many as its rows need.
    is_compiled: whether kernels are compiled for how tensors lie; cases of a specialization then share their views.

    Options of a case:
    edges: numbers of blocks at which a kernel may take another way, and their neighbours.
    many_blocks: larger ones, which make a case expensive.
    percent: how often something special is drawn.
    has_far_pages: whether pages may lie so far apart that offsets pass 2**31.

    Bounds:
    max_prefill_len: query tokens of a prefill request.
    max_key_elements, max_long_key_elements: B * n * S * D of a case, and of a case with the longest rows.
    max_cells: scores of a request, query_len * H * n.
    max_split_counts: split counts that one case runs at, beside the target's own choice.
    bounds: limits of the targets that the cases are for; see `fuzz.cases.inside`.
    kinds: the kinds of cases, in turn: `replay` (a decode batch with a replay script), `decode`, or `prefill` (perhaps
        behind one decode request); or `step` (decodes, then prefills, then padding, with a script of further steps).
    """

    name: str
    head_dims: tuple[int, ...]
    block_sizes: tuple[int, ...]
    max_reqs: tuple[int, ...]
    edges: tuple[int, ...]
    many_blocks: tuple[int, ...]
    percent: Shares
    max_prefill_len: int
    max_key_elements: int
    max_cells: int
    max_split_counts: int
    has_far_pages: bool
    heads: tuple[int, ...] = HEADS
    topk: tuple[int, ...] = TOPK
    dtypes: tuple[str, ...] = DTYPES
    odd_head_dims: tuple[int, ...] = ()
    odd_block_sizes: tuple[int, ...] = ()
    decode_query_lens: tuple[int, ...] = DECODE_QUERY_LENS
    table_blocks: tuple[int, ...] = (0,)
    is_compiled: bool = False
    max_long_key_elements: int = 0
    bounds: Bounds = Bounds()
    kinds: tuple[str, ...] = ("replay", "prefill", "decode", "prefill")


def around(first: int, last: int, limit: int) -> tuple[int, ...]:
    """Powers of two from `first` to `last` and their neighbours, up to `limit`; one more than a power first.

    Kernels rank powers of two of candidates at once, so that is where one round, one program or one
    split is no longer enough.
    """
    powers = [first << doublings for doublings in range((last // first).bit_length())]
    return tuple(power + step for power in powers for step in (1, 0, -1) if power + step <= limit)


SIZES = (16, 32, 64, 128)

WIDE_TABLE = 16_400
"""Columns of a block table: 2 million tokens of MiniMax-M3's, too many for some kernels."""

SMALL = Scale(
    "small",
    head_dims=(16, *SIZES),
    block_sizes=(16, 16, *SIZES),  # small blocks: rows of many blocks with few tokens
    max_reqs=(1, 2, 4),
    edges=around(8, 64, 65),
    many_blocks=(129, 129, 66, 67, 127, 128),  # 2**n + 1 is repeated to draw it more often
    percent=Shares(many=30, many_splits=8, across=30, far=6),
    max_prefill_len=82,
    max_key_elements=2**19,
    max_cells=2**13,
    max_split_counts=1,
    has_far_pages=True,
)
LARGE = Scale(
    "large",
    head_dims=SIZES,
    block_sizes=SIZES,
    max_reqs=(1, 2, 4, 8, 2, 256),  # with 256, kernels share out the rows in another way
    edges=around(8, 128, 129),
    # Decode on Hopper takes one more round above 256 and above 2,048 blocks: both edges are repeated, and a rare one.
    many_blocks=(*around(256, 8192, 8192), 257, 256, 2049, 2048, 4097),
    percent=Shares(
        many=20,
        many_splits=20,
        own_shape=40,
        plain=40,
        corner=4,
        negative=40,
        long=8,
        company=8,
        across=20,
    ),
    max_prefill_len=300,
    max_key_elements=2**24,
    max_cells=2**20,
    max_split_counts=3,
    has_far_pages=True,
    heads=(*HEADS, 13, 33, 64),
    topk=(*TOPK, 33, 64, 128),  # more than a warp has threads, and all that the kernels take
    table_blocks=(0, 128, 0, 512, 0, 2048, 8192, WIDE_TABLE),
    is_compiled=True,
    max_long_key_elements=2**28,  # MiniMax-M3's 8,192 blocks, and as many keys of other requests
)
SCALES = {scale.name: scale for scale in (SMALL, LARGE)}

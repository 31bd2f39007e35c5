"""How large cases may be: small ones for Triton's interpreter, large ones for a GPU."""

from dataclasses import dataclass

TOPK = (16, 1, 2, 3, 4, 5, 7, 8, 12, 13, 17, 24, 32)
DECODE_QUERY_LENS = (1, 2, 3, 4, 1, 5, 7, 8)
"""Query tokens of decode requests: one, and up to seven drafts."""
MAX_DECODE_QUERY_LEN = max(DECODE_QUERY_LENS)
"""Query tokens of the longest decode request; a test holds it to the limit of the kernels."""


@dataclass(frozen=True)
class Scale:
    """Part of what a seed means: the same seed at the same scale is the same list of cases anywhere.

    head_dims, block_sizes: what forms take; a size that stands here more often is taken more often.
    most_reqs: powers of two, one of which a form takes.
    edges: numbers of blocks at which a kernel may take another way, and their neighbours.
    many_blocks: larger ones, of which a case is dear. many_percent: how often they, or many splits, are drawn.
    prefill_lens: the longest query of a prefill request. across_percent: how many of them have whole blocks between
        their tokens.
    topk: values of topk_blocks. negative_percent: how many cases of lattice families have no score above 0.
    own_percent: how many forms have MiniMax-M3's own head dim, block size: kernels made for it serve nothing else.
    corner_percent: how many forms have the most slots and the widest table at once, where limits meet.
    long_percent: how many cases have rows as long as may be, of values made on the device, within long_key_elements.
    is_compiled: whether kernels are compiled for what they are given: cases of a form then share it.
    table_blocks: columns that a form's decode batches have at least; 0: no more than their rows need.
    plain_percent: how many cases, or forms, have all tensors as engines hand them over, contiguous; the others views.
    max_key_elements, max_cells: bounds on a case's keys (B * n * S * D) and a request's scores (query * H * n).
    """

    name: str
    head_dims: tuple[int, ...]
    block_sizes: tuple[int, ...]
    most_reqs: tuple[int, ...]
    edges: tuple[int, ...]
    many_blocks: tuple[int, ...]
    many_percent: int
    prefill_lens: int
    max_key_elements: int
    max_cells: int
    max_split_counts: int
    has_far_pages: bool
    topk: tuple[int, ...] = TOPK
    across_percent: int = 0
    negative_percent: int = 0
    own_percent: int = 0
    plain_percent: int = 0
    is_compiled: bool = False
    table_blocks: tuple[int, ...] = (0,)
    corner_percent: int = 0
    long_percent: int = 0
    long_key_elements: int = 0


def around(first: int, last: int, most: int) -> tuple[int, ...]:
    """Powers of two from `first` to `last` and their neighbours, up to `most`; behind a power first of all.

    Kernels rank powers of two of candidates at once, so that is where one round, one program or one
    split is no longer enough.
    """
    powers = [first << doublings for doublings in range((last // first).bit_length())]
    return tuple(power + step for power in powers for step in (1, 0, -1) if power + step <= most)


SIZES = (16, 32, 64, 128)

WIDE_TABLE = 16_400
"""Columns of a block table: 2 million tokens of MiniMax-M3's, too many for some kernels."""

SMALL = Scale(
    "small",
    head_dims=(16, *SIZES),
    block_sizes=(16, 16, *SIZES),  # rows of many blocks, few tokens
    most_reqs=(1, 2, 4),
    edges=around(8, 64, 65),
    many_blocks=(129, 66, 67, 127, 128, 129),  # one behind a power of two stands here more often
    many_percent=25,
    prefill_lens=82,
    max_key_elements=2**19,
    max_cells=2**13,
    max_split_counts=1,
    has_far_pages=False,
    across_percent=30,
)
LARGE = Scale(
    "large",
    head_dims=SIZES,
    block_sizes=SIZES,
    most_reqs=(1, 2, 4, 8, 2, 256),  # 256 for so many rows that kernels share them out in another way
    edges=around(8, 128, 129),
    # Decode on Hopper takes another round behind 256 and 2,048 blocks: those and the next stand here more often.
    many_blocks=(*around(256, 8192, 8192), 257, 256, 2049, 2048),
    many_percent=20,
    prefill_lens=300,
    max_key_elements=2**24,
    max_cells=2**20,
    max_split_counts=3,
    has_far_pages=True,
    across_percent=20,
    topk=(*TOPK, 33, 64, 128),  # more than a warp has threads, and all that the kernels take
    negative_percent=40,
    own_percent=50,
    plain_percent=40,
    is_compiled=True,
    table_blocks=(0, 128, 0, 512, 0, 2048, 8192, WIDE_TABLE),
    corner_percent=4,
    long_percent=8,
    long_key_elements=2**28,  # MiniMax-M3's 8,192 blocks, and as many keys of other requests
)
SCALES = {scale.name: scale for scale in (SMALL, LARGE)}

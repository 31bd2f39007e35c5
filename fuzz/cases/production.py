"""Cases with the shapes of real traffic: whole on a GPU, scaled down elsewhere.

The shapes are those that `msa_fast.bench` times. Values are `hashed` small integers, made on the device,
so that these cases too are judged exactly.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan, ViewPlan, Views
from msa_ref import IndexerConfig

MAX_POOL_PAGES = 2**14
"""Pages that a batch of the decode grid shares at most: half a GiB of bf16 keys, more than any cache holds."""
POOL_PER_BLOCK = 2
"""Pages of a smaller batch's pool for each of its blocks: they lie apart, and 14 children's pools fit one GPU."""
MAX_CONTEXT = 2**20
"""Tokens of MiniMax-M3's longest context."""
SHRINK = 128
"""Divisor of lengths without a GPU, where blocks have 16 tokens instead of 128."""
SMALL_CONFIG = IndexerConfig(4, 16, 16, 16, 0, 1)
"""Short vectors and small blocks."""
TOKEN_MAJOR = Views(out=ViewPlan(axes=(1, 0, 2)), extra_rows=3)


def production_cases(is_whole: bool, seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind), kind `prefill` or `decode`: every production shape; for `selection`, rows that need its rounds.

    Args:
        is_whole: real sizes with MiniMax-M3's config; otherwise scaled down to the interpreter.
        seed: of the values and of the page order.
    """
    # Imported late: triton reads TRITON_INTERPRET once, when kernels are first imported.
    from msa_fast.bench.shapes import production_shapes

    shapes = production_shapes()
    for case in _prefills(shapes["prefill_single_request"], is_whole, seed):
        yield case, "prefill"
    if is_whole:
        yield from rings(seed)
        yield from edges(seed)
        yield from boundaries(seed)
        yield _many_scores(seed), "prefill"
        yield many_rows(seed), "selection"
    yield from ((case, "selection") for case in long_rows(seed))
    for case in _decodes(shapes["decode"], is_whole, seed):
        yield case, "decode"


def _prefills(shapes: list[dict[str, int]], is_whole: bool, seed: int) -> Iterator[Case]:
    shrink = 1 if is_whole else SHRINK
    lens = [(shape["query_len"], shape["seq_len"]) for shape in shapes]
    for query_len, seq_len in [*lens, *([(16, MAX_CONTEXT)] if is_whole else [])]:
        yield Case(
            config=IndexerConfig() if is_whole else SMALL_CONFIG,
            requests=(Request(max(2, query_len // shrink), max(2, seq_len // shrink)),),
            seed=seed,
            values=ValuePlan("hashed"),
            pages=PagePlan(spare_pages=3, tail="bait"),
            views=TOKEN_MAJOR,
            note=f"production prefill: {query_len} new tokens, {seq_len} in all",
        )


def _decodes(grid: dict[str, Any], is_whole: bool, seed: int) -> Iterator[Case]:
    shrink, shorter = (1, 17) if is_whole else (SHRINK, 3)
    for num_reqs in grid["num_reqs"] if is_whole else (1, 3):
        for seq_len in [*grid["seq_len"], *([MAX_CONTEXT] if is_whole else [])]:
            if seq_len == MAX_CONTEXT and num_reqs > 4:
                continue
            for query_len in grid["decode_query_len"]:
                # Lengths fall a little from request to request: real batches are ragged.
                lens = [max(query_len, seq_len // shrink - req * shorter) for req in range(num_reqs)]
                config = IndexerConfig() if is_whole else SMALL_CONFIG
                num_blocks = sum(-(-length // config.block_size) for length in lens)
                pool_pages = min(MAX_POOL_PAGES, POOL_PER_BLOCK * num_blocks) if is_whole else 256
                yield Case(
                    config=config,
                    requests=tuple(Request(query_len, length) for length in lens),
                    seed=seed,
                    values=ValuePlan("hashed"),
                    pages=PagePlan(pool_pages=pool_pages, extra_blocks=1),
                    views=TOKEN_MAJOR,
                    num_splits=(0, 7) if is_whole else (0,),
                    note=f"production decode: {num_reqs} requests of {seq_len} tokens, {query_len} new each",
                )


def is_given(kind: str, target_kind: str, takes_score: bool) -> bool:
    """True if a target is given cases of a kind: its own, all if it is foreign; selection if it takes scores."""
    return takes_score if kind == "selection" else target_kind in (kind, "foreign")


def long_rows(seed: int) -> Iterator[Case]:
    """Rows of more blocks than one, two and three rounds of a selection settle, and than 11 to 13 and 16 bits count.

    Some have slots that no power of two fills, and their best blocks just behind a power of two, where the mark of an
    empty slot may be. All lie in few pages, and few are whole vectors. Only a selection is quick enough on a CPU.
    """
    for heads, topk, local_blocks, family, num_blocks in (
        (1, 16, 0, "few_values", (257, 261, 2_049, 2_050, 2_053)),
        (1, 13, 0, "few_values", (8_193, 16_384)),
        (12, 33, 1, "hashed", (8_193, 8_200)),
        (1, 3, 1, "increasing", (2_052,)),
        (1, 5, 1, "increasing", (4_100,)),
        (1, 3, 1, "increasing", (8_196,)),
        (1, 13, 1, "hashed", (70_000,)),
    ):
        yield Case(
            config=IndexerConfig(heads, 16, 16, topk, 0, local_blocks),
            requests=tuple(Request(1, 16 * blocks - 3) for blocks in num_blocks),
            seed=seed,
            values=ValuePlan(family),
            pages=PagePlan(pool_pages=64, tail="bait"),
            note=f"no shape of traffic: rows of {num_blocks[-1]:,} blocks",
        )


def many_rows(seed: int) -> Case:
    """More rows than programs of one row each are launched for, odd in number in each request.

    Of each request the first row may select every block that it sees, and the last may not. An interpreter would take
    half a minute.
    """
    topk = 16
    return Case(
        config=IndexerConfig(1, 16, 16, topk, 0, 0),
        requests=tuple(Request(3, 16 * (topk + 1 + i % 5) + 2 - i % 3) for i in range(683)),
        seed=seed,
        values=ValuePlan("hashed"),
        pages=PagePlan(pool_pages=64, tail="bait"),
        note="no shape of traffic: rows by the thousand",
    )


def rings(seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind) of MiniMax-M3's heads and blocks: for every ring of a scorer's buffers to come round twice.

    In both formats that scorers of one architecture read; and a row of two rounds of the selection that ends within a
    vector of scores and within a run, beside so many short ones that the scores of rows lie interleaved. For twins,
    whose drawn cases are small, and for a GPU, whose other production shapes are of bf16.
    """
    kinds = (
        ("prefill", (Request(150, 128 * 20 + 60), Request(3, 128 * 7))),
        ("decode", tuple(Request(2, 128 * blocks - 5) for blocks in (33, 18, 9))),
    )
    for (kind, requests), dtype in product(kinds, ("bfloat16", "float8_e4m3fn")):
        case = Case(
            config=IndexerConfig(4, 128, 128, 16, 0, 1),
            requests=requests,
            seed=seed,
            dtype=dtype,
            values=ValuePlan("few_values"),
            pages=PagePlan(spare_pages=3, tail="bait"),
            num_splits=(0, 1),
            note=f"no shape of traffic: {kind} that fills each ring twice",
        )
        yield case, kind
    end = 128 * 259 - 5
    for kind, requests in (("prefill", (Request(31, 31), Request(2, end))), ("decode", (Request(1, end),))):
        case = Case(
            config=IndexerConfig(4, 128, 128, 5, 1, 0),
            requests=requests,
            seed=seed,
            values=ValuePlan("hashed"),
            pages=PagePlan(pool_pages=64, tail="bait"),
            num_splits=(1,),
            note=f"no shape of traffic: {kind} of a row that ends within a vector and a run",
        )
        yield case, kind


def edges(seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind) of MiniMax-M3's blocks: what kernels of one architecture alone do at the ends of things.

    Requests end with a full block, so that whatever lies behind it is another's: tokens of their own that see one
    another, beside a head that a tile has and the index lacks; a row of two rounds that ends within a vector of scores
    and within a run; and ranges of blocks that begin and end within a vector.
    """
    several = Request(4, 128 * 3)
    for dtype in ("bfloat16", "float8_e4m3fn"):
        yield (
            Case(
                config=IndexerConfig(3, 128, 128, 1, 0, 0),
                requests=(several,),
                seed=seed,
                dtype=dtype,
                values=ValuePlan("integers", is_future_best=True),
                pages=PagePlan(tail="bait"),
                note="no shape of traffic: tokens of a full block, by three heads",
            ),
            "decode",
        )
        yield (
            Case(
                config=IndexerConfig(4, 128, 128, 5, 0, 1),
                requests=(Request(8, 128 * 12),),
                seed=seed,
                dtype=dtype,
                values=ValuePlan("few_values"),
                pages=PagePlan(tail="bait"),
                views=Views(is_out_given=dtype != "bfloat16"),
                num_splits=(2,),
                note="no shape of traffic: ranges that begin and end within a vector",
            ),
            "prefill",
        )
    yield (
        Case(
            config=IndexerConfig(1, 128, 128, 5, 0, 0),
            requests=(Request(2, 128 * 258),),
            seed=seed,
            values=ValuePlan("hashed"),
            pages=PagePlan(pool_pages=64, tail="bait"),
            num_splits=(1,),
            note="no shape of traffic: a long row that ends with a full block",
        ),
        "decode",
    )


def boundaries(seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind) of MiniMax-M3's blocks: first and last tokens that see all of a block, or all but one key, or one.

    In each format that some architecture has scorers of its own for. The tokens are those of a decode's ends, and those
    that query tiles of 128 and of 256 rows begin and end within, as three heads do not divide them. The key behind each
    token is its best one, in prefill by all heads, which have one query there; and no block is forced.
    """
    size, tokens = 128, 87
    split_tokens = (128 // 3, 256 // 3)
    decodes = tuple(Request(2, 2 * size + more) for more in (-2, -1, 0, 1, 2, 62, 63, 64, 65, 66))
    prefills = tuple(
        Request(tokens, 2 * size - token - behind + tokens) for token in split_tokens for behind in (2, 1, 0)
    )
    kinds = (("decode", decodes, Views(), (0, 1)), ("prefill", prefills, Views(index_q=ViewPlan(expanded=(1,))), (1,)))
    dtypes = "bfloat16", "float8_e4m3fn", "bfloat16/float8_e4m3fn"
    for (kind, requests, views, num_splits), dtype in product(kinds, dtypes):
        case = Case(
            config=IndexerConfig(3, 128, size, 1, 0, 0),
            requests=requests,
            seed=seed,
            dtype=dtype,
            values=ValuePlan("integers", is_future_best=True),
            pages=PagePlan(tail="bait"),
            views=views,
            num_splits=num_splits,
            note=f"no shape of traffic: {kind} of tokens at the ends of blocks and tiles",
        )
        yield case, kind


def shapes_for_twins(seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind): the shapes beside traffic that a model of a GPU runs in seconds."""
    yield from rings(seed)
    yield from edges(seed)
    yield from boundaries(seed)
    yield from ((case, "selection") for case in long_rows(seed))


def _many_scores(seed: int) -> Case:
    """A case of little work with more than 2**31 scores of rows and blocks."""
    return Case(
        config=SMALL_CONFIG,
        requests=(Request(65_536, 140_000),),
        seed=seed,
        values=ValuePlan("hashed"),
        note="no shape of traffic: the offsets of scores pass 2**31",
    )

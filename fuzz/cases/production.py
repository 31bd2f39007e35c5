"""Cases with the shapes of real traffic: whole on a GPU, scaled down elsewhere.

The shapes are those that `msa_fast.bench` times. Values are `hashed` small integers, made on the device,
so that these cases too are judged exactly.
"""

from collections.abc import Iterator

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan, ViewPlan, Views
from msa_ref import IndexerConfig

POOL_PAGES = 2**15
"""Pages that the decode grid's requests share: 1 GiB of bf16 keys, more than any cache holds."""
LONGEST = 2**20
"""MiniMax-M3's longest context."""
SHRINK = 128
"""Without a GPU lengths are divided by this much, with blocks of 16 tokens instead of 128."""


def production_cases(is_whole: bool, seed: int) -> Iterator[tuple[Case, str]]:
    """(case, kind), kind `prefill` or `decode`: every production shape.

    Args:
        is_whole: real sizes with MiniMax-M3's config; otherwise scaled down to the interpreter.
        seed: of the values and of the page order.
    """
    # Imported late: triton reads TRITON_INTERPRET once, when kernels are first imported.
    from msa_fast.bench.shapes import production_shapes

    shapes = production_shapes()
    shrink = 1 if is_whole else SHRINK
    config = IndexerConfig() if is_whole else IndexerConfig(4, 16, 16, 16, 0, 1)
    values = ValuePlan("hashed")
    token_major = Views(out=ViewPlan(axes=(1, 0, 2)), extra_rows=3)
    prefills = [(shape["query_len"], shape["seq_len"]) for shape in shapes["prefill_single_request"]]
    if is_whole:
        prefills.append((16, LONGEST))
    for query_len, seq_len in prefills:
        request = Request(max(2, query_len // shrink), max(2, seq_len // shrink))
        yield (
            Case(
                config=config,
                requests=(request,),
                seed=seed,
                values=values,
                pages=PagePlan(spare_pages=3, tail="bait"),
                views=token_major,
                note=f"production prefill: {query_len} new tokens, {seq_len} in all",
            ),
            "prefill",
        )
    if is_whole:
        yield _many_scores(seed), "prefill"
    grid = shapes["decode"]
    lens = [*grid["seq_len"], *([LONGEST] if is_whole else [])]
    for num_reqs in grid["num_reqs"] if is_whole else (1, 3):
        for seq_len in lens:
            for query_len in grid["decode_query_len"]:
                if seq_len == LONGEST and num_reqs > 4:
                    continue
                # Lengths fall a little from request to request: real batches are ragged.
                requests = tuple(
                    Request(query_len, max(query_len, seq_len // shrink - req * (17 if is_whole else 3)))
                    for req in range(num_reqs)
                )
                yield (
                    Case(
                        config=config,
                        requests=requests,
                        seed=seed,
                        values=values,
                        pages=PagePlan(pool_pages=POOL_PAGES if is_whole else 256, extra_blocks=1),
                        views=token_major,
                        num_splits=(0, 7) if is_whole else (0,),
                        note=f"production decode: {num_reqs} requests of {seq_len} tokens, {query_len} new each",
                    ),
                    "decode",
                )


def _many_scores(seed: int) -> Case:
    """Short vectors and small blocks, so that little work makes more than 2**31 scores of rows and blocks."""
    return Case(
        config=IndexerConfig(4, 16, 16, 16, 0, 1),
        requests=(Request(65_536, 140_000),),
        seed=seed,
        values=ValuePlan("hashed"),
        note="no shape of traffic: the offsets of scores pass 2**31",
    )

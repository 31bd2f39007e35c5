"""A few cases for the developer who has just saved a file: one of each kind of thing that breaks kernels."""

from fuzz.cases.case import Case, PagePlan, Request, Step, ValuePlan, ViewPlan, Views
from msa_ref import IndexerConfig


def smoke_cases(seed: int) -> list[Case]:
    """The cases, smallest first; each says in its note what it checks. seed: of values and page orders."""
    return [
        Case(
            note="decode, ties at the cut, several split counts, a repeated run",
            config=IndexerConfig(4, 16, 16, 3, 0, 1),
            requests=(Request(1, 150), Request(1, 17), Request(1, 96)),
            seed=seed,
            values=ValuePlan("few_values"),
            num_splits=(0, 1, 3),
            repeats=1,
        ),
        Case(
            note="speculative decode: a padding row, a sequence shorter than its query, a first and a local block",
            config=IndexerConfig(2, 32, 16, 5, 1, 1),
            requests=(Request(4, 130), Request(4, 3), Request(4, 0), Request(4, 64)),
            seed=seed,
            dtype="float16",
            values=ValuePlan("integers", is_future_best=True),
            pages=PagePlan(behind="minus_one", tail="inf"),
            num_splits=(0, 2),
        ),
        Case(
            note="scores that are NaN and infinite; three heads",
            config=IndexerConfig(3, 16, 16, 4, 0, 0),
            requests=(Request(2, 130), Request(1, 40)),
            seed=seed,
            dtype="float32",
            values=ValuePlan("nonfinite"),
        ),
        Case(
            note="finite poison that would win, shared and spare pages, a table wider than needed; sums that round",
            config=IndexerConfig(2, 32, 16, 4, 0, 0),
            requests=(Request(1, 100), Request(1, 70)),
            seed=seed,
            values=ValuePlan("normal"),
            pages=PagePlan(
                order="reversed", spare_pages=2, extra_blocks=3, behind="random", shared_blocks=2, tail="bait"
            ),
        ),
        Case(
            note="buffers that change between runs: grow, shrink, other pages, other values",
            config=IndexerConfig(1, 16, 16, 3, 0, 1),
            requests=(Request(1, 40), Request(1, 90)),
            seed=seed,
            replay=(
                Step((Request(1, 120), Request(1, 20)), is_remapped=True),
                Step((Request(1, 121), Request(1, 0)), values_seed=1, between="eager"),
            ),
        ),
        Case(
            note="strided inputs, a token-major output of more rows, host bounds that are too large; equal scores",
            config=IndexerConfig(4, 16, 16, 4, 0, 2),
            requests=(Request(3, 80), Request(3, 50)),
            seed=seed,
            values=ValuePlan("plateau"),
            views=Views(
                index_q=ViewPlan(pads=(0, 1, 0), offset=16),
                index_k_pages=ViewPlan(pads=(0, 1, 0)),
                block_table=ViewPlan(pads=(0, 3)),
                out=ViewPlan(axes=(1, 0, 2)),
                extra_rows=2,
            ),
            host_slack=20,
        ),
        Case(
            note="prefill of ragged lengths, one of them without a query; three heads",
            config=IndexerConfig(3, 16, 16, 4, 1, 1),
            requests=(Request(20, 70), Request(0, 0), Request(1, 33), Request(18, 18)),
            seed=seed,
            values=ValuePlan("tie_at_cut"),
        ),
        Case(
            note="a longer context, no score above 0: more blocks than slots, by far",
            config=IndexerConfig(2, 16, 16, 16, 0, 1),
            requests=(Request(2, 16 * 70 + 5),),
            seed=seed,
            values=ValuePlan("integers", is_negative=True),
            num_splits=(0, 5),
        ),
    ]

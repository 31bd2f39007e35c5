"""The dimensions of cases: one row each, with the buckets that a run should reach and those that a case reaches."""

from fuzz.cases import case_facts
from fuzz.cases.case import BEHIND, BETWEEN, PAGE_ORDERS, TAILS, ViewPlan
from fuzz.cases.dimension import Dimension, flags, ranges
from fuzz.cases.draw_plans import BETWEEN_WORDS
from fuzz.cases.neighbours import may_have_neighbours
from fuzz.cases.scale import WIDE_TABLE
from fuzz.cases.step_dimensions import STEP_DIMENSIONS
from fuzz.values.families import DRAWN_FAMILIES, FAMILIES

DIMENSIONS = (
    Dimension("heads", lambda scale: map(str, scale.heads), lambda case: [str(case.config.num_index_heads)]),
    Dimension("head_dim", lambda scale: map(str, scale.head_dims), lambda case: [str(case.config.index_head_dim)]),
    Dimension("block_size", lambda scale: map(str, scale.block_sizes), lambda case: [str(case.config.block_size)]),
    Dimension(
        "own shape",
        lambda scale: ("keys as they lie", "keys in a view") if scale.percent.own_shape else (),
        case_facts.own_shape,
    ),
    Dimension("dtype", lambda scale: scale.dtypes, lambda case: [case.dtype]),
    Dimension(
        "topk",
        lambda scale: map(case_facts.topk_words, scale.topk),
        lambda case: [case_facts.topk_words(case.config.topk_blocks)],
    ),
    flags(
        "forced",
        {
            "none": lambda case: case.config.forced_blocks == 0,
            "local": lambda case: case.config.local_blocks and not case.config.init_blocks,
            "init": lambda case: case.config.init_blocks and not case.config.local_blocks,
            "both": lambda case: case.config.init_blocks and case.config.local_blocks,
            "every slot": lambda case: case.config.forced_blocks == case.config.topk_blocks,
        },
        {
            "none": lambda scale: case_facts.forces(scale, init=False, local=False),
            "local": lambda scale: case_facts.forces(scale, init=False, local=True),
            "init": lambda scale: case_facts.forces(scale, init=True, local=False),
            "both": lambda scale: case_facts.forces(scale, init=True, local=True),
            "every slot": lambda scale: scale.bounds.init_blocks is None and scale.bounds.local_blocks is None,
        },
    ),
    Dimension(
        "values",
        lambda scale: [
            *(name for name in DRAWN_FAMILIES if scale.bounds.has_nonfinite or not FAMILIES[name].has_nonfinite),
            *(name for name, family in FAMILIES.items() if scale.percent.long and family.is_on_device),
        ],
        lambda case: [case.values.family],
    ),
    flags(
        "scaled values",
        {
            "yes": lambda case: case.values.log2_scale or case.values.log2_queries,
            "no": lambda case: not (case.values.log2_scale or case.values.log2_queries),
        },
    ),
    flags(
        "scores above 0",
        {"yes": lambda case: not case.values.is_negative, "no": lambda case: case.values.is_negative},
        {"yes": lambda scale: scale.percent.negative, "no": lambda scale: scale.percent.negative},
    ),
    flags(
        "best key",
        {
            "behind each query": lambda case: case.values.is_future_best,
            "anywhere": lambda case: not case.values.is_future_best,
        },
    ),
    Dimension(
        "blocks",
        lambda scale: ["0", "1", "2", "K-1", "K", "K+1", *map(str, sorted(scale.edges)), *map(str, scale.many_blocks)],
        case_facts.row_blocks,
    ),
    ranges(
        "query_len",
        {"0": 0, "1": 1, "2..8": 8, "9..32": 32},
        "33 and more",
        lambda case: [request.query_len for request in case_facts.all_requests(case)],
    ),
    Dimension(
        "lengths",
        lambda scale: (
            *("padding row", "shorter than its query")[: 2 * scale.bounds.has_padding],
            *("full last block", "one token in it", "all but one"),
        ),
        case_facts.length_words,
    ),
    Dimension("context % S", lambda scale: ("0", "1", "S-1", "other"), case_facts.context_rest),
    flags(
        "requests",
        {
            "1": lambda case: len(case.requests) == 1,
            "2": lambda case: len(case.requests) == 2,
            "3 and more": lambda case: len(case.requests) > 2,
            "without a query": lambda case: case.total_q == 0,
            "several to a program": case_facts.has_neighbours,
        },
        {"several to a program": may_have_neighbours},
    ),
    flags(
        "query tensor",
        {
            "as long as its requests": lambda case: not case.extra_queries,
            "longer": lambda case: case.extra_queries,
        },
        {"longer": lambda scale: scale.bounds.has_padded_queries},
    ),
    flags(
        "more than an array holds",
        {
            "33 requests": lambda case: len(case.requests) > 32,
            "65 requests": lambda case: len(case.requests) > 64,
            "257 requests": lambda case: len(case.requests) > 256,
            "1,025 requests": lambda case: len(case.requests) > 1_024,
            "65,536 requests": lambda case: len(case.requests) > 65_535,
            "257 tokens": lambda case: case.total_q > 256,
            "65,536 tokens": lambda case: case.total_q > 65_535,
            "129 blocks": lambda case: case.max_row_blocks > 128,
            "1,025 blocks": lambda case: case.max_row_blocks > 1_024,
            "300 blocks for 128 slots": lambda case: case.max_row_blocks >= 300 and case.config.topk_blocks == 128,
            "2,049 blocks in a band": lambda case: case.max_row_blocks > 2_048 and case.values.family == "band",
            "65,536 blocks": lambda case: case.max_row_blocks > 65_535,
            "13 heads": lambda case: case.config.num_index_heads > 12,
            "13 heads, more rows than a tile": lambda case: (
                case.config.num_index_heads > 12 and case_facts.query_rows(case) > 128
            ),
            "33 slots": lambda case: case.config.topk_blocks > 32,
            "65 rows of a request": lambda case: case_facts.query_rows(case) > 64,
        },
        {f"65,536 {what}": lambda scale: scale.is_compiled for what in ("requests", "tokens", "blocks")},
    ),
    Dimension("page order", lambda scale: PAGE_ORDERS, lambda case: [case.pages.order]),
    Dimension("behind the table", lambda scale: BEHIND, lambda case: [case.pages.behind]),
    Dimension("poison", lambda scale: TAILS, lambda case: [case.pages.tail]),
    flags(
        "pages",
        {
            "spare": lambda case: case.pages.spare_pages,
            "shared": lambda case: case.pages.shared_blocks,
            "twice in a row": case_facts.has_repeated_page,
            "tight": lambda case: case.pages.is_tight,
            "wide table": lambda case: case.pages.extra_blocks,
            "very wide table": lambda case: case.max_blocks >= WIDE_TABLE,
            "far": lambda case: case.pages.is_far,
            "far rows of a table": case_facts.has_far_rows,
        },
        {
            "very wide table": lambda scale: WIDE_TABLE in scale.table_blocks,
            "far": lambda scale: scale.has_far_pages,
            "far rows of a table": lambda scale: scale.has_far_pages and not scale.is_compiled,
        },
    ),
    flags(
        "views",
        {
            "plain": lambda case: not all(plan.offset for plan in case_facts.strided_views(case)),
            "offset": lambda case: any(plan.offset for plan in case_facts.strided_views(case)),
            "padded": lambda case: any(any(plan.pads) for plan in case_facts.strided_views(case)),
            "stepped": lambda case: any(plan.step > 1 for plan in case_facts.strided_views(case)),
            "transposed": lambda case: any(plan.axes for plan in case_facts.strided_views(case)),
            "expanded": lambda case: any(plan.expanded for plan in case_facts.strided_views(case)),
            "bytes between words": lambda case: case.views.index_k_pages in BETWEEN_WORDS and case.formats.keys.numbers,
            "fenced behind": lambda case: case.views.fence == "behind",
            "fenced in front": lambda case: case.views.fence == "in front",
        },
        {
            "offset": lambda scale: scale.bounds.strides != "aligned",
            "padded": lambda scale: scale.bounds.strides == "any",
            "stepped": lambda scale: scale.bounds.strides == "any",
            "expanded": lambda scale: scale.bounds.strides == "any" and not scale.is_compiled,
            "bytes between words": lambda scale: (
                scale.bounds.strides == "any" and not scale.is_compiled and "float8_e4m3fn/nvfp4" in scale.dtypes
            ),
            "transposed": lambda scale: scale.bounds.strides == "any",
            "fenced behind": lambda scale: scale.bounds.strides != "aligned",
        },
    ),
    flags(
        "out",
        {
            "plain": lambda case: case.views.is_out_given and case.views.out == ViewPlan(),
            "view": lambda case: case.views.is_out_given and case.views.out != ViewPlan(),
            "extra rows": lambda case: case.views.is_out_given and case.views.extra_rows,
            "allocated by the target": lambda case: not case.views.is_out_given,
        },
    ),
    flags("host bounds", {"exact": lambda case: not case.host_slack, "loose": lambda case: case.host_slack}),
    Dimension("splits", lambda scale: ("own", "1", "2..8", "9 and more", "more than blocks"), case_facts.split_words),
    flags(
        "replay",
        {
            "none": lambda case: not case.replay,
            "grows": case_facts.replay_test(lambda old, new: new.seq_len > old.seq_len),
            "shrinks": case_facts.replay_test(lambda old, new: 0 < new.seq_len < old.seq_len),
            "remapped": lambda case: any(step.is_remapped for step in case.replay),
            "new values": lambda case: any(step.values_seed for step in case.replay),
            "heads in reverse": lambda case: any(step.is_turned for step in case.replay),
            "a late query alone": lambda case: any(step.late == "query" for step in case.replay),
            "a late page alone": lambda case: any(step.late == "page" for step in case.replay),
            "late keys alone": lambda case: any(step.late == "keys" for step in case.replay),
            "query lengths": case_facts.replay_test(lambda old, new: new.query_len != old.query_len),
            "becomes padding": case_facts.replay_test(lambda old, new: old.seq_len and not new.seq_len),
            "appends": case_facts.replay_test(lambda old, new: old.seq_len and new.is_appended_to(old)),
            "starts": case_facts.replay_test(lambda old, new: new.seq_len and not old.seq_len),
            "trades lengths": case_facts.trades_lengths,
            "shrinks by a few blocks": case_facts.shrinks_a_little,
        },
        {
            "trades lengths": lambda scale: max(scale.max_reqs) > 1,
            "heads in reverse": lambda scale: max(scale.heads) > 1,
            "a late query alone": lambda scale: max(scale.heads) > 1,
        },
    ),
    Dimension(
        "between replays",
        lambda scale: ("nothing", *filter(None, BETWEEN)),
        lambda case: [step.between or "nothing" for step in case.replay],
    ),
    flags(
        "beside the runs",
        {
            "nothing": lambda case: not case.beside,
            "late producer": lambda case: case.beside == "late producer",
            "noise": lambda case: case.beside == "noise",
        },
        {"late producer": lambda scale: scale.percent.company, "noise": lambda scale: scale.percent.company},
    ),
    *STEP_DIMENSIONS,
    flags("first mode", {"none": lambda case: not case.first_mode, "inference": lambda case: case.first_mode}),
)
"""Every dimension. A row here is all that coverage, reports and the test of a default run need."""

GPU_ALONE = frozenset({("beside the runs", "late producer")})
"""(dimension, bucket) of what only a GPU tries: on a CPU such a case is judged without it, and does not count."""

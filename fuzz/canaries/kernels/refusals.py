"""Mutants of the launchers' checks: a bad call is taken, and does whatever it does, or a good one is refused."""

from fuzz.canaries.kernels.mutant import mutants_of

_checks = mutants_of("ops/checks.py", "decode")

MUTANTS = [
    mutants_of("ops/buffers.py", "decode")(
        "out_unchecked",
        "A given output is not checked.",
        "    check_out(out, batch)\n",
        "",
        ("Refuses",),
    ),
    _checks(
        "out_may_overlap",
        "A given output may overlap itself.",
        '    require_no_overlap(out, "out")\n',
        "",
        ("Refuses",),
    ),
    _checks(
        "out_overlap_forgets_an_element",
        "An output in which axes overlap by a few elements is taken.",
        "reach += (size - 1) * stride",
        "reach += (size - 2) * stride",
        ("Refuses",),
    ),
    _checks(
        "out_without_rows_unchecked",
        "A given output without rows is not checked.",
        "out.shape[1] >= batch.total_q and",
        "(out.shape[1] == 0 or out.shape[1] >= batch.total_q) and",
        ("Refuses", "Runs"),
    ),
    _checks(
        "half_of_the_columns",
        "A block table of more than 524,288 columns is refused.",
        "MAX_ROW_BLOCKS = 1 << 20",
        "MAX_ROW_BLOCKS = 1 << 19",
        ("Runs",),
    ),
    _checks(
        "config_unchecked",
        "A batch's config is not checked.",
        "    check_config(batch.config)\n",
        "",
        ("Refuses",),
    ),
    _checks(
        "formats_unchecked",
        "A batch's formats are not checked.",
        "    check_formats(batch.query_format, batch.key_format, batch.config)\n",
        "",
        ("Refuses",),
    ),
    _checks(
        "page_reach_unchecked",
        "Pages whose elements lie further apart than 32 bits count are taken.",
        '    check_reach(batch.index_k_pages, "index_k_pages", "page", 1, 2)\n',
        "",
        ("Refuses",),
        defect="D26",
    ),
    mutants_of("ops/decode.py", "decode")(
        "num_splits_unchecked",
        "A split count of decode is not checked.",
        "    check_num_splits(num_splits)\n",
        "",
        ("Refuses",),
    ),
    mutants_of("ops/decode.py", "decode")(
        "decode_shapes_unchecked",
        "The shapes of a decode batch are not checked.",
        "    check_decode(decode_query_len, batch.num_reqs, batch.total_q, batch.max_blocks)\n",
        "",
        ("Refuses",),
    ),
    mutants_of("ops/decode_topk.py", "decode-topk")(
        "decode_score_unchecked",
        "Scores that are given to decode's selection are not checked.",
        "    check_score(score, batch)\n",
        "",
        ("Refuses",),
    ),
    mutants_of("ops/topk.py", "topk")(
        "topk_score_unchecked",
        "Scores that are given to prefill's selection are not checked.",
        "    check_score(score, batch)\n",
        "",
        ("Refuses",),
    ),
    mutants_of("ops/score.py", "prefill-apart")(
        "score_out_unchecked",
        "Memory that is given for prefill's scores is not checked.",
        "    check_score(score, batch)\n",
        "",
        ("Refuses",),
    ),
    mutants_of("ops/prefill.py", "prefill")(
        "plan_unchecked",
        "A prefill plan is not held against the batch.",
        "    check_plan(plan, batch)\n",
        "",
        ("Refuses",),
    ),
]

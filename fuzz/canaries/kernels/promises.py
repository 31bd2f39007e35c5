"""Mutants of what the engine's classes promise beside answers, and of what they keep of other products and views."""

from fuzz.canaries.kernels.mutant import mutants_of

_split = mutants_of("attention_metadata.py", "step")
_metadata = mutants_of("indexer_metadata.py", "step")
_base = mutants_of("indexer.py", "step-graph")
_bound = mutants_of("ops/bound.py", "step")
_product = mutants_of("ops/product.py", "step")
_repeat = mutants_of("ops/launch_repeat.py", "step")

MUTANTS = [
    _bound(
        "step_refused_tensors_count_as_checked",
        "Tensors of a kind that was refused are taken the second time.",
        "        if is_checked:\n",
        "        self._kinds.add_checked(kind)\n        if is_checked:\n",
        ("Refuses", "Runs"),
    ),
    _bound(
        "step_product_of_another_layer",
        "A layer has the product of the layer that was bound first, which may be e4m3's own.",
        "num_splits, product,\n            )",
        "num_splits,\n            )",
        ("Best", "Exact"),
        defect="D54",
    ),
    _product(
        "step_product_refused_at_its_least_dim",
        "Products in e4m3 are refused at the least dim of a head that they are made for.",
        "dim >= MIN_FP8_DIM, ",
        "dim > MIN_FP8_DIM, ",
        ("Runs",),
    ),
    _repeat(
        "bound_views_end_with_their_numbers",
        "A view is taken to be as long as its numbers side by side, so that later rows are taken for other memory.",
        "return Span(start, start + reach * tensor.itemsize)",
        "return Span(start, start + tensor.nbytes)",
        ("Best", "Runs"),
        defect="D29",
    ),
    _split(
        "step_ends_at_an_empty_request",
        "A request without a token ends a step, whatever comes behind it.",
        "    num_live = len(lens)\n",
        "    num_live = lens.index(0) if 0 in lens else len(lens)\n",
        ("Shape", "Runs"),
        defect="D30",
    ),
    _metadata(
        "step_context_of_the_longest",
        "The context of every prefill is counted as if it had as many tokens as the longest.",
        "self.seq_lens - self.cu_seqlens_q.diff()",
        "self.seq_lens - self.max_query_len",
        ("Exact",),
        defect="D19",
    ),
    _base(
        "step_refused_builds_count",
        "Metadata is too old as soon as its builder has refused another step.",
        "        lens = host_lens(common)\n        device, table",
        "        self._builds.newest += 1\n        lens = host_lens(common)\n        device, table",
        ("Runs",),
        target="step",
    ),
    _base(
        "step_captures_prefills",
        "A step with prefills is captured, too.",
        "metadata.num_decodes == common_attn_metadata.num_reqs and metadata.num_decodes > 0",
        "metadata.num_decodes + metadata.num_prefills == common_attn_metadata.num_reqs and metadata.num_decodes > 0",
        ("Refuses",),
    ),
    _base(
        "step_padding_kept_by_prefills",
        "A step with prefills leaves the slots behind its decodes as an earlier step filled them.",
        "if num_decodes < self._num_filled:",
        "if num_decodes < self._num_filled and not split.num_prefills:",
        ("Visible", "Count", "PaddedTail", "WritesOnly"),
        defect="D17",
    ),
]

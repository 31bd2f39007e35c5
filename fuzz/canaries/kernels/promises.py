"""Mutants of what the engine's classes promise beside answers, and of what they keep of other products and views."""

from fuzz.canaries.kernels.mutant import mutants_of

_split = mutants_of("attention_metadata.py", "step")
_metadata = mutants_of("indexer_metadata.py", "step")
_base = mutants_of("indexer.py", "step-graph")
_bound = mutants_of("ops/bound.py", "step")
_product = mutants_of("ops/product.py", "step")
_repeat = mutants_of("ops/launch_repeat.py", "step")
_graph = mutants_of("graph.py", "step-graph")
_decode = mutants_of("ops/decode.py", "step")
_decode_topk = mutants_of("ops/decode_topk.py", "step")
_scores = mutants_of("ops/score.py", "step")
_nvfp4 = mutants_of("ops/nvfp4.py", "step")
_tma = mutants_of("ops/nvidia/tma.py", "step")
_vendor = mutants_of("fmha_sm100.py", "step")
_msa = mutants_of("indexer_msa.py", "step")

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
    _bound(
        "step_queries_of_another_format",
        "A layer runs the launches of one whose queries have another dtype.",
        "q.shape, q.stride(), q.dtype, q.device, q_address & 15,",
        "q.shape, q.stride(), q.device, q_address & 15,",
        ("Best", "Exact"),
        defect="D54",
    ),
    _bound(
        "step_product_of_a_checked_layer",
        "A layer may have any product once another one of its kind was checked.",
        "kind = q.shape[1:], *key[1:]\n",
        "kind = q.shape[1:], *key[1:-1]\n",
        ("Refuses",),
        defect="D54",
    ),
    _bound(
        "step_out_of_too_few_rows",
        "A later step takes memory of any number of rows, if it is of a kind that was checked.",
        " and q.shape[0] >= self._tokens.stop <= out.shape[1]",
        " and q.shape[0] >= self._tokens.stop",
        ("Refuses",),
    ),
    _bound(
        "step_out_of_heads_that_overlap",
        "A later step takes memory whose heads overlap, if fewer rows did not.",
        '        require_no_overlap(own_out, "out")  # some rows may overlap where fewer did not\n',
        "",
        ("Refuses",),
    ),
    _product(
        "step_product_of_wide_queries",
        "Queries of 16 bits are taken with e4m3's own products.",
        'require(formats == ("e4m3", "e4m3"), "product",',
        'require(formats[1] == "e4m3", "product",',
        ("Refuses", "Runs"),
        defect="D54",
    ),
    _base(
        "step_slot_of_any_micro_batch",
        "A buffer without slots takes every micro-batch.",
        "        if micro_batch >= num_slots or num_tokens > max_tokens:\n",
        "        micro_batch = micro_batch if num_slots > 1 else 0\n"
        "        if micro_batch >= num_slots or num_tokens > max_tokens:\n",
        ("Refuses",),
        target="step",
    ),
    _base(
        "step_slots_in_one_memory",
        "The slots of a buffer may be one memory.",
        "        require_no_overlap(buffer, name)\n",
        "        require_no_overlap(buffer if buffer.ndim == 3 or not len(buffer) else buffer[0], name)\n",
        ("Refuses",),
        target="step",
    ),
    _graph(
        "step_of_another_builder",
        "A graph is replayed for another builder's step of the same micro-batch.",
        "metadata.decode.seq_lens.data_ptr() == captured.decode.seq_lens.data_ptr()",
        "metadata.micro_batch == captured.micro_batch",
        ("Refuses",),
        defect="D19",
    ),
    _split(
        "step_table_of_fewer_requests",
        "A block table may have fewer rows than the step has requests.",
        " and table.shape[0] >= num_reqs\n",
        "\n",
        ("Refuses", "Runs"),
    ),
    _split(
        "step_longer_than_its_bound",
        "An engine's upper bounds may be above the bound of all lengths.",
        "    if longest > max_seq_len:\n",
        '    if longest > max_seq_len and name == "seq_lens_cpu":\n',
        ("Refuses",),
    ),
    _msa(
        "step_fast_build_keeps_the_plan",
        "A fast build of as many tokens keeps the plan of the step before.",
        "        plan = self._planner.plan(query_lens, seq_lens_cpu, num_splits)\n",
        """        kept = self.__dict__.setdefault("_last", {})
        if not fast_build or kept.get("lens") != query_lens:
            kept["plan"] = self._planner.plan(query_lens, seq_lens_cpu, num_splits)
        kept["lens"], plan = query_lens, kept["plan"]
""",
        ("Replay", "Best", "Forced", "Visible", "WritesAll", "Distinct"),
        defect="D19",
    ),
    _split(
        "step_offsets_without_an_end",
        "A step is built whose offsets on the device lack the end of the last request.",
        "has_entries = start_loc.numel() > num_reqs <= device_lens.numel()",
        "has_entries = start_loc.numel() >= num_reqs <= device_lens.numel()",
        ("Refuses",),
    ),
    _msa(
        "step_buffer_of_one_side",
        "A buffer that holds a step's decodes, and its prefills, but not both, is refused after decodes are written.",
        "end = attn_metadata.num_decode_tokens + attn_metadata.num_prefill_tokens",
        "end = max(attn_metadata.num_decode_tokens, attn_metadata.num_prefill_tokens)",
        ("Refuses",),
    ),
    mutants_of("prefill_scorer.py", "step")(
        "step_missing_scorer_replaced",
        "A prefill scorer whose package is not there is replaced.",
        'require(is_there, "prefill_scorer", f"{only} the package fmha_sm100 is importable", "no such package")',
        'if not is_there:\n            return PREFILL_SCORERS["triton"]',
        ("Refuses",),
    ),
    mutants_of("indexer_backend.py", "step")(
        "step_cache_of_whole_bytes",
        "An engine is told to allocate a byte for each element of NVFP4 keys.",
        "_kv_format(indexer_kv_dtype).row_len(head_size))",
        "head_size)",
        ("Exact",),
    ),
    _tma(
        "descriptor_of_the_first_tensor_there",
        "A tensor descriptor is kept by where its tensor begins.",
        "    return TensorDescriptor.from_tensor(rows, shape, layout)",
        """    kept = _tiles.__dict__.setdefault("kept", {})
    return kept.setdefault((rows.data_ptr(), rows.dtype, *shape), TensorDescriptor.from_tensor(rows, shape, layout))""",
        ("Exact",),
        defect="D19",
    ),
    _decode_topk(
        "decode_selection_of_the_first_call",
        "The selection that served an indexer's first call on a GPU serves all others.",
        "    return next(selection for selection in DECODE_SELECTIONS if selection.is_served(batch))",
        """    found = (selection for selection in DECODE_SELECTIONS if selection.is_served(batch))
    return decode_selection.__dict__.setdefault((batch.config, batch.device), next(found))""",
        ("Best",),
        defect="D19",
    ),
    _decode(
        "decode_interleaved_for_any_scorer",
        "Scores lie interleaved where the selection wants it, though the scorer knows no such scores.",
        "is_interleaved = scorer.TAKES_INTERLEAVED and selection.is_interleaved(batch)",
        "is_interleaved = selection.is_interleaved(batch)",
        ("Best",),
        defect="D22",
    ),
    _scores(
        "scores_of_one_shape_in_one_memory",
        "Scores of one shape lie in one memory, call by call.",
        "score = new_score(batch, is_block_major=True) if out is None else out",
        """kept = minimax_m3_index_score.__dict__.setdefault("kept", {})
    key = batch.total_q, batch.max_blocks, batch.config, batch.device
    score = kept.setdefault(key, new_score(batch, is_block_major=True)) if out is None else out""",
        ("OwnMemory",),
        defect="D21",
    ),
    _nvfp4(
        "words_of_the_first_pages_there",
        "Words of NVFP4 pages are kept by where the pages begin and their shape.",
        "    return pages.view(torch.int64) if is_nvfp4 and all(place % 8 == 0 for place in places) else pages",
        """    if not is_nvfp4 or any(place % 8 for place in places):
        return pages
    kept = in_words.__dict__.setdefault("kept", {})
    return kept.setdefault((pages.data_ptr(), *pages.shape), pages.view(torch.int64))""",
        ("Exact",),
        defect="D19",
    ),
    _vendor(
        "vendor_plan_by_identity",
        "The vendor's plan is kept by the number that Python knows a step's plan by, which a later plan may have.",
        "_PLANS: WeakKeyDictionary[PrefillPlan, _Planned] = WeakKeyDictionary()",
        """class _ById(dict):
    def __contains__(self, plan):
        return super().__contains__(id(plan))
    def __getitem__(self, plan):
        return super().__getitem__(id(plan))
    def __setitem__(self, plan, planned):
        super().__setitem__(id(plan), planned)
_PLANS = _ById()""",
        ("Score", "Runs"),
        defect="D19",
    ),
    _vendor(
        "vendor_pages_of_a_full_last_block",
        "The list of pages has one page too many of a request that fills its last one.",
        "batch.config.num_blocks(seq_len) for",
        "seq_len // PAGE_SIZE + 1 for",
        ("Score", "Runs"),
        defect="D12",
    ),
    _graph(
        "graph_of_no_idle_step",
        "A captured step of decodes is not replayed for a step without a live request.",
        "if metadata.decode is None:\n        return",
        "assert metadata.decode is not None",
        ("Runs",),
        defect="D51",
    ),
]

"""Mutants of the engine's classes: what one step keeps of another, what they are given, and what they must refuse."""

from fuzz.canaries.kernels.mutant import mutants_of

_split = mutants_of("attention_metadata.py", "step")
_base = mutants_of("indexer.py", "step-graph")
_msa = mutants_of("indexer_msa.py", "step")
_bound = mutants_of("ops/bound.py", "step")
_graph = mutants_of("graph.py", "step-graph")

MUTANTS = [
    _msa(
        "step_tokens_of_the_first_step",
        "A layer has rows for as many tokens as its first step brought.",
        "slot = self.topk_slot(attn_metadata.micro_batch, end)",
        """slot = self.topk_slot(attn_metadata.micro_batch, end)
        if len(self._slots) == 1:
            slot = slot[:, : self.__dict__.setdefault("most", end)]""",
        ("Replay", "Runs"),
        defect="D19",
    ),
    _msa(
        "step_lengths_where_they_were",
        "Prefills read their lengths where an earlier step of as many requests had them.",
        "seq_lens = part_of(common.seq_lens, num_reqs, first_row=first)",
        'seq_lens = self.__dict__.setdefault("kept", {}).setdefault((first, num_reqs),'
        " part_of(common.seq_lens, num_reqs, first_row=first))",
        ("Replay", "Best", "Visible", "Count", "Runs"),
        defect="D19",
    ),
    _msa(
        "step_table_where_it_was",
        "Prefills read the block table where an earlier step of its shape had it.",
        "block_table = part_of(common.block_table_tensor, num_reqs, num_blocks, first_row=first)",
        'block_table = self.__dict__.setdefault("kept", {}).setdefault((first, num_reqs, num_blocks),'
        " part_of(common.block_table_tensor, num_reqs, num_blocks, first_row=first))",
        ("Replay", "Best", "Runs"),
        defect="D19",
    ),
    _base(
        "step_padding_of_its_own_requests",
        "Of the slots behind a step's decodes only those become padding that the step itself has.",
        "self._seq_lens[num_decodes : self._num_filled].zero_()",
        "self._seq_lens[num_decodes : common.num_reqs].zero_()",
        ("Visible", "Count", "PaddedTail", "WritesOnly"),
        defect="D17",
    ),
    _bound(
        "step_rows_of_a_checked_kind_unchecked",
        "A layer of a kind that an earlier one checked may have fewer queries than the step has tokens.",
        "is_checked = kind in self._kinds.checked and q.shape[0] >= self._tokens.stop <= out.shape[1]",
        "is_checked = kind in self._kinds.checked",
        ("Refuses",),
    ),
    _split(
        "step_without_lengths_of_the_host",
        "An upper bound on the lengths is only looked for where the engine's object does not have the lengths' name.",
        'if lens_cpu is None and hasattr(common, "seq_lens_cpu_upper_bound"):',
        'if not hasattr(common, "seq_lens_cpu") and hasattr(common, "seq_lens_cpu_upper_bound"):',
        ("Runs",),
    ),
    _split(
        "step_lengths_by_their_name_alone",
        "The lengths must have the name that our own object gives them.",
        'if lens_cpu is None and hasattr(common, "seq_lens_cpu_upper_bound"):',
        "if False:",
        ("Runs",),
    ),
    _msa(
        "step_own_scorer_from_the_first_row",
        "Behind a scorer of the caller's own, prefill is selected into the rows of decodes.",
        "return minimax_m3_index_topk(score, batch, prefill.plan, out)",
        "return minimax_m3_index_topk(score, batch, prefill.plan, slot)",
        ("Best", "Shape", "WritesAll"),
        defect="D30",
    ),
    _msa(
        "step_own_scorer_fills_what_it_is_given",
        "Scores that a caller's own scorer returns in memory of its own are never read.",
        "score = self._score(batch, prefill.plan, new_score(batch, is_block_major=True))",
        "score = new_score(batch, is_block_major=True)\n        self._score(batch, prefill.plan, score)",
        ("Best", "Forced", "Runs"),
    ),
    _msa(
        "step_takes_old_metadata",
        "The metadata of a step is taken after its builder has built another one.",
        "        attn_metadata.require_newest()\n",
        "",
        ("Refuses",),
        defect="D19",
    ),
    _graph(
        "step_replays_old_metadata",
        "A captured step is replayed for metadata whose builder has built another step since.",
        "    metadata.require_newest()\n",
        "",
        ("Refuses",),
        defect="D19",
    ),
]

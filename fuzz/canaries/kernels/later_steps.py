"""Mutants of launches that a later step, layer or thread repeats on a GPU: what a kind must say, or a copy bring."""

from fuzz.canaries.kernels.mutant import mutants_of

_known = mutants_of("ops/known_kernels.py", "decode-bound", "gpu", "far memory")
_kind = mutants_of("ops/known_kernels.py", "step")
_driver = mutants_of("ops/driver_launch.py", "step", "gpu")
_threads = mutants_of("ops/cuda_driver.py", "decode-bound", "gpu")
_kinds = mutants_of("ops/step_kinds.py", "step", "gpu")
_own = mutants_of("ops/step_kinds.py", "step")

MUTANTS = [
    _known(
        "bound_strides_of_33_bits",
        "A kernel that was compiled for numbers of 32 bits is launched with greater ones.",
        "bits = 0 if -(1 << 31) <= value < 1 << 31 else 1",
        "bits = 0 if -(1 << 33) <= value < 1 << 33 else 1",
        ("Best", "Runs", "Replay"),
        defect="D26",
    ),
    _kind(
        "step_numbers_of_33_bits_below",
        "A number from 2**31 to 2**32, which 32 bits hold without a sign alone, is of the kind of smaller ones.",
        "bits = 0 if -(1 << 31) <= value < 1 << 31 else 1",
        "bits = 0 if -(1 << 31) <= value < 1 << 32 else 1",
        ("Exact",),
        defect="D26",
    ),
    _kind(
        "step_numbers_of_any_multiple",
        "A number that is no multiple of 16 is of the kind of one that is.",
        "2 * bits + (value & 15 == 0)",
        "2 * bits",
        ("Exact",),
    ),
    _kind(
        "step_ones_as_other_numbers",
        "A number 1, for which a kernel is compiled apart, is of the kind of others.",
        "-1 if value == 1 else 2 * bits",
        "2 * bits",
        ("Exact",),
    ),
    _kind(
        "step_tensors_at_any_address",
        "A tensor at an address that 16 does not divide is of the kind of one at such an address.",
        "(value.dtype, value.data_ptr() & 15)",
        "(value.dtype, value.data_ptr() & 7)",
        ("Exact",),
    ),
    _kind(
        "step_tensors_of_any_dtype",
        "Tensors of all dtypes of one size are of one kind.",
        "(value.dtype, value.data_ptr() & 15)",
        "(value.dtype.itemsize, value.data_ptr() & 15)",
        ("Exact",),
    ),
    _kind(
        "step_kernels_of_any_device",
        "A kernel that is loaded on one device serves launches on another.",
        "[id(kernel), device, *options.items()]",
        "[id(kernel), *options.items()]",
        ("Exact",),
    ),
    _driver(
        "step_map_ends_with_the_first_step",
        "The tensor map of a later step's queries has no more rows than that of the first one of its kind.",
        "map_at = maps_of(dtype, (num_queries, *shape[1:]), strides, box, swizzle)",
        "map_at = maps_of(dtype, (min(num_queries, shape[0]), *shape[1:]), strides, box, swizzle)",
        ("Best", "Replay", "Runs"),
        needs=("gpu", "Hopper"),
        defect="D19",
    ),
    _threads(
        "bound_in_the_first_thread_alone",
        "A thread that has not used the GPU yet cannot repeat what another one bound.",
        "INVALID_CONTEXT = 201",
        "INVALID_CONTEXT = 202",
        ("Runs",),
    ),
    _threads(
        "first_bound_in_a_thread_of_context",
        "A thread that has not used the GPU yet cannot bind a layer.",
        "_here.has_context or not torch.cuda.is_initialized()",
        "True",
        ("Runs",),
        needs=("gpu", "Hopper"),
    ),
    _kinds(
        "step_scores_of_the_first_step",
        "A later step lays out scores as the first one of its kind, whose rows were shorter.",
        "scores_of_row(num_blocks, plan.superblock), (num_blocks - 1).bit_length(),",
        "(num_blocks - 1).bit_length(),",
        ("Best", "Replay", "Runs"),
        defect="D19",
    ),
    _kinds(
        "step_lengths_in_the_first_strides",
        "Lengths, offsets and tables of a later step are read in the strides of the first one of its kind.",
        "            self.block_table.stride(), self.seq_lens.stride(), self.cu_seqlens_q.stride(),\n",
        "",
        ("Best", "Visible", "Count", "Replay", "Runs"),
        defect="D25",
    ),
    _kinds(
        "step_columns_of_the_first_step",
        "A later step reads no more columns of the block table than the first one of its kind.",
        "values.append((part.columns, step.block_table.shape[1]))",
        "values.append((part.columns, part.launch._values[part.columns]))",
        ("Best", "Replay", "Runs"),
        defect="D22",
    ),
    _own(
        "step_blocks_of_another_round",
        "A step whose rows are just longer than those of a round of the selection is launched as one of that round.",
        "(num_blocks - 1).bit_length(),",
        "num_blocks.bit_length(),",
        ("Exact",),
    ),
    _own(
        "step_rows_of_another_tile",
        "A step is launched as one whose longest query tile has fewer rows.",
        "self.tokens.start, plan.max_tile_rows, len(plan.slabs),",
        "self.tokens.start, plan.max_tile_rows.bit_length(), len(plan.slabs),",
        ("Exact",),
    ),
    _own(
        "step_first_token_of_another",
        "A step whose prefills begin behind some decodes is launched as one with fewer decodes.",
        "self.tokens.start, plan.max_tile_rows,",
        "self.tokens.start > 0, plan.max_tile_rows,",
        ("Exact",),
    ),
    mutants_of("ops/bound.py", "step")(
        "step_queries_in_the_first_strides",
        "Queries that are a slice of a wider projection are read in the strides of queries that are none.",
        "kind = q.shape[1:], *key[1:]",
        "kind = q.shape[1:], *key[2:]",
        ("Exact",),
    ),
    _kind(
        "step_kernels_of_any_short_floats",
        "A kernel compiled for tensor descriptors of bf16 serves those of fp16.",
        "parts.append((value.base.dtype, tuple",
        "parts.append((value.base.element_size(), tuple",
        ("Exact",),
    ),
    mutants_of("ops/launching.py", "step")(
        "launcher_of_all_threads",
        "While a thread binds a layer, launches of other threads become part of its binding.",
        "class _Here(threading.local):",
        "class _Here:",
        ("TwoThreads",),
    ),
    mutants_of("ops/binding.py", "step")(
        "bound_scores_in_one_memory",
        "All calls of a binding have their scores in the same memory, those on two streams at once, too.",
        "memory = torch.empty(self.num_bytes, dtype=torch.uint8, device=self.device)",
        """memory = vars(self).setdefault(
            "_memory", torch.empty(self.num_bytes, dtype=torch.uint8, device=self.device)
        )""",
        ("OwnMemory",),
    ),
    mutants_of("ops/plan_memory.py", "step")(
        "step_slots_of_inference_mode",
        "Memory of plans that is made in inference mode cannot be filled outside of it.",
        "with torch.inference_mode(False):  # a tensor",
        "with torch.no_grad():  # a tensor",
        ("Runs",),
    ),
    mutants_of("ops/binding.py", "step")(
        "bound_scores_within_each_other",
        "Scores of a repeated layer begin where those before them have not ended.",
        "sizes = [-(-size // MEMORY_STEP) * MEMORY_STEP for size in score_bytes]",
        "sizes = [size // MEMORY_STEP * MEMORY_STEP for size in score_bytes]",
        ("OwnMemory",),
    ),
    mutants_of("ops/bound.py", "step")(
        "bound_kinds_without_end",
        "A launch keeps what it bound for all kinds of layers that it ever met.",
        "            self._bindings.clear()\n",
        "            pass\n",
        ("Workspace",),
    ),
    _own(
        "step_kinds_without_end",
        "A builder keeps what it bound for all kinds of layers that it ever met.",
        "                self.patterns.clear()\n",
        "                pass\n",
        ("Workspace",),
    ),
    mutants_of("ops/plan_memory.py", "step")(
        "step_streams_without_end",
        "A builder keeps memory for plans on all streams that it was ever called on.",
        "len(self._slots) >= MAX_STREAMS",
        "len(self._slots) >= 1 << 20",
        ("Workspace",),
    ),
    mutants_of("ops/launch_repeat.py", "step")(
        "bound_layer_kept_alive",
        "A bound launch keeps the queries and keys of the layer that it was bound for, where Triton repeats launches.",
        "self._args.append(value if found is None else None)",
        "self._args.append(value)",
        ("OwnMemory",),
    ),
    mutants_of("ops/launch_repeat.py", "step")(
        "bound_descriptor_as_a_tensor",
        "A tensor descriptor of another layer's keys is passed as the keys themselves.",
        "return own if self.descriptor is None else self.descriptor[0](base=own, **self.descriptor[1])",
        "return own",
        ("Exact",),
    ),
    mutants_of("ops/prefill_plan.py", "step")(
        "plan_of_tokens_before_all_keys",
        "A query tile whose tokens see nothing is planned with fewer than no blocks.",
        "-(-np.maximum(visible_len, 0) // config.block_size)",
        "-(-visible_len // config.block_size)",
        ("Runs", "Score"),
    ),
]

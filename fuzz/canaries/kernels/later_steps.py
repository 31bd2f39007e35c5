"""Mutants of launches that a later step, layer or thread repeats on a GPU: what a kind must say, or a copy bring."""

from fuzz.canaries.kernels.mutant import mutants_of

_known = mutants_of("ops/known_kernels.py", "decode-bound", "gpu", "far memory")
_driver = mutants_of("ops/driver_launch.py", "step", "gpu")
_kinds = mutants_of("ops/step_kinds.py", "step", "gpu")

MUTANTS = [
    _known(
        "bound_strides_of_33_bits",
        "A kernel that was compiled for numbers of 32 bits is launched with greater ones.",
        "bits = 0 if -(1 << 31) <= value < 1 << 31 else 1",
        "bits = 0 if -(1 << 33) <= value < 1 << 33 else 1",
        ("Best", "Runs", "Replay"),
        defect="D26",
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
    _driver(
        "bound_in_the_first_thread_alone",
        "A thread that has not used the GPU yet cannot repeat what another one bound.",
        "_INVALID_CONTEXT = 201",
        "_INVALID_CONTEXT = 202",
        ("Runs",),
        target="decode-bound",
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
        "            table.stride(), self.seq_lens.stride(), self.cu_seqlens_q.stride(),\n",
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
]

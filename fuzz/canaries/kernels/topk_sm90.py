"""Mutants of decode's selection on Hopper: its reads of several scores, and what passes between its two rounds."""

from fuzz.canaries.kernels.mutant import gpu_mutants

_mutant = gpu_mutants("topk_sm90", "ops/topk_sm90.py", "decode")

MUTANTS = [
    _mutant(
        "whole_vectors_alone",
        "Scores that are read at once with a score of no visible block are not read.",
        "mask=blocks // VECTOR * VECTOR < num_visible",
        "mask=blocks // VECTOR * VECTOR + VECTOR <= num_visible",
        "Best",
    ),
    _mutant(
        "half_the_width",
        "The second half of the first round's candidates has no thread.",
        "max(LEAST_WIDTH, next_power_of_2(candidates))",
        "max(LEAST_WIDTH, next_power_of_2(candidates) // 2)",
        "Best",
        "Forced",
        "Count",
        defect="D04",
    ),
    _mutant(
        "kept_rounded_down",
        "A row's last partial run is not counted among those to keep.",
        "kept = gl.minimum((num_visible + LENGTH - 1) // LENGTH, TOPK)",
        "kept = gl.minimum(num_visible // LENGTH, TOPK)",
        "Best",
        "Forced",
        "Count",
    ),
    _mutant(
        "kept_one_fewer",
        "One run fewer than there are slots is kept.",
        "kept = gl.minimum((num_visible + LENGTH - 1) // LENGTH, TOPK)",
        "kept = gl.minimum((num_visible + LENGTH - 1) // LENGTH, TOPK - 1)",
        "Best",
        "Forced",
    ),
    _mutant(
        "slot_of_a_vector",
        "A kept run is read by half of the threads that should.",
        "slot = vector // (LENGTH // VECTOR)",
        "slot = vector // LENGTH",
        "Distinct",
        "Best",
        "Runs",
    ),
    _mutant(
        "part_of_a_run",
        "All threads of a kept run read its first scores.",
        "vector % (LENGTH // VECTOR) * VECTOR",
        "vector % (LENGTH // VECTOR)",
        "Distinct",
        "Best",
        "Count",
    ),
    _mutant(
        "empty_slots_are_run_0",
        "Slots without a run hold run 0 in the second round.",
        "gl.where(slot < kept, run, num_visible)",
        "run",
        "Distinct",
        "Best",
        "Runs",
    ),
    _mutant(
        "kept_stride",
        "Runs are read back as if slots were contiguous.",
        "run = gl.load(out_row + slot * stride_out_k",
        "run = gl.load(out_row + slot",
        "Best",
        "Runs",
        "Distinct",
        defect="D29",
    ),
    _mutant(
        "first_pad_forgotten",
        "The slot behind a short row's last id is left as it is.",
        "mask=(slot >= selected)",
        "mask=(slot > selected)",
        "WritesAll",
        "PaddedTail",
    ),
]

"""Mutants of what a warp's threads tell each other in the selection by single warps: its search, votes and values."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/nvidia/warp_votes.py", "decode-topk", "gpu")

MUTANTS = [
    _mutant(
        "votes_sm90_slot_one_late",
        "A thread counts its own vote among those before it.",
        "%lanemask_lt",
        "%lanemask_le",
        ("WritesAll", "WritesOnly", "Best", "Runs"),
    ),
    _mutant(
        "votes_sm90_runs_in_a_lane_side_by_side",
        "Runs that are dealt to lanes in turns are numbered as if each lane held neighbours.",
        "if is_it.shape[2] == BESIDE:",
        "if is_it.shape[2] >= BESIDE:",
        ("Order", "Best", "Distinct"),
    ),
    _mutant(
        "votes_sm90_blocks_in_turns",
        "Blocks that lie side by side in a lane are numbered as if they were dealt to lanes in turns.",
        "gl.sum(lanes_before, axis=2)[:, :, None] + tl.cumsum(own, axis=2) - own",
        "lanes_before + tl.cumsum(lanes, axis=2) - lanes",
        ("Order", "Best"),
    ),
    _mutant(
        "votes_sm90_vectors_of_turns_before",
        "Of vectors that are dealt to lanes in turns, those of turns before are not counted.",
        "gl.broadcast((turns_before + lanes_before)[:, :, :, None]",
        "gl.broadcast(lanes_before[:, :, :, None]",
        ("Order", "Best", "Distinct"),
    ),
    _mutant(
        "votes_sm90_vectors_counted_from_their_first",
        "Of vectors that are dealt to lanes in turns, the candidates before one in its own vector are not counted.",
        "before.reshape(is_it.shape), is_it.type.layout) + own_before",
        "before.reshape(is_it.shape), is_it.type.layout)",
        ("Order", "Best", "Distinct"),
    ),
    _mutant(
        "votes_sm90_bracket_from_the_best_lane",
        "The search starts from the best lane's best rank instead of the worst lane's.",
        "gl.min(best, axis=1)",
        "gl.max(best, axis=1)",
        ("Count", "Best", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_groups_too_few",
        "The search starts from a rank that 16 pairs of lanes reach, though more blocks are selected.",
        "if GROUPS < 32 and IS_WHOLE:",
        "if GROUPS < 64 and IS_WHOLE:",
        ("Count", "Best", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_digits_not_bounded",
        "Ranks beyond a digit's last value count by their lowest bits.",
        "        min.u32 digit, digit, {2**DIGIT - 1};\n",
        "",
        ("Best", "Count", "WritesAll", "WritesOnly"),
    ),
    _mutant(
        "votes_sm90_highest_bit_not_asked",
        "The highest bit of a digit is ignored.",
        "for bit in range(DIGIT)",
        "for bit in range(DIGIT - 1)",
        ("Best", "Count", "WritesAll", "WritesOnly"),
    ),
    _mutant(
        "votes_sm90_those_below_counted",
        "Ranks below the bracket count as above it.",
        "and.b32 reaching, reaching, votes;",
        "or.b32 votes, votes, reaching;",
        ("Best", "Count", "WritesOnly", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_more_than_k_is_exact",
        "A cut that more candidates reach than are selected counts as exact.",
        "(counts == k).to(gl.int32)",
        "(counts >= k).to(gl.int32)",
        ("Best", "WritesOnly", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_half_of_a_digit",
        "The cut is sought in the lower half of the remaining bracket.",
        "(1 << shift).to(gl.uint32) - 1)",
        "(1 << shift).to(gl.uint32) // 2)",
        ("Best", "WritesOnly", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_digit_too_low",
        "A digit has one bit more than the lanes can count.",
        "sub.s32 $0, 27, $0;",
        "sub.s32 $0, 26, $0;",
        ("Best", "WritesOnly", "WritesAll"),
    ),
    _mutant(
        "votes_sm90_rows_of_one_bracket",
        "The search ends as soon as the first of a program's two rows is done.",
        "while any_row((span > 0) & ~is_exact):",
        "while any_row((span > 0) & ~is_exact & (gl.arange(0, rank.shape[0], layout=of_rows) == 0)):",
        ("Best", "WritesOnly", "WritesAll", "Count"),
    ),
    _mutant(
        "votes_sm90_value_of_the_first_place",
        "All lanes receive the value at place 0.",
        "mov.u32 at, %laneid;",
        "mov.u32 at, 0;",
        ("Best", "Distinct", "Runs"),
    ),
    _mutant(
        "votes_sm90_values_of_all",
        "Candidates that are not chosen are stored as well.",
        "@is_it st.shared.b32",
        "st.shared.b32",
        ("Best", "Distinct", "Runs"),
    ),
]

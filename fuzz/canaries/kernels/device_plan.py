"""Mutants of the plan that the device makes: tiles, ranges, their bounds."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/device_plan.py", "prefill-device")

MUTANTS = [
    _mutant(
        "device_plan_kept",
        "A plan on the device is made once for all batches of the same buffers, not in every replay.",
        "    if num_tiles:\n        num_blocks = torch.empty(num_tiles",
        """    kept = plan_on_device.__dict__.setdefault("kept", {})
    key = seq_lens.data_ptr(), cu_seqlens_q.data_ptr(), max_total_q, max_row_blocks, num_more, config
    is_kept = key in kept
    tiles = kept.setdefault(key, tiles)
    if num_tiles and not is_kept:
        num_blocks = torch.empty(num_tiles""",
        ("Replay",),
        target="prefill-graph",
        defect="D19",
    ),
    _mutant(
        "device_plan_without_heads",
        "Query tiles count a request's tokens, not its rows.",
        "(query_lens * H + TILE_ROWS - 1) // TILE_ROWS",
        "(query_lens + TILE_ROWS - 1) // TILE_ROWS",
        ("WritesAll",),
    ),
    _mutant(
        "device_plan_bound_of_first_row",
        "A tile's blocks are bounded by its first row, not by its last.",
        "tl.minimum((row + TILE_ROWS - 1) // H, query_len - 1)",
        "row // H",
        ("Best", "Forced"),
        defect="D12",
    ),
    _mutant(
        "device_plan_bound_one_short",
        "A tile's blocks are bounded one token short.",
        "tl.maximum(context_len + last_token + 1, 0)",
        "tl.maximum(context_len + last_token, 0)",
        ("Best", "Runs"),
        defect="D11",
    ),
    _mutant(
        "device_plan_split_token_forgotten",
        "A tile that ends within a token is bounded by the token before it.",
        "tl.minimum((row + TILE_ROWS - 1) // H, query_len - 1)",
        "tl.minimum((row + TILE_ROWS) // H - 1, query_len - 1)",
        ("Best", "Forced"),
        defect="D11",
    ),
    _mutant(
        "device_plan_last_range_forgotten",
        "The last range of all is not listed.",
        "slot < tl.sum(num_ranges, axis=0)",
        "slot < tl.sum(num_ranges, axis=0) - 1",
        ("Best", "SplitInvariance"),
        defect="D22",
    ),
    _mutant(
        "device_plan_not_at_superblocks",
        "Ranges start anywhere instead of at superblocks only.",
        "tl.maximum((each + SUPERBLOCK - 1) // SUPERBLOCK, 1).to(tl.int32) * SUPERBLOCK",
        "tl.maximum(each, 1).to(tl.int32)",
        ("Best", "SplitInvariance"),
    ),
    _mutant(
        "device_plan_ranges_rounded_down",
        "Ranges are so short that there may be more of them than slots.",
        "each = (total + num_more - 1) // num_more",
        "each = total // num_more",
        ("Best", "Score", "Forced", "SplitInvariance"),
        defect="D22",
    ),
    _mutant(
        "device_plan_of_the_first_request",
        "Every tile is one of request 0.",
        "tl.store(topk_tiles_ptr + slot * 2, req)",
        "tl.store(topk_tiles_ptr + slot * 2, 0)",
        ("WritesAll", "Best"),
    ),
    _mutant(
        "device_plan_of_too_few_slots",
        "There is room for the query tiles of one request alone.",
        "(tile_rows - 1) * min(num_reqs, max_total_q)",
        "(tile_rows - 1) * min(1, max_total_q)",
        ("WritesAll",),
        defect="D22",
    ),
    _mutant(
        "device_plan_tiles_of_whole_tokens",
        "There is room for query tiles of whole tokens, rounded up where heads do not divide a tile.",
        "num_tiles = (max_total_q * heads + (tile_rows - 1) * min(num_reqs, max_total_q)) // tile_rows",
        "each = -(-tile_rows // heads)\n"
        "    num_tiles = (max_total_q + (each - 1) * min(num_reqs, max_total_q)) // each",
        ("WritesAll",),
        defect="D44",
    ),
    _mutant(
        "device_plan_tile_ends_with_whole_tokens",
        "The last token of a tile is counted from its first, as if no token lay in two tiles.",
        "tl.minimum((row + TILE_ROWS - 1) // H, query_len - 1)",
        "tl.minimum(row // H + (TILE_ROWS - 1) // H, query_len - 1)",
        ("Best",),
        defect="D11",
    ),
    _mutant(
        "device_plan_negative_blocks",
        "Tiles that see nothing have fewer blocks than none, which other tiles' ranges pay for.",
        "tl.maximum(context_len + last_token + 1, 0)",
        "(context_len + last_token + 1)",
        ("Best",),
        defect="D16",
    ),
    mutants_of("ops/device_plan.py", "step")(
        "device_plan_first_tile_again",
        "A slot without a tile lists the rows of the first one again, which two programs then write and read at once.",
        "slot * 2 + 1, tl.where(is_tile, row, NO_ROW))",
        "slot * 2 + 1, tl.where(is_tile, row, 0))",
        ("OwnMemory",),
        defect="D46",
    ),
    _mutant(
        "device_plan_first_offsets_of_every_lane",
        "A plan that the device makes reads offsets for as many requests as a program has lanes.",
        "tl.load(cu_seqlens_q_ptr + reqs * stride_cu, mask=is_req, other=0)",
        "tl.load(cu_seqlens_q_ptr + reqs * stride_cu)",
        ("Runs",),
        needs=("fence",),
    ),
]

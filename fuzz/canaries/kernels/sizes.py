"""Mutants of sizes: counts, heads, blocks and requests beyond what few bits or a fixed array hold."""

from fuzz.canaries.kernels.mutant import mutants_of

MUTANTS = [
    mutants_of("ops/cut.py", "decode-topk")(
        "ties_in_seven_bits",
        "The number of equals before a candidate keeps seven bits.",
        "tied = running >> 16",
        "tied = (running >> 16) & 127",
        ("Best", "Distinct", "WritesOnly", "WritesAll"),
        defect="D28",
    ),
    mutants_of("ops/topk.py", "topk")(
        "topk_empty_slot_in_thirteen_bits",
        "The mark of an empty slot is a block that long rows have.",
        "NO_RUN = tl.constexpr(1 << 20)",
        "NO_RUN = tl.constexpr(1 << 13)",
        ("Distinct", "WritesOnly"),
        defect="D28",
    ),
    mutants_of("ops/topk.py", "topk")(
        "topk_empty_slot_in_twelve_bits",
        "The mark of an empty slot is block 4,096, behind which the best ones of a long row may stand.",
        "NO_RUN = tl.constexpr(1 << 20)",
        "NO_RUN = tl.constexpr(1 << 12)",
        ("Distinct", "WritesOnly", "Best"),
        defect="D28",
    ),
    mutants_of("ops/topk.py", "topk")(
        "topk_empty_slot_in_eleven_bits",
        "The mark of an empty slot is block 2,048, behind which the best ones of a long row may stand.",
        "NO_RUN = tl.constexpr(1 << 20)",
        "NO_RUN = tl.constexpr(1 << 11)",
        ("Distinct", "WritesOnly", "Best"),
        defect="D28",
    ),
    mutants_of("ops/topk.py", "decode-topk")(
        "topk_empty_slot_in_seventeen_bits",
        "The mark of an empty slot is block 131,072, which long rows have.",
        "NO_RUN = tl.constexpr(1 << 20)",
        "NO_RUN = tl.constexpr(1 << 17)",
        ("Distinct", "WritesOnly", "Best"),
        defect="D28",
    ),
    mutants_of("ops/decode.py", "decode")(
        "decode_table_of_the_first_launch",
        "Where requests are scored by several launches, each looks its pages up in the first one's rows of the table.",
        "block_table=batch.block_table[first:end]",
        "block_table=batch.block_table[: end - first]",
        ("Score", "Best", "Runs"),
        defect="D43",
    ),
    mutants_of("ops/decode_score.py", "decode")(
        "decode_64_requests",
        "Requests after the sixty-fourth are not scored.",
        "is_req = reqs < num_reqs",
        "is_req = (reqs < num_reqs) & (reqs < 64)",
        ("Score", "Best"),
        defect="D43",
    ),
    mutants_of("ops/prefill_score.py", "prefill-apart")(
        "score_heads_in_four_bits",
        "A prefill row's head keeps four bits.",
        "head = row % H",
        "head = row % H & 15",
        ("Score", "Best"),
        defect="D52",
    ),
    mutants_of("ops/prefill_score.py", "prefill-apart")(
        "score_blocks_in_ten_bits",
        "The scores of a row's blocks from the 1,024th on are stored over those of the first.",
        "tl.cast(block, tl.int64) * stride_score_b",
        "tl.cast(block & 1023, tl.int64) * stride_score_b",
        ("Score", "Best"),
        defect="D28",
        count=2,
    ),
]

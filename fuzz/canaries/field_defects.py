"""Defects that this operator and its kin have had in the field: the least that must be planted here.

A row is a class of defect that shipped somewhere, in our own words. `fuzz/FIELD-DEFECTS.md` is made from
this table; `python -m tests.support.pages --write` renews it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldDefect:
    """One class of defect.

    cause: what goes wrong. trigger: what a case must have to show it. report: one public report, of several.
    caught_by: the laws that catch it, and what else does.
    shown_by: the test that shows it, and what the test does, where no wrong answer of a target can show it.
    no_case: why no kept case shows it, where only a planted defect does.
    not_planted: why it is not planted yet; empty where it is.
    """

    id: str
    cause: str
    trigger: str
    caught_by: str
    report: str = ""
    shown_by: str = ""
    no_case: str = ""
    not_planted: str = ""

    @property
    def is_planted(self) -> bool:
        """True if a canary or a mutant has it."""
        return not self.shown_by and not self.not_planted


_ROWS = (
    FieldDefect(
        "D01",
        "A token-major buffer is sliced as if it were head-major when the answer is written through `out=`.",
        "several heads, with `out`",
        "WritesAll, WritesOnly, Best",
        "vllm#48603",
    ),
    FieldDefect(
        "D02",
        "Heads times query tile is used as an `arange` length that is no power of two.",
        "3 or 6 heads",
        "Runs: a refusal or the right answer, never a compile error",
        "vllm#49157",
    ),
    FieldDefect(
        "D03",
        "Equal scores are told apart by tuning choice, split count or order of arrival.",
        "plateaus across a split edge, or at slot K",
        "SplitInvariance, Best",
    ),
    FieldDefect(
        "D04",
        "Candidates that overflow a fixed staging buffer are dropped, or leave holes of PAD.",
        "thousands of equal or clustered scores",
        "Distinct, PaddedTail, Count, Best",
    ),
    FieldDefect(
        "D05",
        "Blocks are ranked by a truncated or quantised key: half precision, dropped low bits, a linear 16-bit map.",
        "ladders of neighbouring floats, one large outlier, clusters",
        "Best, on exact and on certified scores",
    ),
    FieldDefect(
        "D06",
        "Finite sentinels for forced or absent blocks compete with real scores.",
        "real scores beyond the sentinels, very negative scores",
        "Forced, PaddedTail, Count, Best",
    ),
    FieldDefect(
        "D07",
        "NaN makes duplicates, holes or ids out of range.",
        "one, K - 1, K, K + 1 or many NaN scores",
        "Distinct, PaddedTail, Visible, Count, Best",
    ),
    FieldDefect(
        "D08",
        "One infinite score corrupts its neighbours in a sorting network.",
        "a single +inf or -inf",
        "Best",
    ),
    FieldDefect("D09", "-0.0 ranks below +0.0.", "zeros of both signs at the cut", "Best"),
    FieldDefect(
        "D10",
        "The tail of the last, partial page is not masked.",
        "poison after the last token",
        "PoisonBlind, Best",
    ),
    FieldDefect(
        "D11",
        "The visible length is off by one: a token does not see itself, or sees the next.",
        "prefix % S of 0, 1 or S - 1",
        "Visible, Count, Score, Best",
    ),
    FieldDefect(
        "D12",
        "The local block of the request's last token is forced for all of its tokens.",
        "prefill chunks, speculative decode",
        "Forced",
    ),
    FieldDefect(
        "D13", "The local block is forgotten, or counted beside the K instead of among them.", "any", "Forced, Count"
    ),
    FieldDefect(
        "D14",
        "Blocks that are both initial and local are counted twice, or one of the two windows loses.",
        "short rows, init + local = K",
        "Forced, Distinct, Count",
    ),
    FieldDefect(
        "D15",
        "One head's selection is used for all heads.",
        "several heads",
        "Best, HeadIndependence",
        "transformers#46762",
    ),
    FieldDefect(
        "D16",
        "Padding rows give negative lengths, huge unsigned ones, or hangs.",
        "seq_len 0, seq_len < decode_query_len",
        "Count, Visible, PaddedTail, the watchdog",
        "vllm#51593",
    ),
    FieldDefect(
        "D17",
        "Rows after the live ones keep ids of an earlier, larger batch.",
        "graph replay after shrinking",
        "Replay, WritesAll, WritesOnly",
    ),
    FieldDefect(
        "D18",
        "The tail of a persistent score buffer keeps an earlier, longer row.",
        "replay after shrinking",
        "Replay",
    ),
    FieldDefect(
        "D19",
        "A value of the host is frozen at capture: greatest length, split size, grid, block table.",
        "replay after growing, or after pages moved",
        "Replay, GraphIsEager",
    ),
    FieldDefect(
        "D20",
        "Counters, workspaces or outputs are not reset between runs.",
        "a second replay, an aborted first one",
        "Replay, RepeatDeterminism, GraphIsEager, WritesAll, Best",
    ),
    FieldDefect(
        "D21",
        "Output or workspace is allocated anew before a replay.",
        "an eager call between replays",
        "Replay, GraphIsEager",
    ),
    FieldDefect(
        "D22",
        "The last split is forgotten, short or empty.",
        "n no multiple of the splits, n < splits",
        "SplitInvariance, Count, Best",
    ),
    FieldDefect(
        "D23",
        "A merge of splits keeps a wrong half, or compares ids before it adds the split's first block.",
        "all winners in one split",
        "Best, Distinct",
    ),
    FieldDefect(
        "D24",
        "Block-table entries after the live ones are read.",
        "INT_MAX, -1 or garbage there",
        "Runs, PoisonBlind, the watchdog",
        "vllm-ascend#13391",
    ),
    FieldDefect(
        "D25",
        "The width of the block table is taken for its row stride.",
        "the block table is a view",
        "ViewBlind, PageRelabel, Best",
    ),
    FieldDefect(
        "D26",
        "Page id times stride overflows 32 bits, or request times the block table's.",
        "pages and table rows whose offset passes 2^31 elements",
        "Best, PageRelabel",
    ),
    FieldDefect("D27", "The offset of a score overflows 32 bits.", "H * T * max_blocks >= 2^31", "Best"),
    FieldDefect(
        "D28", "Block ids are packed into too few bits.", "the last ids of a row of 1M tokens", "Best, Distinct"
    ),
    FieldDefect(
        "D29",
        "Queries, key pages or metadata that are not contiguous are read as if they were.",
        "views with offsets and strides",
        "ViewBlind, Best",
    ),
    FieldDefect(
        "D30",
        "Query offsets are not rebased where prefill follows decode in a mixed batch.",
        "a mixed batch",
        "RequestPermutation, Count, Best",
    ),
    FieldDefect(
        "D31",
        "A query tile crosses the end of its request, and a neighbour's row is scored or stored.",
        "ragged lengths",
        "NeighbourIndependence, WritesOnly, Best",
    ),
    FieldDefect(
        "D32",
        "A split without a visible block turns into NaN, or wins with garbage.",
        "a split wholly beyond the causal range",
        "Distinct, Superblocks, Best",
    ),
    FieldDefect(
        "D33",
        "The cached key of another request is read through a shared page after the page changed.",
        "shared prefix pages",
        "Replay, PageRelabel",
    ),
    FieldDefect(
        "D34",
        "The answer depends on the batch around a request: tiling, split choice, another path.",
        "the same request alone and in company",
        "NeighbourIndependence, DecodeIsLastPrefillRow, ChunkedPrefill, AppendOne",
    ),
    FieldDefect(
        "D35",
        "Inputs are read before their producer has finished (programmatic launch overlap).",
        "the producer's kernel right before, on the same stream",
        "Replay, GraphIsEager, RepeatDeterminism",
    ),
    FieldDefect(
        "D36",
        "Every step compiles anew: lengths are specialised, or slicing has lost an alignment.",
        "sliced metadata",
        "a count of compilations",
        shown_by="tests/fast/test_indexer_compile.py counts compilations, and catches a kernel that specialises",
    ),
    FieldDefect(
        "D37",
        "A block table that is narrower than a sequence needs is accepted.",
        "max_blocks too small",
        "a refusal",
        shown_by="tests/ref/test_refusals.py sees batch and builder refuse the table",
    ),
    FieldDefect(
        "D38",
        "Inputs are silently rounded to less precision, or fp32 products taken in TF32.",
        "the range of fp16, fp32 inputs",
        "Best, on certified scores",
    ),
    FieldDefect(
        "D39",
        "An impostor never reads the keys: it selects the most recent blocks.",
        "test data that grow with position let it pass",
        "Best",
    ),
    FieldDefect(
        "D40",
        "The order of ids is not the one that was promised and that the consumer relies on.",
        "more context than K * S tokens, a partial last block",
        "Order",
    ),
    FieldDefect(
        "D41",
        "The passes of a histogram or radix selection rank by keys of different widths: a later one takes again what "
        "an earlier one took, and as many good blocks are lost.",
        "more scores in one 16-bit bin than a pass stages (2,048), and 1 to K - 1 better ones outside of it but in the "
        "same coarser bin: a narrow band far from zero, in a row of more blocks",
        "Distinct, Best",
    ),
    FieldDefect(
        "D42",
        "A map from page back to block, or whatever is kept per page, takes a page to occur once in a request.",
        "a page twice in one row of the block table (reuse, null blocks)",
        "Distinct, Best",
        "vllm#30915",
    ),
    FieldDefect(
        "D43",
        "Metadata of requests are staged in an array of fixed size.",
        "5, 33, 257 or 1,025 requests",
        "Count, Best, WritesAll, Runs",
        "DeepGEMM#322",
    ),
    FieldDefect(
        "D44",
        "Tokens, requests or blocks lie on a grid axis that ends at 65,535, or the grid is sized for a bound.",
        "257 tokens or 129 blocks on a CPU, 70,000 of each on a GPU",
        "WritesAll, Best, Runs",
        "FlashMLA#171",
    ),
    FieldDefect(
        "D45",
        "A kernel is launched on the current device or the default stream instead of the tensors' own.",
        "tensors on a second GPU, a late producer on a side stream",
        "OwnStream, Best, Runs",
        "Liger-Kernel#1303",
    ),
    FieldDefect(
        "D46",
        "Shared memory or a slot is used before its writer, or refilled before its last reader, is done.",
        "another stream's noise, repeated runs",
        "Undisturbed, RepeatDeterminism, Score, Best",
    ),
    FieldDefect(
        "D47",
        "A merge of a context's parts breaks ties by part, drops short parts, or forces a local block in each.",
        "splits or context-parallel parts, ties across their edge",
        "SplitInvariance, Best",
    ),
    FieldDefect(
        "D48",
        "An assembler loses the constant of a packed 16-bit addition (ptxas 12.8 to 13.0, `row // H + 1`).",
        "3, 5 or 12 heads, the row's own token the best of its block",
        "Score, Best, the compile gate",
    ),
    FieldDefect(
        "D49",
        "e4m3 bytes are read as another format, their NaN codes as numbers, subnormals as 0, or with a scale.",
        "all 256 bytes, in keys and in queries",
        "Score, Best",
    ),
    FieldDefect(
        "D50",
        "NVFP4 nibbles come in the wrong order, scales of the wrong 16 elements, or without saturation.",
        "one element set in each nibble and scale, scales of 448",
        "Score, Best",
    ),
    FieldDefect(
        "D51",
        "The query tensor is longer than the requests' tokens: padding is taken for requests, or left unwritten.",
        "total_q > cu_seqlens_q[-1]",
        "WritesAll, Visible, a refusal",
        "TensorRT-LLM#18034",
    ),
    FieldDefect(
        "D52",
        "There are more heads, slots or query rows than a tile or a packed field holds.",
        "13 to 64 heads, 33 to 128 slots, heads x tokens past shared memory",
        "Score, Best, Count, HeadIndependence, Runs: a refusal or the right answer, never a compile error",
        "aiter#3257",
        no_case="the case of D48 shows it, whose 12 heads of 8 tokens take two launches",
    ),
    FieldDefect(
        "D53",
        "A buffer is made in one mode and updated in another: inference mode, default device, graph pool.",
        "a builder made under `torch.inference_mode()` and used outside",
        "Runs",
        "sglang#33470",
    ),
    FieldDefect(
        "D54",
        "The matrix unit sums in fewer bits than the order needs (13 in Hopper's fp8 product).",
        "products of very different size and scores close together; in the field, e4m3 keys on Hopper's fp8 product",
        "Best, Score",
    ),
)

FIELD_DEFECTS: dict[str, FieldDefect] = {row.id: row for row in _ROWS}
"""Id -> row."""

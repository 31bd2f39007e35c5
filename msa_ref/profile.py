"""The promises of a target. The suite's kernels promise the whole contract; a foreign kernel may promise less.

Which blocks, which of equals and in what order are three questions. A profile answers the last two, and says
which calls the target answers at all. Judged outside of them it would be accused of breaking a promise that it
never made, so the verdict there is `Undefined`, which is no pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin

import torch

from msa_ref.batch import PagedBatch
from msa_ref.call_facts import CallFacts, Strides, facts_of, greatest_score
from msa_ref.config import require
from msa_ref.formats import SUPPORTED_DTYPES, USUAL_DTYPES, FormatPair, format_of
from msa_ref.precision import BOUNDS as UNIT_BOUNDS

CONFIG_SETS = {
    "num_index_heads": "num_index_heads",
    "index_head_dims": "index_head_dim",
    "block_sizes": "block_size",
    "topk_blocks": "topk_blocks",
    "init_blocks": "init_blocks",
    "local_blocks": "local_blocks",
}
"""Field of a profile that is a set -> the parameter of `msa_ref.config.IndexerConfig` that must be in it."""

BOUNDS = {
    "max_visible_blocks": "visible blocks",
    "max_query_len": "query tokens of a request",
    "max_num_reqs": "requests",
    "max_total_q": "query tokens",
    "max_table_blocks": "columns of the block table",
}
"""Field of a profile that is a bound -> the words for what it bounds."""


Dtypes = torch.dtype | tuple[torch.dtype, torch.dtype]
"""The dtype of queries and keys, or of queries and of keys."""


@dataclass(frozen=True)
class Profile:
    """The promises of one target, as plain data. The defaults are the contract's, but for the formats.

    How it answers:

    tie_rule: which of equal scores is selected; "any" promises nothing.
    order: how a row is written: "ascending" ids; "score-desc": best score first, forced blocks anywhere;
        "score-desc-local-last": the same, but no other id after a forced local block, and a row that sees no more
        blocks than it selects may be ascending instead; or "any".
    axes: "head-major" answers [H, T, K], "token-major" [T, H, K].
    rank_bits: it ranks by the score, perhaps times a positive factor, rounded in any one direction to so many
        significand bits. Scores that round alike are ties. None ranks by the score itself.
    unit: the unit that sums its products, by a name of `msa_ref.precision.BOUNDS`, whose bound then holds for every
        score: "hopper_fp8" keeps 13 bits; "mma_sync" is for GPUs before Hopper, "mfma" for AMD's. None is for a sum in
        fp32, and for the units of Hopper and Blackwell that lose no more.
    answers: whether an answer that it allocates is "kept" as it is by its next 64 calls, or memory that they may write
        to again, "reused". A bound call, a graph and an engine's classes answer in the same memory as a matter of
        course.
    bad_calls: whether it refuses a call that breaks a rule of its arguments by a "value-error" before it writes
        anything, or promises nothing of it.
    threads: whether "any" number of threads may call it at once, each with its own tensors, and on a GPU on its own
        stream; "one" at a time, so that each thread is answered right or refused; or always the "same" one. Kernels on
        Triton's interpreter, which one thread can enter, are not asked.

    What it takes; elsewhere it promises nothing:

    nan, infinities: whether NaN in queries and keys (and what may make it) counts as -inf, and infinite ones are
        ordinary, or are outside.
    score_nan, score_infinities: the same of scores that a target is given.
    subnormals: whether numbers below their format's smallest normal one, and sums below float32's, are "kept", or
        queries and keys that have or may make some are outside, as for a kernel that flushes them to zero.
    max_abs_score: every block's score is nearer to 0 than this. None takes all.
    padding_rows: whether a row that sees nothing is all PAD, or outside.
    padded_queries: whether rows of `index_q` after the last request's tokens are all PAD, or such a tensor is
        outside. Here alone a profile may promise more than the contract.
    dtypes: of index_q and index_k_pages: one for both, or a pair of theirs. By default those that kernels take as a
        matter of course: bfloat16, float16 and float32, queries and keys alike. Others, NVFP4 pages say, are named.
    num_index_heads, index_head_dims, block_sizes, topk_blocks, init_blocks, local_blocks: the sets of values taken;
        None takes all.
    max_visible_blocks, max_query_len, max_num_reqs, max_total_q, max_table_blocks: the largest taken; None takes all.
    query_lens: whether requests may have different numbers of query tokens, or are "uniform".
    strides: of the tensors that it is given: "any"; "contiguous"; or "aligned", contiguous from a multiple of 16
        bytes on.
    """

    name: str = "contract"
    tie_rule: Literal["lowest-id", "any"] = "lowest-id"
    order: Literal["ascending", "score-desc", "score-desc-local-last", "any"] = "ascending"
    axes: Literal["head-major", "token-major"] = "head-major"
    rank_bits: int | None = None
    unit: str | None = None
    answers: Literal["kept", "reused"] = "kept"
    bad_calls: Literal["value-error", "undefined"] = "undefined"
    threads: Literal["one", "any", "same"] = "one"
    nan: Literal["minus-inf", "undefined"] = "minus-inf"
    infinities: Literal["ordinary", "undefined"] = "ordinary"
    score_nan: Literal["minus-inf", "undefined"] = "minus-inf"
    score_infinities: Literal["ordinary", "undefined"] = "ordinary"
    subnormals: Literal["kept", "undefined"] = "kept"
    max_abs_score: float | None = None
    padding_rows: Literal["pad", "undefined"] = "pad"
    padded_queries: Literal["pad", "undefined"] = "undefined"
    dtypes: tuple[Dtypes, ...] = USUAL_DTYPES
    num_index_heads: tuple[int, ...] | None = None
    index_head_dims: tuple[int, ...] | None = None
    block_sizes: tuple[int, ...] | None = None
    topk_blocks: tuple[int, ...] | None = None
    init_blocks: tuple[int, ...] | None = None
    local_blocks: tuple[int, ...] | None = None
    max_visible_blocks: int | None = None
    max_query_len: int | None = None
    max_num_reqs: int | None = None
    max_total_q: int | None = None
    max_table_blocks: int | None = None
    query_lens: Literal["any", "uniform"] = "any"
    strides: Strides = "any"

    def __post_init__(self) -> None:
        for field in fields(self):
            if get_origin(field.type) is Literal:
                value, choices = getattr(self, field.name), get_args(field.type)
                require(value in choices, field.name, f"must be one of {', '.join(choices)}", repr(value))
        for name in CONFIG_SETS:
            taken = getattr(self, name)
            if taken is not None:
                is_set = not isinstance(taken, str | int) and len(taken) > 0 and all(type(n) is int for n in taken)
                require(is_set, name, "must be some ints, or None for all", repr(taken))
                object.__setattr__(self, name, tuple(sorted(set(taken))))
        require(len(self.dtypes) > 0, "dtypes", "must hold a dtype", "none")
        units = (None, *UNIT_BOUNDS)
        require(self.unit in units, "unit", f"must be one of {', '.join(UNIT_BOUNDS)}, or None", repr(self.unit))
        for name in (*BOUNDS, "rank_bits"):
            bound = getattr(self, name)
            require(bound is None or (type(bound) is int and bound >= 1), name, "must be an int >= 1, or None", bound)
        require(
            self.max_abs_score is None or self.max_abs_score > 0, "max_abs_score", "must be > 0", self.max_abs_score
        )

    def head_major(self, topk_idx: torch.Tensor) -> torch.Tensor:
        """The answer as [H, T, K], whichever way the target wrote it. A view."""
        return topk_idx.transpose(0, 1) if self.axes == "token-major" else topk_idx

    def takes_formats(self, pair: FormatPair) -> bool:
        """True if it takes queries and keys in these formats."""
        return pair.dtypes in self.dtypes

    @property
    def has_one_answer(self) -> bool:
        """True if exact scores leave one answer: the contract's, whatever else the target does not take."""
        is_ranked = self.rank_bits is None and self.unit is None
        return is_ranked and self.tie_rule == "lowest-id" and self.order == "ascending"

    def outside(self, facts: CallFacts) -> str | None:
        """The reason why a call is outside the profile, as far as facts tell without a look at scores; or None."""
        return next((reason for is_outside, reason in self._limits(facts) if is_outside), None)

    def undefined(self, batch: PagedBatch, score: torch.Tensor | None = None) -> str | None:
        """The reason why a batch is outside the profile; None if it is inside. Looks at values; synchronizes.

        score: [H, T, N], for a target that is given scores. It reads no queries and no keys.
        """
        policies = (self.nan, self.infinities, self.score_nan, self.score_infinities, self.subnormals)
        reason = self.outside(facts_of(batch, score, looks_at_values="undefined" in policies))
        if reason is None and self.max_abs_score is not None:
            greatest = greatest_score(batch, score, self.max_abs_score)
            if not greatest < self.max_abs_score:
                reason = f"{self.name} takes scores within {self.max_abs_score:g} of 0, not {greatest:g}"
        return reason

    def _limits(self, facts: CallFacts) -> Iterator[tuple[bool, str]]:
        queries, keys = facts.dtypes
        is_taken = (queries if queries == keys else (queries, keys)) in self.dtypes
        what = queries if queries == keys else f"{format_of(keys).short_name} keys for {queries} queries"
        yield not is_taken, f"{self.name} does not take {what}"
        for field, name in CONFIG_SETS.items():
            taken, size = getattr(self, field), getattr(facts.config, name)
            is_outside = taken is not None and size not in taken
            yield is_outside, f"{self.name} takes {name} in {set_in_words(taken)}, not {size}"
        for field, name in BOUNDS.items():
            bound, size = getattr(self, field), getattr(facts, field.removeprefix("max_"))
            yield bound is not None and size > bound, f"{self.name} takes at most {bound} {name}, not {size}"
        is_ragged = self.query_lens == "uniform" and not facts.is_uniform
        yield is_ragged, f"{self.name} takes requests of equally many query tokens"
        sees_nothing = self.padding_rows == "undefined" and facts.has_padding_rows
        yield sees_nothing, f"{self.name} promises nothing for rows that see no token"
        has_padding = self.padded_queries == "undefined" and facts.has_padded_queries
        yield has_padding, f"{self.name} promises nothing for queries after the last request's"
        is_strided = get_args(Strides).index(facts.strides) < get_args(Strides).index(self.strides)
        yield is_strided, f"{self.name} takes {self.strides} tensors"

        nan, infinities = (self.score_nan, self.score_infinities) if facts.is_of_scores else (self.nan, self.infinities)
        yield nan == "undefined" and facts.has_nan, f"{self.name} promises nothing for NaN"
        # Of queries and keys an infinity may make NaN; of scores it is itself.
        makes_nan = nan == "undefined" and not facts.is_of_scores
        is_infinite = facts.has_infinities and (infinities == "undefined" or makes_nan)
        yield is_infinite, f"{self.name} promises nothing for infinities, or for the NaN that they make"
        is_flushed = self.subnormals == "undefined" and facts.has_subnormals
        yield is_flushed, f"{self.name} promises nothing for subnormal numbers"


def set_in_words(taken: tuple[int, ...] | None) -> str:
    """A set of integers in words: {1, 2, 4}, or {1..32} for a run of more than two."""
    if taken is None:
        return "all"
    is_run = len(taken) > 2 and taken == tuple(range(taken[0], taken[-1] + 1))
    return f"{{{taken[0]}..{taken[-1]}}}" if is_run else f"{{{', '.join(map(str, taken))}}}"


CONTRACT = Profile(dtypes=SUPPORTED_DTYPES)
"""The whole contract: ties to the lowest id, ids ascending, [H, T, K], every value, every format, every size."""
USUAL = Profile("a target that names no formats")
"""The promises of a target that names none: the contract, in the formats that kernels take as a matter of course."""

"""A case is data: one batch, how it lies in memory, and what is done to it. JSON both ways."""

import json
from dataclasses import dataclass
from functools import cached_property

from fuzz.cases.codec import from_data, to_data
from fuzz.cases.engine_plan import ONE_LAYER
from fuzz.cases.engine_plan import EnginePlan as EnginePlan  # part of a case: it is looked for here
from fuzz.values.families import FAMILIES
from fuzz.values.family import Family, Lattice
from msa_ref.config import IndexerConfig, require
from msa_ref.formats import FORMAT_PAIRS, FormatPair

DTYPES = tuple(FORMAT_PAIRS)
PAGE_ORDERS = ("permuted", "identity", "reversed")
BEHIND = ("int_max", "minus_one", "random", "huge")
TAILS = ("nan", "inf", "bait")
BETWEEN = ("", "eager", "elsewhere", "unread")
LATE = ("", "query", "page", "keys")
BESIDE = ("", "late producer", "noise")
FIRST_MODES = ("", "inference")
FENCES = ("", "behind", "in front")
ALIGNMENTS = (0, *(1 << log2 for log2 in range(4, 22)))


@dataclass(frozen=True)
class Request:
    """One request: query_len tokens of this step, seq_len tokens with them. seq_len 0 is a padding row."""

    query_len: int
    seq_len: int

    def __post_init__(self) -> None:
        require(self.query_len >= 0, "query_len", "must be >= 0", self.query_len)
        require(self.seq_len >= 0, "seq_len", "must be >= 0", self.seq_len)

    def is_appended_to(self, old: "Request") -> bool:
        """True if this is `old` one step later: longer by its query tokens, at least by one token."""
        return self.seq_len - old.seq_len == max(1, self.query_len)


@dataclass(frozen=True)
class ValuePlan:
    """The numbers in the tensors: a family of `fuzz.values.families`, keys times a power of two.

    log2_queries: the same for queries, where these have more exponents than keys.
    is_negative: no score is above 0; for lattice families alone.
    is_future_best: the key just after each query token is its best match, see `fuzz.inputs.future_keys`; not for
        families made on the device.
    """

    family: str = "integers"
    log2_scale: int = 0
    is_negative: bool = False
    is_future_best: bool = False
    is_finite: bool = False
    max_abs_score: float | None = None
    log2_queries: int = 0

    def __post_init__(self) -> None:
        require(self.family in FAMILIES, "family", f"must be one of {', '.join(FAMILIES)}", repr(self.family))
        is_allowed = isinstance(self.made_by, Lattice) or not self.is_negative
        require(is_allowed, "is_negative", "must be of a lattice family", repr(self.family))
        is_allowed = not (self.made_by.is_on_device and self.is_future_best)
        require(is_allowed, "is_future_best", f"must not be of {self.family} values", self.is_future_best)
        limit = self.max_abs_score
        require(limit is None or limit > 0, "max_abs_score", "must be > 0", limit)

    @property
    def made_by(self) -> Family:
        """The family itself."""
        return FAMILIES[self.family]


@dataclass(frozen=True)
class PagePlan:
    """The physical pages of logical blocks, and the poison around them.

    order: the order of the pages: `permuted` (by the case's seed), `identity` or `reversed`.
    spare_pages: pages that no block maps to; they hold poison.
    extra_blocks: columns of the block table behind the longest request.
    behind: the contents of block-table entries behind a request's live blocks.
    shared_blocks: leading blocks that all requests share, on the same pages.
    tail: the poison in spare pages and behind a page's last live token: NaN or infinities, which no masked sum
        shows, or `bait`, which is finite and would win every ranking.
    pool_pages: pages of a pool that all requests map into, so that production shapes need little memory; 0 for none.
    is_far: whether pages, scores and, on a CPU, rows of queries, table and output lie over 2**31 elements apart.
    is_tight: whether there are no more pages and columns than blocks need; none where no request has a block.
    repeated_blocks: blocks of each request that lie in the page of one more of its blocks, as null blocks do.
    skipped_pages: pages in front of all others, on a CPU address space alone; key pages are no view then, and not far.
    is_in_runs: whether blocks that lie in one page of a pool follow each other, so that the best ones may come late.
    """

    order: str = "permuted"
    spare_pages: int = 0
    extra_blocks: int = 0
    behind: str = "int_max"
    shared_blocks: int = 0
    tail: str = "nan"
    pool_pages: int = 0
    is_far: bool = False
    repeated_blocks: int = 0
    is_tight: bool = False
    skipped_pages: int = 0
    is_in_runs: bool = False

    def __post_init__(self) -> None:
        for name, options in (("order", PAGE_ORDERS), ("behind", BEHIND), ("tail", TAILS)):
            value = getattr(self, name)
            require(value in options, name, f"must be one of {', '.join(options)}", repr(value))


@dataclass(frozen=True)
class ViewPlan:
    """The layout of one tensor in a larger buffer.

    axes: the axes from outermost to innermost in memory; empty for the natural order.
    pads: unused elements behind each axis, in the tensor's own order; empty for none.
    step: distance of neighbours on the innermost axis.
    offset: elements before the first one.
    expanded: axes of stride 0, along which a tensor repeats itself, as `torch.Tensor.expand` makes them: an axis of
        queries, or requests of the block table, which then share all pages.
    gap: more unused elements behind each entry of the outermost axis, as where a page holds more than keys.
    """

    axes: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    step: int = 1
    offset: int = 0
    expanded: tuple[int, ...] = ()
    gap: int = 0


@dataclass(frozen=True)
class Views:
    """The view of every tensor, and how `out` is given.

    score: for targets that are given scores.
    extra_rows: rows of `out` behind total_q.
    is_out_given: False lets the target allocate its output.
    fence: the end at which inputs have no margin, so that forbidden memory is next to them (on a CPU): `behind` them,
        `in front`, where they begin at an aligned address whatever their plan, or neither.
    is_plain: whether a tensor without plan and fence has memory of its own, as torch makes it: no margin is around it.
    align: the greatest power of two that a tensor's address is a multiple of, where offset and fence allow it; 0: any.
    """

    index_q: ViewPlan = ViewPlan()
    index_k_pages: ViewPlan = ViewPlan()
    block_table: ViewPlan = ViewPlan()
    seq_lens: ViewPlan = ViewPlan()
    cu_seqlens_q: ViewPlan = ViewPlan()
    score: ViewPlan = ViewPlan()
    out: ViewPlan = ViewPlan()
    extra_rows: int = 0
    is_out_given: bool = True
    fence: str = ""
    is_plain: bool = False
    align: int = 0

    def __post_init__(self) -> None:
        require(self.fence in FENCES, "fence", f"must be one of {', '.join(map(repr, FENCES))}", repr(self.fence))
        require(self.align in ALIGNMENTS, "align", "must be 0, or a power of two in 16 .. 2**21", self.align)


@dataclass(frozen=True)
class Step:
    """One more run (a graph replay, where there is a graph) after a change in the same buffers.

    requests: as many as before. Where they bring fewer tokens than at another step, rows of `index_q` lie behind them.
    is_remapped: whether the blocks lie in other pages.
    values_seed: the seed of new queries and keys; 0 keeps those of the case.
    between: a call before the change: none, an `eager` one on the same buffers, one `elsewhere` on allocations of
        its own, or an `unread` replay, whose step was given up.
    is_turned: whether the heads of its queries come in reverse order: other queries, of the same sum.
    late: what changes of one late `query`, of a late `page`, or of late `keys` of all pages; `fuzz.inputs.late_change`.
    """

    requests: tuple[Request, ...]
    is_remapped: bool = False
    values_seed: int = 0
    between: str = ""
    is_turned: bool = False
    late: str = ""

    def __post_init__(self) -> None:
        for name, options in (("between", BETWEEN), ("late", LATE)):
            value = getattr(self, name)
            require(value in options, name, f"must be one of {', '.join(map(repr, options))}", repr(value))


@dataclass(frozen=True)
class Case:
    """One case: everything that `fuzz.inputs.scene` needs to make the tensors, bit for bit.

    dtype: the formats of queries and keys, by the name of their pair.
    num_splits: the split counts to run at; 0 leaves the choice to the target.
    repeats: how often the first run is repeated, to compare bits; beyond a few as time allows (`fuzz.judge.endurance`).
    host_slack: tokens by which the host's bounds exceed the lengths on the device.
    extra_queries: rows of `index_q` behind the last request's tokens at the step that brings most: poison, for targets
        whose profile takes them.
    beside: what goes on beside further runs: nothing, a `late producer` of the inputs on the runs' own side stream
        (on a GPU), or `noise` on other streams and threads.
    first_mode: the mode of the first run, `inference` or none; a further run is outside of it.
    engine: the engine around the batch, for targets that run an engine's classes.
    note: the purpose of the case.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """

    config: IndexerConfig
    requests: tuple[Request, ...]
    seed: int = 0
    dtype: str = "bfloat16"
    values: ValuePlan = ValuePlan()
    pages: PagePlan = PagePlan()
    views: Views = Views()
    num_splits: tuple[int, ...] = (0,)
    repeats: int = 0
    replay: tuple[Step, ...] = ()
    host_slack: int = 0
    extra_queries: int = 0
    beside: str = ""
    first_mode: str = ""
    engine: EnginePlan = ONE_LAYER
    note: str = ""

    def __post_init__(self) -> None:
        for name, options in (("beside", BESIDE), ("first_mode", FIRST_MODES)):
            value, known = getattr(self, name), ", ".join(map(repr, options))
            require(value in options, name, f"must be one of {known}", repr(value))
        require(self.dtype in DTYPES, "dtype", f"must be one of {', '.join(DTYPES)}", repr(self.dtype))
        group, dim = self.formats.keys.group, self.config.index_head_dim
        require(dim % group == 0, "index_head_dim", f"must be a multiple of {group} for {self.dtype}", dim)
        for name in ("host_slack", "extra_queries"):
            require(getattr(self, name) >= 0, name, "must be >= 0", getattr(self, name))
        require(len(self.num_splits) > 0, "num_splits", "must hold a split count", "none")
        require((least := min(self.num_splits)) >= 0, "num_splits", "must be >= 0, where 0 is the target's own", least)
        for number, step in enumerate(self.replay):
            num_reqs = len(step.requests)
            require(num_reqs == len(self.requests), "replay", f"must keep num_reqs at step {number}", num_reqs)
            is_seen = not step.late or any(map(self.has_choice, step.requests))
            require(is_seen, "late", f"must have a row with more blocks than slots at step {number}", repr(step.late))

    @property
    def formats(self) -> FormatPair:
        """The element formats of queries and of keys."""
        return FORMAT_PAIRS[self.dtype]

    @cached_property
    def total_q(self) -> int:
        """T, query tokens of all requests at the step where they are most, and the padding behind them."""
        return max(sum(request.query_len for request in state.requests) for state in self.states) + self.extra_queries

    def rows_behind(self, state: Step) -> int:
        """Rows of `index_q` behind the tokens of a state."""
        return self.total_q - sum(request.query_len for request in state.requests)

    @cached_property
    def states(self) -> tuple[Step, ...]:
        """The case itself and then its replay script, as one list of states."""
        return (Step(self.requests), *self.replay)

    @property
    def decode_query_len(self) -> int:
        """Host bound on the query tokens of any request at any step; at least 1."""
        return max([1, *(request.query_len for state in self.states for request in state.requests)])

    def has_choice(self, request: Request) -> bool:
        """True if the blocks of a request's last token compete for slots."""
        config = self.config
        return request.query_len > 0 and config.forced_blocks < config.topk_blocks < config.num_blocks(request.seq_len)

    def num_blocks(self, req: int) -> int:
        """Blocks of a request at the step where it has most."""
        return max(self.config.num_blocks(state.requests[req].seq_len) for state in self.states)

    @cached_property
    def max_row_blocks(self) -> int:
        """Blocks of the longest request at the step where it has most."""
        return max((self.num_blocks(req) for req in range(len(self.requests))), default=0)

    @property
    def max_blocks(self) -> int:
        """Width of the block table."""
        return self.max_row_blocks if self.pages.is_tight else max(1, self.max_row_blocks) + self.pages.extra_blocks

    def to_json(self) -> str:
        """The case as JSON text."""
        return json.dumps(to_data(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Case":
        """The case that some JSON text describes.

        Raises:
            ValueError: one sentence, if a key is missing, unknown, or its value out of bounds.
        """
        return from_data(Case, json.loads(text), "case")

"""Which values of which dimensions a run drew, and which it never reached."""

from collections import Counter
from collections.abc import Iterator

from fuzz.cases.case import BEHIND, DTYPES, PAGE_ORDERS, TAILS, Case, ViewPlan
from fuzz.cases.scale import WIDE_TABLE, Scale
from fuzz.cases.specialization import HEADS, OWN_SHAPE
from fuzz.values.families import EXACT_FAMILIES, FAMILIES


def universe(scale: Scale) -> dict[str, tuple[str, ...]]:
    """Dimension -> every bucket that a run at this scale should reach."""
    counts = ["0", "1", "2", "K-1", "K", "K+1"]
    counts += [str(count) for count in (*sorted(scale.edges), *scale.many_blocks)]
    return {
        "heads": _texts(HEADS),
        "head_dim": _texts(scale.head_dims),
        "block_size": _texts(scale.block_sizes),
        **({"own shape": ("keys as they lie", "keys in a view")} if scale.own_percent else {}),
        "dtype": DTYPES,
        "topk": ("1", "power of two", "odd one out", "above 16", *(["above 32"] if max(scale.topk) > 32 else [])),
        "forced": ("none", "local", "init", "both", "every slot"),
        "values": tuple(name for name in EXACT_FAMILIES if scale.long_percent or not FAMILIES[name].is_on_device),
        "scaled values": ("yes", "no"),
        **({"scores above 0": ("yes", "no")} if scale.negative_percent else {}),
        "best key": ("behind each query", "anywhere"),
        "blocks": tuple(counts),
        "query_len": ("0", "1", "2..8", "9..32", "33 and more"),
        "lengths": ("padding row", "shorter than its query", "full last block", "one token in it", "all but one"),
        "context % S": ("0", "1", "S-1", "other"),
        "requests": ("1", "2", "3 and more", "without a query"),
        "page order": PAGE_ORDERS,
        "behind the table": BEHIND,
        "poison": TAILS,
        "pages": (
            "spare",
            "shared",
            "wide table",
            *(["very wide table"] if WIDE_TABLE in scale.table_blocks else []),
            *(["far"] if scale.has_far_pages else []),
        ),
        "views": ("plain", "offset", "padded", "stepped", "transposed", "fenced"),
        "out": ("plain", "view", "extra rows", "allocated by the target"),
        "host bounds": ("exact", "loose"),
        "splits": ("own", "1", "2..8", "9 and more", "more than blocks"),
        "replay": (
            "none",
            "grows",
            "shrinks",
            "remapped",
            "new values",
            "query lengths",
            "becomes padding",
            "appends",
            "starts",
        ),
        "between replays": ("nothing", "eager", "elsewhere", "unread"),
    }


def _texts(values: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values))


def buckets(case: Case) -> Iterator[tuple[str, str]]:
    """(dimension, bucket) of everything that a case has."""
    config, k = case.config, case.config.topk_blocks
    yield "heads", str(config.num_index_heads)
    yield "head_dim", str(config.index_head_dim)
    yield "block_size", str(config.block_size)
    if (config.index_head_dim, config.block_size) == OWN_SHAPE:
        yield "own shape", "keys as they lie" if case.views.index_k_pages == ViewPlan() else "keys in a view"
    yield "dtype", case.dtype
    yield "topk", _kind_of_topk(k)
    if config.forced_blocks == k:
        yield "forced", "every slot"
    has = (config.init_blocks > 0, config.local_blocks > 0)
    yield "forced", {(False, False): "none", (False, True): "local", (True, False): "init", (True, True): "both"}[has]
    yield "values", case.values.family
    yield "scaled values", "yes" if case.values.log2_scale else "no"
    yield "scores above 0", "no" if case.values.is_negative else "yes"
    yield "best key", "behind each query" if case.values.is_future_best else "anywhere"
    yield "requests", str(len(case.requests)) if len(case.requests) < 3 else "3 and more"
    if case.total_q == 0:
        yield "requests", "without a query"
    yield "host bounds", "loose" if case.host_slack else "exact"
    yield from _lengths(case)
    yield from _memory(case)
    most = max(case.num_blocks(req) for req in range(len(case.requests)))
    for num in case.num_splits:
        yield "splits", "own" if num == 0 else "1" if num == 1 else "2..8" if num <= 8 else "9 and more"
        if num > most:
            yield "splits", "more than blocks"
    yield from _replay(case)


def _kind_of_topk(k: int) -> str:
    for most, kind in ((32, "above 32"), (16, "above 16")):
        if k > most:
            return kind
    return "1" if k == 1 else "power of two" if k & (k - 1) == 0 else "odd one out"


def _lengths(case: Case) -> Iterator[tuple[str, str]]:
    size, k = case.config.block_size, case.config.topk_blocks
    for state in case.states:
        for request in state.requests:
            query_len, seq_len = request.query_len, request.seq_len
            n, rest, context = case.config.num_blocks(seq_len), seq_len % size, (seq_len - query_len) % size
            yield "blocks", str(n)
            yield "blocks", {k - 1: "K-1", k: "K", k + 1: "K+1"}.get(n, str(n))
            for most, name in ((0, "0"), (1, "1"), (8, "2..8"), (32, "9..32")):
                if query_len <= most:
                    yield "query_len", name
                    break
            else:
                yield "query_len", "33 and more"
            if seq_len == 0:
                yield "lengths", "padding row"
            elif seq_len < query_len:
                yield "lengths", "shorter than its query"
            else:
                yield "context % S", {0: "0", 1: "1", size - 1: "S-1"}.get(context, "other")
                names = {0: "full last block", 1: "one token in it", size - 1: "all but one"}
                yield "lengths", names.get(rest, "other")


def _memory(case: Case) -> Iterator[tuple[str, str]]:
    pages, views = case.pages, case.views
    yield "page order", pages.order
    yield "behind the table", pages.behind
    yield "poison", pages.tail
    for name, is_so in (
        ("spare", pages.spare_pages),
        ("shared", pages.shared_blocks),
        ("wide table", pages.extra_blocks),
        ("very wide table", case.max_blocks >= WIDE_TABLE),
        ("far", pages.is_far),
    ):
        if is_so:
            yield "pages", name
    for plan in (views.index_q, views.index_k_pages, views.block_table, views.seq_lens, views.cu_seqlens_q):
        yield "views", "offset" if plan.offset else "plain"
        for name, is_so in (("padded", any(plan.pads)), ("stepped", plan.step > 1), ("transposed", bool(plan.axes))):
            if is_so:
                yield "views", name
    if views.is_fenced:
        yield "views", "fenced"
    if not views.is_out_given:
        yield "out", "allocated by the target"
    else:
        yield "out", "plain" if views.out == type(views.out)() else "view"
        if views.extra_rows:
            yield "out", "extra rows"


def _replay(case: Case) -> Iterator[tuple[str, str]]:
    if not case.replay:
        yield "replay", "none"
    for before, after in zip(case.states, case.states[1:], strict=False):
        for old, new in zip(before.requests, after.requests, strict=True):
            if new.seq_len > old.seq_len:
                yield "replay", "grows"
            elif new.seq_len < old.seq_len:
                yield "replay", "shrinks" if new.seq_len else "becomes padding"
            if old.seq_len and new.seq_len - old.seq_len == max(1, new.query_len):
                yield "replay", "appends"
            if not old.seq_len and new.seq_len:
                yield "replay", "starts"
            if new.query_len != old.query_len:
                yield "replay", "query lengths"
        yield "between replays", after.between or "nothing"
        if after.is_remapped:
            yield "replay", "remapped"
        if after.values_seed:
            yield "replay", "new values"


class Coverage:
    """Counts how many cases reached each bucket."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale.name
        self.universe = universe(scale)
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, case: Case) -> None:
        """Count one case, once per bucket."""
        self.counts.update(set(buckets(case)))

    def unreached(self) -> list[str]:
        """`dimension: bucket` of everything that should have been reached and was not."""
        return [
            f"{dimension}: {bucket}"
            for dimension, names in self.universe.items()
            for bucket in names
            if not self.counts[dimension, bucket]
        ]

    def table(self) -> dict[str, dict[str, int]]:
        """Dimension -> bucket -> cases, those that should have been reached and were not with 0."""
        names = {dimension: list(buckets) for dimension, buckets in self.universe.items()}
        for dimension, bucket in self.counts:
            if dimension != "blocks" and bucket not in names.setdefault(dimension, []):
                names[dimension].append(bucket)
        return {dimension: {name: self.counts[dimension, name] for name in names[dimension]} for dimension in names}

    def tie_classes(self) -> dict[str, int]:
        """How many cases had values with ties of which kind, by the promise of their family."""
        classes = {family.ties: 0 for family in FAMILIES.values()}
        for name, family in FAMILIES.items():
            classes[family.ties] += self.counts["values", name]
        return classes

    def lines(self) -> list[str]:
        """One line per dimension: how many cases reached each bucket."""
        return [
            f"{dimension}: " + ", ".join(f"{name} {self.counts[dimension, name]}" for name in names)
            for dimension, names in self.universe.items()
        ]

"""From a case to tensors, bit for bit on any machine.

Everything small is built on the CPU from raw Philox words and then copied; only the `hashed` family
is made where it lives, by integer arithmetic. What no one may read is poison.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fuzz.cases.case import Case, Step, ViewPlan
from fuzz.inputs.future_keys import plant_future
from fuzz.inputs.page_layout import INT_MAX, Layout, block_table, lay_out, live_tokens, physical_pages, poison_rows
from fuzz.inputs.views import OUT_MARKER, View, make_far_pages, make_far_scores, make_view, same_bits
from fuzz.values.families import mix_scores, plant_nonfinite, require_exact
from fuzz.values.family import Designed, Lattice, Shape
from fuzz.values.rng import Stream, hashed_integers
from msa_ref import PagedBatch
from msa_ref.config import require
from msa_ref.formats import ELEMENTS


def shape_of(case: Case, num_blocks: int) -> Shape:
    """The facts of a case that a family of values may use."""
    config = case.config
    return Shape(num_blocks, config.block_size, config.index_head_dim, config.topk_blocks, case.dtype)


def queries_and_keys(case: Case, step: Step, layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """CPU [T, H, D] and logical pages [num_logical, S, D] of one state, in the case's dtype.

    Raises:
        ValueError: if the values would not be exact.
    """
    config, family = case.config, case.values.made_by
    seed = step.values_seed or case.seed
    queries: list[np.ndarray] = []
    num_logical = int(layout.source.max(initial=-1)) + 1
    pages = np.zeros((num_logical, config.block_size, config.index_head_dim), dtype=np.float32)
    for req, request in enumerate(step.requests):
        shape = shape_of(case, len(layout.logical[req]))
        stream, is_negative = Stream(seed, f"request {req}"), case.values.is_negative
        keys = family.keys(stream, shape, is_negative)
        query = family.queries(stream, request.query_len, config.num_index_heads, shape, is_negative)
        if case.values.is_future_best:
            plant_future(stream, keys, query, request.seq_len, case.values, shape)
        if family.sums_are_exact:
            require_exact(torch.from_numpy(query), torch.from_numpy(keys), family.name)
        if family.has_nonfinite:
            plant_nonfinite(stream, keys, query, shape)
        queries.append(query)
        is_own = layout.logical[req] >= (case.pages.shared_blocks if req else 0)
        pages[layout.logical[req][is_own]] = keys[is_own]
    dtype = ELEMENTS[case.dtype].dtype
    scale = 1.0 if isinstance(family, Designed) else 2.0**case.values.log2_scale
    q, k = torch.from_numpy(np.concatenate(queries)), torch.from_numpy(pages) * scale
    rounded = q.to(dtype), k.to(dtype)
    for name, exact, there in (("queries", q, rounded[0]), ("keys", k, rounded[1])):
        is_kept = (there.float() == exact) | exact.isnan()
        require(bool(is_kept.all()), name, f"must be representable in {case.dtype}", f"family {family.name!r}")
    return rounded


GARBAGE = {"nan": np.nan, "inf": np.inf, "bait": 1e30}
"""Scores that nobody may look at, by the poison of a case's page tails."""


class Scene:
    """The tensors of one case on one device, and the state of its replay script they are in.

    batch: the inputs, views into buffers of their own that keep their addresses at every state.
    out: the view to write, [H, T + extra_rows, K] int32, or None where the target allocates.
    query_lens, seq_lens: the state's lengths on the host.
    """

    def __init__(self, case: Case, device: torch.device | str) -> None:
        """Make the buffers and put the case's first state into them.

        Raises:
            ValueError: one sentence, if the case cannot be made.
        """
        self.case, self.device, self.state = case, torch.device(device), -1
        require(not case.pages.is_far or self.device.type != "cpu", "device", "must have memory for far pages", "a CPU")
        config, views = case.config, case.views
        dtype = ELEMENTS[case.dtype].dtype
        layout = lay_out(case, 0)
        num_reqs, nan = len(case.requests), float("nan")
        page_shape = (layout.num_pages, config.block_size, config.index_head_dim)
        q_shape = (case.total_q, config.num_index_heads, config.index_head_dim)

        def view(shape: tuple[int, ...], kind: torch.dtype, plan: ViewPlan, fill: float) -> View:
            return make_view(shape, kind, device, plan, fill, views.is_fenced)

        self._views = {
            "index_q": view(q_shape, dtype, views.index_q, nan),
            "index_k_pages": make_far_pages(*page_shape, dtype, self.device)
            if case.pages.is_far
            else view(page_shape, dtype, views.index_k_pages, nan),
            "block_table": view((num_reqs, case.max_blocks), torch.int32, views.block_table, INT_MAX),
            "seq_lens": view((num_reqs,), torch.int32, views.seq_lens, INT_MAX),
            "cu_seqlens_q": view((num_reqs + 1,), torch.int32, views.cu_seqlens_q, -INT_MAX),
        }
        self._out: View | None = None
        self._score: View | None = None
        self._room: View | None = None
        self._values: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.batch = PagedBatch(config, **{name: view.tensor for name, view in self._views.items()})
        self.apply(0)

    def apply(self, state: int, is_forced: bool = False) -> None:
        """Overwrite the buffers with another state of the case's script: 0, or a replay step + 1.

        is_forced: also when they should hold it already.
        """
        if state == self.state and not is_forced:
            return
        case, step = self.case, self.case.states[state]
        self.state, self.layout = state, lay_out(case, state)
        self.query_lens: list[int] = [request.query_len for request in step.requests]
        self.seq_lens: list[int] = [request.seq_len for request in step.requests]
        if case.values.made_by.is_on_device:
            self._fill_hashed(step)
        else:
            if state not in self._values:
                queries, logical_pages = queries_and_keys(case, step, self.layout)
                self._values[state] = queries, physical_pages(case, step, self.layout, logical_pages)
            queries, pages = self._values[state]
            self.batch.index_q.copy_(queries)
            self.batch.index_k_pages.copy_(pages)
        self.batch.block_table.copy_(block_table(case, step, state, self.layout))
        self.batch.seq_lens.copy_(torch.tensor(self.seq_lens, dtype=torch.int32))
        self.batch.cu_seqlens_q.copy_(torch.tensor(_running_sum(self.query_lens), dtype=torch.int32))
        if self._score is not None:
            self._fill_score(step)
        self._before = {name: view.base.clone() for name, view in self._views.items()}

    def _fill_hashed(self, step: Step) -> None:
        """The `hashed` family: made on the device, a few thousand pages at a time."""
        config, seed = self.case.config, step.values_seed or self.case.seed
        family = self.case.values.made_by
        assert isinstance(family, Lattice)
        ranges = family.ranges(shape_of(self.case, 1))
        batch, dtype, scale = self.batch, self.batch.index_k_pages.dtype, 2.0**self.case.values.log2_scale
        least, most = (0, 0) if self.case.values.is_negative else (-ranges.q_high, ranges.k_high)
        q = hashed_integers(0, batch.index_q.numel(), seed + 1, least, ranges.q_high, self.device)
        batch.index_q.copy_(q.view(batch.index_q.shape))
        page_size = config.block_size * config.index_head_dim
        order = torch.from_numpy(np.argsort(self.layout.source, kind="stable")).to(self.device)
        num_spare = int((self.layout.source < 0).sum())
        chunk = max(1, 2**25 // page_size)
        for first in range(0, batch.num_pages - num_spare, chunk):
            count = min(chunk, batch.num_pages - num_spare - first)
            keys = hashed_integers(first * page_size, count * page_size, seed, -ranges.k_high, most, self.device)
            keys = (keys.view(count, config.block_size, config.index_head_dim).float() * scale).to(dtype)
            batch.index_k_pages[order[num_spare + first : num_spare + first + count]] = keys
        live = torch.from_numpy(live_tokens(self.case, step, self.layout)).to(self.device)
        poison = torch.from_numpy(poison_rows(self.case, 1)[0])
        poison = poison.to(self.device, dtype)
        batch.index_k_pages[live == 0] = poison
        for page in ((live > 0) & (live < config.block_size)).nonzero().flatten().tolist():
            batch.index_k_pages[page, int(live[page]) :] = poison[int(live[page]) :]

    def score(self) -> torch.Tensor:
        """[H, T, max_blocks] float32 made to order, garbage where a row sees no block."""
        if self._score is None:
            self._score = self._new_score()
            self._fill_score(self.case.states[self.state])
        return self._score.tensor

    def room(self) -> torch.Tensor | None:
        """[H, T, max_blocks] float32 to write scores to, full of garbage; None where the target makes its own.

        The same memory for all runs; `new_out` fills it again.
        """
        if self.case.views.score == ViewPlan() and not self.case.pages.is_far:
            return None
        if self._room is None:
            self._room = self._new_score()
            self._fill_room()
        return self._room.tensor

    def _fill_room(self) -> None:
        if self._room is not None:
            self._room.tensor.fill_(GARBAGE[self.case.pages.tail])

    def _new_score(self) -> View:
        case = self.case
        shape = (case.config.num_index_heads, case.total_q, case.max_blocks)
        if case.pages.is_far:
            most = max(case.num_blocks(req) for req in range(len(case.requests)))
            return make_far_scores(shape, most, self.device)
        return make_view(shape, torch.float32, self.device, case.views.score, float("nan"))

    def _fill_score(self, step: Step) -> None:
        case = self.case
        assert self._score is not None
        num_heads, total_q, max_blocks = self._score.tensor.shape
        score = np.full((num_heads, total_q, max_blocks), GARBAGE[case.pages.tail], dtype=np.float32)
        token = 0
        for req, request in enumerate(step.requests):
            num_blocks = case.config.num_blocks(request.seq_len)
            if request.query_len and num_blocks:
                shape = replace(shape_of(case, num_blocks), dtype="float32")
                stream = Stream(step.values_seed or case.seed, f"score {req}")
                rows = mix_scores(case.values.family, stream, num_heads * request.query_len, shape)
                score[:, token : token + request.query_len, :num_blocks] = rows.reshape(num_heads, -1, num_blocks)
            token += request.query_len
        visible = self.host_visible_blocks()
        score[:, np.arange(max_blocks) >= visible[:, None]] = GARBAGE[case.pages.tail]
        self._score.tensor.copy_(torch.from_numpy(score))

    def host_visible_blocks(self) -> np.ndarray:
        """[T] int64, blocks that each query token sees, from the host's lengths."""
        rows = [
            np.maximum(0, seq_len - query_len + 1 + np.arange(query_len))
            for query_len, seq_len in zip(self.query_lens, self.seq_lens, strict=True)
        ]
        return -(-np.concatenate(rows) // self.case.config.block_size)

    def new_out(self) -> torch.Tensor | None:
        """A freshly marked output for one run, at the same address every time; room for scores is garbage again."""
        self._fill_room()
        views, config = self.case.views, self.case.config
        if not views.is_out_given:
            return None
        if self._out is None:
            shape = (config.num_index_heads, self.case.total_q + views.extra_rows, config.topk_blocks)
            self._out = make_view(shape, torch.int32, self.device, views.out, OUT_MARKER)
        self._out.base.fill_(OUT_MARKER)
        return self._out.tensor

    @property
    def present_out(self) -> torch.Tensor | None:
        """The output that `new_out` marked last; None where the target allocates."""
        return None if self._out is None else self._out.tensor

    def written_outside(self) -> int:
        """Elements in the output's buffer that a run changed though they are no row of total_q."""
        if self._out is None:
            return 0
        is_outside = torch.ones_like(self._out.base, dtype=torch.bool)
        inside = self._out.tensor[:, : self.case.total_q]
        is_outside.as_strided(inside.shape, inside.stride(), inside.storage_offset()).fill_(False)
        return int(((self._out.base != OUT_MARKER) & is_outside).sum())

    def changed_inputs(self) -> list[str]:
        """Names of the inputs whose buffers, margins included, are no longer what they were."""
        return [name for name, view in self._views.items() if not same_bits(view.base, self._before[name])]


def _running_sum(lens: Sequence[int]) -> list[int]:
    total = [0]
    for length in lens:
        total.append(total[-1] + length)
    return total

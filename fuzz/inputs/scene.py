"""The tensors of one case, in buffers that keep their addresses while their contents change.

Memory that a target must not read holds poison, and margins around every buffer show wrong writes.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

import torch

from fuzz.cases.case import Case, ViewPlan
from fuzz.inputs.bit_equality import same_bits, same_width
from fuzz.inputs.contents import GARBAGE, designed_scores, fill_hashed, queries_and_keys
from fuzz.inputs.far_buffers import (
    far_axis,
    make_far_pages,
    make_far_rows,
    make_far_score_rows,
    make_far_scores,
    make_late_pages,
)
from fuzz.inputs.late_change import change_late
from fuzz.inputs.output import OUT_MARKER, Output
from fuzz.inputs.page_layout import INT_MAX, block_table, lay_out, physical_pages
from fuzz.inputs.views import View, make_plain, make_view
from fuzz.inputs.workspace import Workspace
from fuzz.inputs.write_barrier import write_barrier
from msa_ref import PagedBatch
from msa_ref.config import require

NO_KEY = 0xFF
"""The byte around keys of bytes: as a scale it is NaN."""


class Scene:
    """The tensors of one case on one device, and the state of its replay script they are in.

    batch: the inputs, views into buffers of their own that keep their addresses at every state.
    query_lens, seq_lens: the state's lengths on the host.
    """

    def __init__(
        self,
        case: Case,
        device: torch.device | str,
        apart: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Make the buffers and put the case's first state into them.

        apart: what work between a target's runs goes on in, as its time is not the target's.

        Raises:
            ValueError: one sentence, if the case cannot be made.
        """
        self.case, self.device, self.state, self.apart = case, torch.device(device), -1, apart
        config, views = case.config, case.views
        is_shared = case.pages.shared_blocks >= case.max_row_blocks and not case.pages.repeated_blocks
        is_one_row = not views.block_table.expanded or (is_shared and not case.pages.pool_pages)
        require(is_one_row, "shared_blocks", "must be all blocks where the table is expanded", case.pages.shared_blocks)
        is_made_once = not (views.index_q.expanded and case.values.made_by.is_on_device)
        require(is_made_once, "family", "must not be made on the device where queries are expanded", case.values.family)
        queries, keys = case.formats.queries, case.formats.keys
        num_reqs, nan = len(case.requests), float("nan")
        page_shape = (lay_out(case, 0).num_pages, config.block_size, keys.row_len(config.index_head_dim))
        q_shape = (case.total_q, config.num_index_heads, config.index_head_dim)

        def view(shape: tuple[int, ...], kind: torch.dtype, plan: ViewPlan, fill: float) -> View:
            return self._far_or_new_view(shape, kind, plan, fill, views.fence)

        def pages() -> View:
            if case.pages.skipped_pages:
                return make_late_pages(case.pages.skipped_pages, *page_shape, keys.dtype, self.device)
            if case.pages.is_far:
                return make_far_pages(*page_shape, keys.dtype, self.device)
            return view(page_shape, keys.dtype, views.index_k_pages, nan if keys.dtype.is_floating_point else NO_KEY)

        self._views = {
            "index_q": view(q_shape, queries.dtype, views.index_q, nan),
            "index_k_pages": pages(),
            "block_table": view((num_reqs, case.max_blocks), torch.int32, views.block_table, INT_MAX),
            "seq_lens": view((num_reqs,), torch.int32, views.seq_lens, INT_MAX),
            "cu_seqlens_q": view((num_reqs + 1,), torch.int32, views.cu_seqlens_q, -INT_MAX),
        }
        self._out: Output | None = None
        self._score: View | None = None
        self._score_out: View | None = None
        self._workspace: Workspace | None = None
        self._values: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.batch = PagedBatch(config, **{name: view.tensor for name, view in self._views.items()})
        self._uncounted = {name: view.uncounted for name, view in self._views.items()}
        self._apply(0)

    def _far_or_new_view(
        self, shape: tuple[int, ...], kind: torch.dtype, plan: ViewPlan, fill: float, fence: str = ""
    ) -> View:
        is_far = self.case.pages.is_far and plan == ViewPlan() and len(shape) > 1
        if is_far and (axis := far_axis(shape, self.device)) is not None:
            return make_far_rows(shape, axis, kind, fill)
        return self._new_view(shape, kind, plan, fill, fence)

    def _new_view(
        self, shape: tuple[int, ...], kind: torch.dtype, plan: ViewPlan, fill: float, fence: str = ""
    ) -> View:
        if self.case.views.is_plain and plan == ViewPlan() and not fence:
            return make_plain(shape, kind, self.device, fill)
        return make_view(shape, kind, self.device, plan, fill, fence, self.case.views.align)

    def apply(self, state: int, is_forced: bool = False) -> None:
        """Overwrite the buffers with another state of the case's script: 0, or a replay step + 1.

        is_forced: overwrite them even if they should hold that state already.
        """
        if state != self.state or is_forced:
            with self.apart():
                self._apply(state)

    def _apply(self, state: int) -> None:
        """Every other state is written as kernels write: no tensor counts it (`torch.Tensor._version`)."""
        case, step = self.case, self.case.states[state]
        views = self._uncounted if state % 2 else self._views
        tensors = {name: view.tensor for name, view in views.items()}
        tensors["index_k_pages"] = tensors["index_k_pages"][case.pages.skipped_pages :]
        batch = PagedBatch(case.config, **tensors)
        self.state, layout = state, lay_out(case, state)
        self.query_lens: list[int] = [request.query_len for request in step.requests]
        self.seq_lens: list[int] = [request.seq_len for request in step.requests]
        if case.values.made_by.is_on_device:
            fill_hashed(case, step, layout, batch)
        else:
            if state not in self._values:
                queries, logical_pages = queries_and_keys(case, step, layout)
                self._values[state] = queries, physical_pages(case, step, layout, logical_pages)
            queries, pages = self._values[state]
            self._write("index_q", views, queries)
            batch.index_k_pages.copy_(pages)
        if step.is_turned:
            turned = same_width(batch.index_q[: case.total_q - case.rows_behind(step)]).flip(1)
            same_width(batch.index_q[: len(turned)]).copy_(turned)
        if step.late:
            change_late(case, step, layout, batch)
        # A table of one row is that of the longest request: the others' entries are its first ones.
        longest = max(range(len(self.seq_lens)), key=self.seq_lens.__getitem__, default=0)
        self._write("block_table", views, block_table(case, step, state, layout), longest)
        batch.seq_lens.copy_(torch.tensor(self.seq_lens, dtype=torch.int32))
        cu_seqlens_q = list(accumulate(self.query_lens, initial=0))
        batch.cu_seqlens_q.copy_(torch.tensor(cu_seqlens_q, dtype=torch.int32))
        if self._score is not None:
            self._score.tensor.copy_(designed_scores(case, step))
        self._before = {name: view.base.clone() for name, view in self._inputs().items()}

    def _write(self, name: str, views: Mapping[str, View], values: torch.Tensor, first: int = 0) -> None:
        """Write an input by one of some views. first: the row of the values that all have along an expanded axis."""
        for axis in getattr(self.case.views, name).expanded:
            values = values.narrow(axis, min(first, max(0, values.shape[axis] - 1)), min(1, values.shape[axis]))
        views[name].once.copy_(values)

    def write_barrier(self) -> AbstractContextManager[Callable[[], list[str]]]:
        """While a run is inside, a write to an input on a CPU is noticed, whatever is written."""
        return write_barrier({name: view.pages for name, view in self._inputs().items() if view.pages is not None})

    def _inputs(self) -> dict[str, View]:
        return self._views if self._score is None else self._views | {"score": self._score}

    def withhold(self) -> None:
        """Overwrite the inputs with those of a batch whose requests have no tokens, until `deliver`."""
        for view in self._inputs().values():
            view.once.zero_()

    def deliver(self) -> None:
        """Write the inputs again that `withhold` overwrote."""
        for name, view in self._inputs().items():
            view.base.copy_(self._before[name])

    def score(self) -> torch.Tensor:
        """[H, T, max_blocks] float32 made to order, garbage where a row sees no block."""
        if self._score is None:
            self._score = self._new_score()
            self._score.tensor.copy_(designed_scores(self.case, self.case.states[self.state]))
            self._before["score"] = self._score.base.clone()
        return self._score.tensor

    def score_out(self) -> torch.Tensor | None:
        """[H, T, max_blocks] float32 to write scores to, full of garbage; None where the target makes its own.

        The same memory for all runs; `new_out` fills it again.
        """
        if self.case.views.score == ViewPlan() and not self.case.pages.is_far:
            return None
        if self._score_out is None:
            self._score_out = self._new_score()
            self._fill_score_out()
        return self._score_out.tensor

    @torch.inference_mode(False)
    def workspace(self, num_bytes: int) -> torch.Tensor:
        """uint8 [num_bytes], garbage before each run: the same memory until a run needs another size."""
        if self._workspace is None or len(self._workspace.tensor) != num_bytes:
            self._workspace = Workspace(num_bytes, self.device)
            self._workspace.fill(self.case.pages.tail)
        return self._workspace.tensor

    def is_workspace_overrun(self) -> bool:
        """True if a run wrote outside of its workspace."""
        return self._workspace is not None and self._workspace.is_overrun()

    def _fill_score_out(self) -> None:
        if self._score_out is not None:
            self._score_out.tensor.fill_(GARBAGE[self.case.pages.tail])

    @torch.inference_mode(False)  # a target that asks for it may run in that mode, and later runs are outside of it
    def _new_score(self) -> View:
        """Memory for scores. A target's run may ask for it in inference mode; it is filled again outside of that."""
        case = self.case
        shape = (case.config.num_index_heads, case.total_q, case.max_blocks)
        if case.pages.is_far:
            heads = case.config.num_index_heads
            if case.seed % 2 or heads * case.total_q < 2:
                return make_far_scores(shape, case.max_row_blocks, self.device)
            return make_far_score_rows(shape, heads > 2 and case.seed % 4 == 0, self.device)
        return self._new_view(shape, torch.float32, case.views.score, float("nan"))

    @torch.inference_mode(False)
    def new_out(self, number: int = 0) -> torch.Tensor | None:
        """A freshly marked output [H, T + extra_rows, K] for one run, at the same address every time.

        None where the target allocates. Memory for scores, and workspace, is garbage again. number: of the run, see
        `Output.mark`.
        """
        self._fill_score_out()
        if self._workspace is not None:
            self._workspace.fill(self.case.pages.tail)
        views, config = self.case.views, self.case.config
        if not views.is_out_given:
            return None
        if self._out is None:
            shape = (config.num_index_heads, self.case.total_q + views.extra_rows, config.topk_blocks)
            view = self._far_or_new_view(shape, torch.int32, views.out, OUT_MARKER)
            self._out = Output(view, self.case.total_q)
        self._out.mark(number)
        return self._out.tensor

    def forget_out(self) -> None:
        """Give the next runs another output than those before."""
        self._out = None

    @property
    def output(self) -> Output | None:
        """The present output, its whole buffer; None if there is none."""
        return self._out

    @property
    def present_out(self) -> torch.Tensor | None:
        """The output that `new_out` marked last; None where the target allocates."""
        return None if self._out is None else self._out.tensor

    def written_outside(self) -> int:
        """Elements in the output's buffer that a run changed though they are no row of total_q."""
        return 0 if self._out is None else self._out.written_outside()

    def inputs_sharing(self, answer: torch.Tensor) -> list[str]:
        """Names of the inputs whose memory holds an answer."""
        address = answer.untyped_storage().data_ptr()
        return [name for name, view in self._inputs().items() if view.base.untyped_storage().data_ptr() == address]

    def lends(self, answer: torch.Tensor) -> bool:
        """True if an answer lies in memory that each run is lent: that for its scores, or its workspace."""
        lent = [None if view is None else view.tensor for view in (self._score_out, self._workspace)]
        address = answer.untyped_storage().data_ptr()
        return any(one is not None and one.untyped_storage().data_ptr() == address for one in lent)

    def changed_inputs(self) -> list[str]:
        """Names of the inputs whose buffers, margins included, are no longer what they were."""
        return [name for name, view in self._inputs().items() if not same_bits(view.base, self._before[name])]

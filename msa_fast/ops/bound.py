"""Calls that are bound once a step: what does not change between layers is checked, chosen and laid out for the first.

`PrefillLaunch` and `DecodeLaunch` hold the lengths, the pages' table and the plan of one step. The first call with
tensors of some shapes, strides and alignment checks them, launches as the operators do, and writes down what it
launched; further calls with such tensors launch the same kernels with other pointers, some ten times sooner. Tensors of
another kind are bound anew (`binding`). A later prefill step is launched as an earlier one (`step_kinds`).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import fields
from functools import partial
from typing import Any

import torch

from msa_fast.ops.binding import Binding, Prepared, bind
from msa_fast.ops.buffers import new_vector_score
from msa_fast.ops.checks import KEY_DTYPES, QUERY_DTYPES, check_batch, check_out, check_tensor, require_no_overlap
from msa_fast.ops.decode import choose_decode, launch_decode
from msa_fast.ops.launch_repeat import Span, is_apart
from msa_fast.ops.prefill import launch_prefill, prefill_scores
from msa_fast.ops.prefill_plan import PrefillPlan, check_plan
from msa_fast.ops.product import check_product
from msa_fast.ops.step_kinds import PrefillStep, StepKinds
from msa_ref.batch import PagedBatch
from msa_ref.config import IndexerConfig, require

MAX_BINDINGS = 64
"""Kinds of tensors that one launch is bound for at a time: a launch that serves many steps meets ever new ones."""
_BATCH_FIELDS = tuple(field.name for field in fields(PagedBatch))


class StepLaunch(ABC):
    """One side of one step, called once a layer with tensors that may differ. `num_bound` counts the bindings made.

    The answer is that of the operator with the same tensors, bit for bit; memory for scores is allocated at every call,
    so that calls on two streams, or in a captured graph, have their own.

    Args:
        config: the indexer.
        block_table, seq_lens, cu_seqlens_q: as `PagedBatch` takes them; kept, never copied.
        total_q: query tokens of this side.
        first_token: row of `index_query` and of `out` where they begin.
        kinds: those of a builder's earlier steps; by default none are known.
    """

    def __init__(
        self,
        config: IndexerConfig,
        block_table: torch.Tensor,
        seq_lens: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        total_q: int,
        first_token: int = 0,
        kinds: StepKinds | None = None,
    ) -> None:
        self.config = config
        self.num_bound = 0
        self._metadata = (block_table, seq_lens, cu_seqlens_q)
        self._tokens = slice(first_token, first_token + total_q)
        self._bindings: dict[Any, Binding] = {}
        self._kinds = StepKinds() if kinds is None else kinds
        self._step: PrefillStep | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def _prepare(
        self, batch: PagedBatch, out: torch.Tensor, num_splits: int | None, product: str, is_checked: bool = False
    ) -> Prepared:
        """Check a call as the operator does, if it is not checked, and choose its launches."""

    def _call(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        out: torch.Tensor,
        num_splits: int | None,
        is_bound: bool,
        product: str,
    ) -> torch.Tensor:
        if not is_bound:
            return self._plain(index_query, index_k_pages, out, num_splits, product)
        try:
            q, keys = index_query, index_k_pages
            addresses = q_address, k_address, _ = q.data_ptr(), keys.data_ptr(), out.data_ptr()
            word = keys.storage_offset() & 7  # of bytes that may be read in words
            key = (
                q.shape, q.stride(), q.dtype, q.device, q_address & 15,
                keys.shape, keys.stride(), keys.dtype, keys.device, k_address & 15, word,
                out.shape, out.stride(), out.dtype, out.device, num_splits, product,
            )  # fmt: skip
        except AttributeError:  # no tensors: the checks say which
            return self._plain(index_query, index_k_pages, out, num_splits, product)
        binding = self._bindings.get(key)
        if binding is not None:
            with self._lock:
                return binding.run((index_query, index_k_pages, out), addresses)
        kind = q.shape[1:], *key[1:]
        is_checked = kind in self._kinds.checked and q.shape[0] >= self._tokens.stop <= out.shape[1]
        if is_checked:
            binding = self._kinds.bound(kind, self._step)
            if binding is not None:
                with self._lock:  # another thread finds it as soon as it is kept
                    self._keep(key, binding)
                    return binding.run((q, keys, out), addresses)
            batch, own_out = self._batch_of_checked(q, keys, out)
            call = self._prepare(batch, own_out, num_splits, product, is_checked)
        else:
            call, own_out = self._prepared(index_query, index_k_pages, out, num_splits, product)
            self._kinds.add_checked(kind)
        changing = [Span.of(tensor) for tensor in (index_query, index_k_pages, out, *call.scores)]
        # Where they lie within each other in memory, an address does not say whose it is: such layers stay plain.
        if is_apart(changing, [Span.of(tensor) for tensor in (*self._metadata, *call.kept)]):
            binding = bind(call, q.device, changing, self._tokens)
            self._keep(key, binding)
            self._kinds.add_bound(kind, self._step, binding, call.scores, out)
        else:
            call.launch()
        return own_out

    def _keep(self, key: Hashable, binding: Binding) -> None:
        if len(self._bindings) >= MAX_BINDINGS:
            self._bindings.clear()
        self._bindings[key] = binding
        self.num_bound += 1

    def _plain(
        self, index_query: Any, index_k_pages: Any, out: Any, num_splits: int | None, product: str
    ) -> torch.Tensor:
        """The answer by plain launches."""
        call, own_out = self._prepared(index_query, index_k_pages, out, num_splits, product)
        call.launch()
        return own_out

    def _prepared(
        self, index_query: Any, index_k_pages: Any, out: Any, num_splits: int | None, product: str
    ) -> tuple[Prepared, torch.Tensor]:
        """A call, checked, and its rows of `out`."""
        batch, own_out = self.batch_of(index_query, index_k_pages, out)
        return self._prepare(batch, own_out, num_splits, product), own_out

    def _batch_of_checked(
        self, index_query: torch.Tensor, index_k_pages: torch.Tensor, out: torch.Tensor
    ) -> tuple[PagedBatch, torch.Tensor]:
        """`batch_of` tensors of a kind that was checked; they have the rows."""
        batch, own_out = object.__new__(PagedBatch), out[:, self._tokens]
        values = self.config, index_query[self._tokens], index_k_pages, *self._metadata
        vars(batch).update(zip(_BATCH_FIELDS, values, strict=True))
        require_no_overlap(own_out, "out")  # some rows may overlap where fewer did not
        return batch, own_out

    def batch_of(self, index_query: Any, index_k_pages: Any, out: Any) -> tuple[PagedBatch, torch.Tensor]:
        """The batch of this side for one layer, and its rows of `out`, all of them checked.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        check_tensor(index_query, "index_query", ("total_q", "num_index_heads", "index_head_dim"), QUERY_DTYPES)
        check_tensor(index_k_pages, "index_k_pages", ("num_pages", "block_size", "index_head_dim"), KEY_DTYPES)
        end = self._tokens.stop
        require(len(index_query) >= end, "index_query", f"must have >= {end} rows", len(index_query))
        heads, k = self.config.num_index_heads, self.config.topk_blocks
        has_rows = isinstance(out, torch.Tensor) and out.ndim == 3 and out.shape[1] >= end
        require(has_rows, "out", f"must be [{heads}, >= {end}, {k}]", getattr(out, "shape", type(out).__name__))
        batch = PagedBatch(self.config, index_query[self._tokens], index_k_pages, *self._metadata)
        check_batch(batch)
        own_out = out[:, self._tokens]
        check_out(own_out, batch)
        return batch, own_out


class PrefillLaunch(StepLaunch):
    """`minimax_m3_index_prefill` of one step, bound: called once a layer with queries, key pages and `out`.

    Args:
        plan: built for the step's lengths.
        block_table, seq_lens, cu_seqlens_q, first_token, kinds: as `StepLaunch` takes them.
    """

    def __init__(
        self,
        plan: PrefillPlan,
        block_table: torch.Tensor,
        seq_lens: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        first_token: int = 0,
        kinds: StepKinds | None = None,
    ) -> None:
        super().__init__(plan.config, block_table, seq_lens, cu_seqlens_q, plan.total_q, first_token, kinds)
        self.plan = plan
        self._step = PrefillStep(plan, block_table, seq_lens, cu_seqlens_q, self._tokens)

    def __call__(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        out: torch.Tensor,
        is_bound: bool = True,
        product: str = "exact",
    ) -> torch.Tensor:
        """Select for one layer.

        Args:
            index_query: [>= first_token + T, H, D].
            index_k_pages: [num_pages, S, D].
            out: [H, >= first_token + T, K] int32; rows of other tokens stay untouched.
            is_bound: False checks and launches as the operator does.
            product: as `minimax_m3_index_prefill` takes it.

        Returns:
            [H, T, K] int32, a view of `out`.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        return self._call(index_query, index_k_pages, out, None, is_bound, product)

    def _prepare(
        self, batch: PagedBatch, out: torch.Tensor, num_splits: int | None, product: str, is_checked: bool = False
    ) -> Prepared:
        if not is_checked:
            check_plan(self.plan, batch)
            check_product(product, batch)
        scores = prefill_scores(batch, self.plan, product)
        launch = partial(launch_prefill, batch, self.plan, out, *scores, product=product)
        return Prepared(launch, scores, (self.plan.tiles.memory,))


class DecodeLaunch(StepLaunch):
    """`minimax_m3_index_decode` of one step, bound: called once a layer with queries, key pages and `out`.

    Args:
        decode_query_len: bound on the query tokens of a request.
        config, block_table, seq_lens, cu_seqlens_q, total_q, first_token: as `StepLaunch` takes them.
    """

    def __init__(
        self,
        config: IndexerConfig,
        decode_query_len: int,
        block_table: torch.Tensor,
        seq_lens: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        total_q: int,
        first_token: int = 0,
    ) -> None:
        super().__init__(config, block_table, seq_lens, cu_seqlens_q, total_q, first_token)
        self.decode_query_len = decode_query_len

    def __call__(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        out: torch.Tensor,
        num_splits: int | None = None,
        is_bound: bool = True,
        product: str = "exact",
    ) -> torch.Tensor:
        """Select for one layer; arguments as `PrefillLaunch` takes them, num_splits as `minimax_m3_index_decode`."""
        return self._call(index_query, index_k_pages, out, num_splits, is_bound, product)

    def _prepare(
        self, batch: PagedBatch, out: torch.Tensor, num_splits: int | None, product: str, is_checked: bool = False
    ) -> Prepared:
        choice = choose_decode(batch, self.decode_query_len, num_splits, product)
        score = new_vector_score(batch, choice.is_interleaved)
        return Prepared(partial(launch_decode, batch, choice, out, score), (score,), ())

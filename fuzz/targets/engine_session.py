"""One engine that lives through the steps of a case, and the layers around the one that is judged.

Some laws are broken where the judge cannot look: in the slots of micro-batches, and between layers. They are held here.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from fuzz.cases.case import Case, EnginePlan
from fuzz.cases.engine_steps import drafts_of, order_fault, query_lens_of
from fuzz.inputs.output import OUT_MARKER
from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.call import Call
from fuzz.targets.engine import Engine, EngineSetup, EngineStep
from fuzz.targets.layers import another_layer
from fuzz.targets.not_applicable import NotApplicable
from msa_ref import PAD


class Session:
    """One engine, and the layers around the judged one."""

    def __init__(
        self,
        make: Callable[[EngineSetup], Engine],
        call: Call,
        case: Case | None,
        is_token_major: bool,
        fills_buffers: bool,
    ) -> None:
        """case: all of its states are steps of the engine; None for one step, that of the call.

        fills_buffers: whether the engine promises its selections in `topk_indices_buffers`.
        """
        batch, config = call.batch, call.batch.config
        self.plan = EnginePlan() if case is None else case.engine
        self.token_axis, self.fills_buffers = 0 if is_token_major else 1, fills_buffers
        num_reqs = len(call.seq_lens)
        self.extra_queries = batch.total_q - sum(call.query_lens) if case is None else case.extra_queries
        steps = [call.query_lens] if case is None else query_lens_of(case)
        seq_lens = call.seq_lens if case is None else [r.seq_len for state in case.states for r in state.requests]
        fault = order_fault(steps)
        if fault is not None:
            raise NotApplicable(fault)
        second = self.plan.second_micro_batch if self.plan.second_micro_batch < num_reqs else 0
        self.second = second
        self.layers = [
            (batch.index_q, batch.index_k_pages) if layer == self.plan.judged_layer else another_layer(call)
            for layer in range(self.plan.num_layers)
        ]
        self.own_buffers = list[torch.Tensor]()
        self.buffers = self._buffers(call)
        before = None if call.out is None else call.out.clone()
        self.engine = make(
            EngineSetup(
                config=config,
                device=batch.device,
                max_num_reqs=max(1, num_reqs),
                max_num_tokens=batch.total_q,
                max_model_len=max([1, *seq_lens]) + call.host_slack,
                num_speculative_tokens=drafts_of(steps),
                num_micro_batches=1 + bool(second),
                index_query=tuple(queries for queries, _ in self.layers),
                index_k_pages=tuple(pages for _, pages in self.layers),
                topk_indices_buffers=tuple(self.buffers),
            )
        )
        if call.out is not None and before is not None:
            call.out.copy_(before)  # an engine may have run its layers to capture them

    def _buffers(self, call: Call) -> list[torch.Tensor]:
        """The buffers of all layers; the judged one's is `call.out` where that is given and holds a whole step."""
        config, tokens = call.batch.config, call.batch.total_q
        shape = [config.num_index_heads, tokens, config.topk_blocks]
        if self.token_axis == 0:
            shape[:2] = shape[1::-1]
        slots = [2] if self.second else []

        def new() -> torch.Tensor:
            with torch.inference_mode(False):
                buffer = torch.full((*slots, *shape), OUT_MARKER, dtype=torch.int32, device=call.batch.device)
            self.own_buffers.append(buffer)
            return buffer

        own = new() if slots or call.out is None else call.out
        if self.plan.is_buffer_shared:
            return [own] * self.plan.num_layers
        return [own if layer == self.plan.judged_layer else new() for layer in range(self.plan.num_layers)]

    def step(self, call: Call) -> torch.Tensor:
        """Build one step, run every layer, and hand the selections of the judged one over."""
        for buffer in self.own_buffers:
            buffer.fill_(OUT_MARKER)
        before = [buffer.clone() for buffer in self.buffers]
        old_out = None if call.out is None else call.out.clone()
        starts = [0]
        for query_len in call.query_lens:
            starts.append(starts[-1] + query_len)
        parts, num_rows = self._micro_batches(call), starts[-1] + self.extra_queries
        spans = [slice(starts[first], starts[last]) for first, last in parts]
        # The last one has the rows behind the step's requests.
        ends = [*(span.stop for span in spans[:-1]), num_rows]
        metadata = [
            self.engine.build(_step_of(call, starts, *part, end), number)
            for number, (part, end) in enumerate(zip(parts, ends, strict=True))
        ]
        judged = kept = torch.empty(0)
        for layer, (queries, pages) in enumerate(self.layers):
            given = []
            for rows, end, step in zip(spans, ends, metadata, strict=True):
                given.append(self.engine.forward(layer, queries[rows.start : end], pages, step))
            self._require_untouched(layer, before)
            answers = [self._whole(parts, rows, call) for parts, rows in zip(given, spans, strict=True)]
            if layer == self.plan.judged_layer:
                self._hold_to_buffer(answers, self.buffers[layer], before[layer])
                judged, kept = torch.cat(answers, self.token_axis), self.buffers[layer].clone()
        buffer = self.buffers[self.plan.judged_layer]
        if not self.plan.is_buffer_shared and not torch.equal(kept, buffer):
            raise BrokenLaw("WritesOnly", "another layer wrote into this layer's topk_indices_buffer")
        return self._handed_over(call, judged, old_out)

    def _micro_batches(self, call: Call) -> list[tuple[int, int]]:
        """The first request and the end of each; without the step's padding requests, if the engine is given none."""
        last = len(call.seq_lens)
        while not self.plan.has_padding and last > 1 + self.second and not call.query_lens[last - 1]:
            last -= 1
        return list(pairwise([0, self.second, last] if self.second else [0, last]))

    def _require_untouched(self, layer: int, before: list[torch.Tensor]) -> None:
        """The layers after one that ran have not been written yet, unless all share a buffer."""
        later = [] if self.plan.is_buffer_shared else range(layer + 1, len(self.buffers))
        if not all(torch.equal(self.buffers[other], before[other]) for other in later):
            raise BrokenLaw("WritesOnly", f"layer {layer} wrote into another layer's topk_indices_buffer")

    def _whole(self, parts: Any, rows: slice, call: Call) -> torch.Tensor:
        """The selections of one micro-batch as one tensor of their own."""
        tensors = [part for part in (parts if isinstance(parts, tuple) else (parts,)) if part is not None]
        config, num_tokens = call.batch.config, rows.stop - rows.start
        shape = [config.num_index_heads, num_tokens, config.topk_blocks]
        if self.token_axis == 0:
            shape[:2] = shape[1::-1]
        empty = torch.empty([*shape[: self.token_axis], 0, *shape[self.token_axis + 1 :]], dtype=torch.int32)
        whole = torch.cat([empty.to(call.batch.device), *tensors], self.token_axis)
        if list(whole.shape) != shape or whole.dtype != torch.int32:
            got = f"{whole.dtype} {list(whole.shape)}"
            raise BrokenLaw("Shape", f"forward gave {got} for {num_tokens} tokens, not torch.int32 {shape}")
        return whole

    def _hold_to_buffer(self, answers: list[torch.Tensor], buffer: torch.Tensor, before: torch.Tensor) -> None:
        """The buffer holds what was returned, and nothing is written after it; or it was not used."""
        axis, is_unused = self.token_axis, torch.equal(buffer, before)
        slots = zip(answers, *(each if each.dim() == 4 else each[None] for each in (buffer, before)), strict=True)
        for answer, slot, old_slot in slots:
            num_tokens, num_rows = answer.shape[axis], slot.shape[axis]
            if not torch.equal(slot.narrow(axis, 0, num_tokens), answer):
                if not is_unused:
                    raise BrokenLaw("Shape", "forward returned other selections than it wrote into topk_indices_buffer")
                if self.fills_buffers:
                    raise BrokenLaw("WritesAll", "left its topk_indices_buffer as it was")
            behind, old = (each.narrow(axis, num_tokens, num_rows - num_tokens) for each in (slot, old_slot))
            if buffer.dim() == 4 and not bool(((behind == old) | (behind == PAD)).all()):
                raise BrokenLaw("WritesOnly", "wrote behind the tokens of a micro-batch in its slot")

    def _handed_over(self, call: Call, judged: torch.Tensor, old_out: torch.Tensor | None) -> torch.Tensor:
        """The judged layer's selections in `call.out`; rows behind the step's tokens are PAD if nobody wrote them."""
        axis, num_tokens, total_q = self.token_axis, judged.shape[self.token_axis], call.batch.total_q
        shape = list(judged.shape)
        shape[axis] = total_q - num_tokens
        if call.out is None or old_out is None:
            return torch.cat([judged, judged.new_full(shape, PAD)], axis)
        call.out.narrow(axis, 0, num_tokens).copy_(judged)
        behind, old = (each.narrow(axis, num_tokens, total_q - num_tokens) for each in (call.out, old_out))
        behind.copy_(torch.where(behind == old, PAD, behind))
        return call.out


def _step_of(call: Call, starts: list[int], first: int, last: int, end: int) -> EngineStep:
    """The requests from `first` to `last` as a step, whose rows end before the row `end`."""
    batch, num_tokens = call.batch, end - starts[first]
    query_start_loc = batch.cu_seqlens_q[first : last + 1]
    room = batch.max_blocks * batch.config.block_size  # an engine's table has a column for all that its host expects
    bounds = [min(bound, room) for bound in call.seq_len_bounds[first:last]]
    return EngineStep(
        query_start_loc=query_start_loc - starts[first] if first else query_start_loc,
        query_start_loc_cpu=torch.tensor(starts[first : last + 1], dtype=torch.int32, device="cpu") - starts[first],
        seq_lens=batch.seq_lens[first:last],
        seq_lens_cpu=torch.tensor(bounds, dtype=torch.int32, device="cpu"),
        num_reqs=last - first,
        num_actual_tokens=num_tokens,
        max_query_len=max(call.query_lens[first:last], default=0),
        max_seq_len=max(bounds, default=0),
        block_table_tensor=batch.block_table[first:last],
        slot_mapping=torch.full((num_tokens,), -1, dtype=torch.int64, device=batch.device),
    )

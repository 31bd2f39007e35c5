"""Promises of the suite's own kernels and engine classes beside answers: what they refuse, and what engines read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.engine import EngineStep

BadStep = tuple[str, EngineStep]
"""The first words of a refusal, and the step that must be refused so."""


def require_refusal(rules: str | tuple[str, ...], what: str, call: Callable[[], object]) -> None:
    """Hold a bad call to the law `Refuses`, twice: what was refused must not be known as good from then on.

    rules: first words of a refusal. what: the fault where there is none.

    Raises:
        BrokenLaw: if it is taken.
        ValueError: a refusal by another rule.
    """
    for once_more in ("", ", after it had been refused"):
        try:
            call()
        except ValueError as refusal:
            if not str(refusal).startswith(rules):
                raise
        else:
            raise BrokenLaw("Refuses", what + once_more)


def bad_steps(step: EngineStep, max_num_reqs: int, max_model_len: int, block_size: int) -> list[BadStep]:
    """A good step made bad, in several ways. max_num_reqs, max_model_len: bounds of the builder."""
    starts, count, needed = step.query_start_loc_cpu, max_num_reqs + 1, -(-step.max_seq_len // block_size)
    more = replace(
        step,
        query_start_loc=step.query_start_loc.new_zeros(count + 1),
        query_start_loc_cpu=starts.new_zeros(count + 1),
        seq_lens=step.seq_lens.new_zeros(count),
        seq_lens_cpu=step.seq_lens_cpu.new_zeros(count),
        block_table_tensor=step.block_table_tensor.new_zeros(1, 1).expand(count, max(1, needed)),
        num_reqs=count,
    )
    made = [
        ("max_seq_len must ", replace(step, max_seq_len=max_model_len + 1)),
        ("num_reqs must ", more),
        ("query_start_loc_cpu must ", replace(step, query_start_loc_cpu=starts + 1)),
        ("query_start_loc must ", replace(step, query_start_loc=step.query_start_loc[: step.num_reqs])),
        ("max_query_len must ", replace(step, max_query_len=-1)),
    ]
    if step.num_reqs:
        made.append(("seq_lens must ", replace(step, seq_lens=step.seq_lens[:-1])))
        made.append(("block_table_tensor must ", replace(step, block_table_tensor=step.block_table_tensor[:-1])))
        longest = int(step.seq_lens_cpu.max())
        if longest:
            made.append(("max_seq_len must ", replace(step, max_seq_len=longest - 1)))
    if int(starts[-1]):
        made.append(("num_actual_tokens must ", replace(step, num_actual_tokens=int(starts[-1]) - 1)))
    if needed:
        made.append(
            ("block_table_tensor must ", replace(step, block_table_tensor=step.block_table_tensor[:, : needed - 1]))
        )
    return made


def offer_bad_buffers(new_impl: Callable[[torch.Tensor], object], like: torch.Tensor) -> None:
    """Offer a layer buffers whose slots, heads or rows are one memory, which must be refused.

    like: a good one, [..., H, max_tokens, K] int32.
    """
    heads, tokens, topk = like.shape[-3:]
    for what, memory, shape in (
        ("slots", (heads, tokens), (2, heads, tokens)),
        ("heads", (1, tokens), (heads, tokens)),
        ("rows", (heads, 1), (heads, tokens)),
    ):
        if memory != shape and heads * tokens:
            shared = like.new_zeros(*memory, topk).expand(*shape, topk)
            require_refusal("topk_indices_buffer must ", f"{what} in one memory were taken", partial(new_impl, shared))


def offer_bad_plan(score: Callable[[Any], torch.Tensor], plan: Any) -> None:
    """Offer the scorer a batch's plan as one that was made for another block size, which must be refused."""
    size = plan.config.block_size
    other = replace(plan, config=replace(plan.config, block_size=size // 2 if size > 16 else 2 * size))
    require_refusal("plan must ", "a plan of another block_size was taken", partial(score, other))


def offer_bad_captures(builder: Any, from_lens: Callable[..., Any], num_reqs: int, query_len: int) -> None:
    """Offer steps to capture that are no uniform decodes alone, which must be refused."""
    max_len = builder.max_model_len
    offered = [[query_len] * (num_reqs - 1) + [0], [0] * num_reqs]
    if max_len > query_len:
        offered.append([query_len] * (num_reqs - 1) + [query_len + 1])
    table = torch.zeros(num_reqs, builder.max_blocks, dtype=torch.int32, device=builder.device)
    for lens in offered:
        step = from_lens(lens, [max_len if tokens else 0 for tokens in lens], table)
        what = f"a step of {lens} query tokens was taken to be captured"
        require_refusal("common_attn_metadata must ", what, lambda: builder.build_for_cudagraph_capture(step))  # noqa: B023


def hold_to_step(metadata: Any, num_actual_tokens: int) -> None:
    """Hold the fields that an engine reads, and no kernel, to those of its step, and to those that kernels read.

    Waits for the device.

    Raises:
        BrokenLaw: by a field that says something else.
    """
    _hold(metadata, "num_actual_tokens", num_actual_tokens)
    prefill = metadata.prefill_msa
    if prefill is not None:
        starts, seq_lens = prefill.cu_seqlens_q.tolist(), prefill.seq_lens.tolist()
        lens = [stop - start for start, stop in pairwise(starts)]
        _hold(prefill, "context_lens", [seq - own for seq, own in zip(seq_lens, lens, strict=True)])
        _hold(prefill, "max_query_len", max(lens))


def _hold(part: Any, name: str, right: int | Sequence[int]) -> None:
    got = getattr(part, name)
    got = got.tolist() if isinstance(got, torch.Tensor) else got
    if got != right:
        raise BrokenLaw("Exact", f"the metadata's {name} is {got}, not {right}")

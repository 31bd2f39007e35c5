"""A step as engines of several versions describe it to the suite's own builders."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from fuzz.cases.engine_steps import counts
from fuzz.targets.engine import EngineStep
from fuzz.targets.layers import moved, spread


def _as_it_is(step: EngineStep) -> Any:
    return step


def _with_a_bound_alone(step: EngineStep) -> Any:
    """The step of an engine that leaves the lengths' own name empty, in other memory."""
    return SimpleNamespace(**_elsewhere(step), seq_lens_cpu=None, seq_lens_cpu_upper_bound=step.seq_lens_cpu)


def _without_the_lengths(step: EngineStep) -> Any:
    """The step of an engine that has an upper bound alone, as vLLM 0.33, in other memory."""
    return SimpleNamespace(**_elsewhere(step), seq_lens_cpu_upper_bound=step.seq_lens_cpu)


def _in_other_strides(name: str, step: EngineStep) -> Any:
    """The step of an engine one of whose tensors is every other entry of a longer one, in other memory."""
    given = _elsewhere(step) | {name: spread(getattr(step, name)), "seq_lens_cpu": step.seq_lens_cpu}
    return SimpleNamespace(**given)


READ_ON_THE_DEVICE = ("seq_lens", "query_start_loc", "block_table_tensor")
"""Tensors of a step that kernels read where the engine has them."""
FORMS: tuple[Callable[[EngineStep], Any], ...] = (
    _as_it_is,
    _with_a_bound_alone,
    _without_the_lengths,
    *[partial(_in_other_strides, name) for name in READ_ON_THE_DEVICE],
)
"""A step as engines of several versions describe it, step by step in turn."""


def _elsewhere(step: EngineStep) -> dict[str, Any]:
    """The fields of a step but for its lengths on the host; what the builder reads on the device lies elsewhere."""
    given = {name: value for name, value in vars(step).items() if name != "seq_lens_cpu"}
    return given | {name: moved(given[name]) for name in READ_ON_THE_DEVICE}


def with_an_empty_request(step: EngineStep, drafts: int) -> EngineStep:
    """A step with a request more, which has a context and no token, between its decodes and its prefills."""
    split = counts(step.query_start_loc_cpu.diff().tolist(), drafts)
    at = split.decodes
    if not at or not split.prefills:
        return step

    def with_one_more(tensor: torch.Tensor, first: int, last: int) -> torch.Tensor:
        return torch.cat([tensor[:at], tensor[first:last], tensor[at:]])

    return replace(
        step,
        query_start_loc=with_one_more(step.query_start_loc, at, at + 1),
        query_start_loc_cpu=with_one_more(step.query_start_loc_cpu, at, at + 1),
        seq_lens=with_one_more(step.seq_lens, 0, 1),
        seq_lens_cpu=with_one_more(step.seq_lens_cpu, 0, 1),
        num_reqs=step.num_reqs + 1,
        block_table_tensor=with_one_more(step.block_table_tensor, 0, 1),
    )


def default_device(number: int) -> AbstractContextManager[object]:
    """At some steps the default device is one that none of a step's tensors is on, as an engine may have one."""
    return torch.device("meta") if number % 4 == 3 else nullcontext()

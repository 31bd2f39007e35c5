"""A target may change the settings of its process: they stay its own, and the judge never meets them."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch

from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.settings import OwnSettings
from fuzz.judge.verdict import Agreed
from fuzz.targets import Call, Target, fill
from msa_ref import IndexerConfig, index_topk

CASE = Case(IndexerConfig(2, 16, 16, 3), (Request(1, 130),), seed=5, values=ValuePlan("integers"))


def _precision() -> str:
    """torch's word for it, which it refuses to say once its newer words were used."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return f"newer: {torch.backends.cuda.matmul.fp32_precision}"


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "default device": (lambda: torch.set_default_device("meta"), torch.get_default_device),
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "gradients": (lambda: torch.set_grad_enabled(not torch.is_grad_enabled()), torch.is_grad_enabled),
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        torch.are_deterministic_algorithms_enabled,
    ),
    "matmul precision": (lambda: torch.set_float32_matmul_precision("high"), _precision),
    "matmul precision in newer words": (
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        _precision,
    ),
    "numpy": (lambda: np.seterr(all="raise"), np.geterr),
}
changes = pytest.mark.parametrize("name", CHANGES)


@changes
def test_a_target_that_changes_settings_agrees_and_harms_no_other(name: str) -> None:
    change, get = CHANGES[name]
    before, seen = get(), list[object]()

    def run(call: Call) -> torch.Tensor:
        answer = fill(call, index_topk(call.batch))
        change()
        return answer

    def next_run(call: Call) -> torch.Tensor:
        seen.append(get())
        return fill(call, index_topk(call.batch))

    assert isinstance(Examiner(Scene(CASE, "cpu")).examine(Target("careless", "", "foreign", run)), Agreed)
    assert get() == before
    assert isinstance(Examiner(Scene(CASE, "cpu")).examine(Target("next", "", "foreign", next_run)), Agreed)
    assert seen
    assert all(value == (False if name == "gradients" else before) for value in seen)


@changes
def test_a_target_finds_its_settings_as_it_left_them(name: str) -> None:
    change, get = CHANGES[name]
    before, settings = get(), OwnSettings()
    with settings:
        change()
        left = get()
    assert left != before
    assert get() == before
    with settings:
        assert get() == left
    assert get() == before


def test_settings_are_restored_behind_a_target_that_raises() -> None:
    before, settings = torch.get_default_dtype(), OwnSettings()
    with suppress(RuntimeError), settings:
        torch.set_default_dtype(torch.float16)
        raise RuntimeError
    assert torch.get_default_dtype() == before

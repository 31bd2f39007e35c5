"""A prefill step that is launched as an earlier one of its kind passes what its own launchers would pass."""

import ctypes
import random
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from msa_fast import PrefillPlan
from msa_fast.ops import binding, cuda_driver
from msa_fast.ops.bound import PrefillLaunch
from msa_fast.ops.driver_launch import CompiledLaunch, DriverLaunch
from msa_fast.ops.step_kinds import StepKinds
from msa_ref import IndexerConfig
from tests.support.calls import num_calls

NUM_PAGES = 8
MAX_FIRST_LAYER_CALLS = 107
"""Calls of the first layer of a step of a known kind, without those of the engine's classes; with Triton 3.9 there are
fewer."""


def known(kernel: Any, args: tuple[Any, ...], options: Mapping[str, Any], device: object) -> CompiledLaunch:
    """A kernel as Triton might have compiled it: every argument that is no constant is a parameter."""
    made, place = object.__new__(CompiledLaunch), 0
    made.kernel, made.compiled, made.attribute = (kernel, tuple(options.items())), None, None
    made.pointers, made.numbers, made.maps, names = [], [], [], kernel.arg_names
    for which, value in enumerate(args):
        if hasattr(value, "block_shape"):
            made.maps.append((which, place, tuple(value.block_shape), 3))
            place += 2 * len(value.block_shape)
        elif value is not None:
            (made.pointers if isinstance(value, torch.Tensor) else made.numbers).append((which, place))
        place += value is not None
    made.places = {names[which]: place for which, place in made.numbers}
    made.values_of, made.addresses_of = ctypes.c_uint64 * place, ctypes.c_void_p * place
    made.block, made.function, made.context = (128, 1, 1, 0), ctypes.c_void_p(), ctypes.c_void_p()
    return made


@pytest.fixture(params=["sm_90", "sm_100"])
def launch_on_a_stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's tensors are served as those of a GPU, and the driver launches nothing."""
    driver = SimpleNamespace(cuLaunchKernelEx=lambda *_: 0, cuTensorMapEncodeTiled=lambda *_: 0)
    monkeypatch.setattr(cuda_driver, "driver", lambda: driver)
    monkeypatch.setattr(cuda_driver, "version", lambda: 99_000)
    for name, stand_in in (("is_by_driver", lambda device: True), ("current_stream", lambda device: 0)):
        monkeypatch.setattr(binding, name, stand_in)
    monkeypatch.setattr(binding, "kind_of", known)
    monkeypatch.setattr(binding, "find_known", lambda kind: kind)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    for module in [module for name, module in sys.modules.items() if name.startswith("msa_fast.")]:
        for name, value in (("architecture_of", request.param), ("num_processors", 132)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda device, value=value: value)


def passed(launch: DriverLaunch) -> tuple[object, ...]:
    """All that a launch passes, but for pointers to what changes between layers."""
    values = list(launch._values)
    for place, *_ in (*launch._pointers, *launch._maps):
        values[place] = 0
    config = launch._config
    grid = config.grid_x, config.grid_y, config.grid_z, config.block_x, config.shared_bytes
    return launch.known.kernel, values, sorted(launch._pointers), sorted(launch._maps, key=lambda one: one[0]), grid


@pytest.mark.usefixtures("launch_on_a_stand_in")
@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_of_a_known_kind_passes_what_its_launchers_pass(heads: int) -> None:
    rng, config, kinds = random.Random(heads), IndexerConfig(num_index_heads=heads), StepKinds()
    pages = torch.zeros(NUM_PAGES, 128, 128, dtype=torch.bfloat16)
    out = torch.zeros(2_100, heads, 16, dtype=torch.int32).transpose(0, 1)
    queries = torch.zeros(2_100, heads, 128, dtype=torch.bfloat16)
    num_again, kept = 0, []
    for _ in range(200):
        num_reqs, first_token = rng.choice((1, 1, 1, 3)), rng.choice((0, 0, 0, 2))
        query_lens = [rng.choice((1, 2, 16, 31, 32, 33, 64, 100, 182, 500)) for _ in range(num_reqs)]
        seq_lens = [query_len + rng.choice((0, 1_000, 8_000, 17_000, 40_000, 55_000)) for query_len in query_lens]
        width = rng.choice((0, 1, 16)) + config.num_blocks(max(seq_lens))
        table = torch.zeros(num_reqs, rng.choice((640, 700)), dtype=torch.int32)[:, :width]
        offsets = torch.tensor([0, *query_lens]).cumsum(0).int()
        step = rng.choice((1, 1, 1, 2))  # lengths in a column of a table
        metadata = table, torch.tensor(seq_lens).int().repeat_interleave(step)[::step], offsets
        plan = PrefillPlan.build(config, query_lens, seq_lens, "cpu")
        rows = rng.choice((first_token + plan.total_q, 2_100))
        launches = []
        for known_kinds in (None, kinds):
            launch = PrefillLaunch(plan, *metadata, first_token, known_kinds)
            num_patterns = len(kinds.patterns)
            launch(queries[:rows], pages, out)
            (bound,) = launch._bindings.values()
            launches.append(([*map(passed, bound.driven)], bound.offsets, bound.num_bytes))
        num_again += len(kinds.patterns) == num_patterns
        assert launches[0] == launches[1]
        kept.append((metadata, plan))  # so that no step gets the addresses of another
    assert num_again > 30


@pytest.mark.usefixtures("launch_on_a_stand_in")
def test_the_first_layer_of_a_step_of_a_known_kind_takes_few_calls() -> None:
    """Its chunk has other tokens on another context than that of the step before it."""
    config, kinds = IndexerConfig(), StepKinds()
    queries, pages = torch.zeros(200, 4, 128).bfloat16(), torch.zeros(NUM_PAGES, 128, 128).bfloat16()
    out, table = torch.zeros(4, 200, 16).int(), torch.zeros(1, 200).int()
    for query_len, seq_len in ((182, 17_700), (171, 17_900)):
        plan = PrefillPlan.build(config, [query_len], [seq_len], "cpu")
        launch = PrefillLaunch(plan, table, torch.tensor([seq_len]).int(), torch.tensor([0, query_len]).int(), 0, kinds)
        calls = num_calls(lambda: launch(queries, pages, out), is_first=True)  # noqa: B023
    assert calls <= MAX_FIRST_LAYER_CALLS

"""A prefill step that is launched as an earlier one of its kind passes what its own launchers would pass."""

import pytest
import torch

from fuzz.targets.own_driver import Passed, driver_stands_in
from fuzz.targets.own_steps import ARCHITECTURES, NUM_PAGES, compare_steps
from msa_fast import PrefillPlan
from msa_fast.ops.bound import PrefillLaunch
from msa_fast.ops.sharing import IS_WIDE_FAST
from msa_fast.ops.step_kinds import StepKinds
from msa_ref import IndexerConfig
from tests.support.calls import num_calls

MAX_FIRST_LAYER_CALLS = 124 if IS_WIDE_FAST else 107
"""Calls of the first layer of a step of a known kind, without those of the engine's classes; with Triton 3.6 a
descriptor copies queries."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("heads", [1, 4])
def test_a_step_of_a_known_kind_passes_what_its_launchers_pass(heads: int, architecture: str) -> None:
    said: Passed = []
    with driver_stands_in("msa_fast", architecture, said):
        assert compare_steps("msa_fast", IndexerConfig(num_index_heads=heads), 200, said) > 30


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_first_layer_of_a_step_of_a_known_kind_takes_few_calls(architecture: str) -> None:
    """Its chunk has other tokens on another context than that of the step before it."""
    config, kinds = IndexerConfig(), StepKinds()
    queries, pages = torch.zeros(200, 4, 128).bfloat16(), torch.zeros(NUM_PAGES, 128, 128).bfloat16()
    out, table = torch.zeros(4, 200, 16).int(), torch.zeros(1, 200).int()
    with driver_stands_in("msa_fast", architecture):
        for query_len, seq_len in ((182, 17_700), (171, 17_900)):
            plan = PrefillPlan.build(config, [query_len], [seq_len], "cpu")
            launch = PrefillLaunch(
                plan, table, torch.tensor([seq_len]).int(), torch.tensor([0, query_len]).int(), 0, kinds
            )
            calls = num_calls(lambda: launch(queries, pages, out), is_first=True)  # noqa: B023
    assert calls <= MAX_FIRST_LAYER_CALLS

"""Promises that are kept once a process: each package is held to them, whichever came first, and in whatever mode."""

from collections.abc import Callable

import pytest
import torch

from fuzz.canaries.kernels.mutant import Fragment, package_of
from fuzz.targets import own_bindings, own_choices, own_cover, own_memory, own_steps, own_told, own_vendor

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="they are held on the interpreter")
PROMISES = (
    own_bindings.hold_to_new_launches,
    own_choices.hold_to_choices,
    own_cover.hold_to_whole_device_plans,
    own_cover.hold_to_whole_plans,
    own_memory.hold_to_memory,
    own_steps.hold_to_own_launches,
    own_told.hold_to_told,
    own_vendor.hold_to_vendor_calls,
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_promise_of_one_package_in_inference_mode_keeps_nothing_that_fails_of_the_next(
    promise: Callable[[str], None],
) -> None:
    copy = Fragment("ops/rank.py", "import triton\n", "import triton\n\n")
    with torch.inference_mode():
        promise(package_of("held_in_inference_mode", copy))
    promise(package_of("held_in_another_mode", copy))

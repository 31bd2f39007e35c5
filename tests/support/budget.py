"""The CPU seconds that one test may take, so that all tests stay within the minutes that the README names.

Those of the test's process and of the children that it waited for: a machine that others use fails no test by itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SECONDS = 75.0
"""Several times what the longest ordinary test takes: a CPU second has done three times less on some machines."""

LONG = {
    "test_the_sweep_and_its_subset_reach_everything": (300.0, "all that the compile gate compiles, specified twice"),
    "test_the_gate_of_m3_s_shape_kills_what_can_show_there": (300.0, "all canaries, by all cases of a gate"),
}
"""Function of a test that takes longer -> the seconds that it may take, and why it needs them."""


@contextmanager
def held_to_budget(name: str) -> Iterator[None]:
    """Work inside fails if it takes more CPU seconds than it may. name: the test's function."""
    before, limit = _cpu_seconds(), LONG.get(name, (MAX_SECONDS, ""))[0]
    yield
    spent = _cpu_seconds() - before
    assert spent <= limit, f"{name} took {spent:.1f} CPU seconds, and may take {limit:g} (tests/support/budget.py)"


def _cpu_seconds() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system

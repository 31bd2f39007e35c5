"""No test takes more CPU seconds than it may, but those of a list with reasons."""

import re
import time

import pytest

from tests.support import budget
from tests.support.fuzz_command import ROOT


def _spin(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass


def test_a_test_that_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_SECONDS", 0.3)
    within = budget.held_to_budget
    with within("test_it"):
        time.sleep(0.5)
    with pytest.raises(AssertionError, match=r"test_it took .* CPU seconds, and may take 0\.3"), within("test_it"):
        _spin(0.5)


def test_every_long_test_exists_and_says_why_it_takes_so_long() -> None:
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name, (seconds, reason) in budget.LONG.items():
        assert re.search(rf"^def {name}\(", written, re.MULTILINE), name
        assert seconds > budget.MAX_SECONDS
        assert reason

"""Processes of one command do once among them what one is enough for, and all of them what has failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.targets.once import first_among_processes, share_claims


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    share_claims("")


def is_first(name: str) -> bool:
    with first_among_processes(name) as is_ours:
        return is_ours


def test_what_another_process_does_is_not_done_again(tmp_path: Path) -> None:
    share_claims(str(tmp_path))
    with first_among_processes("a.b") as is_ours:
        assert is_ours
        assert not is_first("a.b")
        assert is_first("a.c")
    assert not is_first("a.b")


def test_a_process_that_shares_nothing_does_everything() -> None:
    assert is_first("a")
    assert is_first("a")


def test_what_fails_in_one_process_is_done_by_every_one(tmp_path: Path) -> None:
    share_claims(str(tmp_path))
    with pytest.raises(ZeroDivisionError), first_among_processes("a"):
        raise ZeroDivisionError
    assert is_first("a")
    assert is_first("a")

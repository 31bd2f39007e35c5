"""An adapter is told what it did, and where in its own file; it may say that a call is not its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.cases.case import Case, Views
from fuzz.judge.verdict import Broke, Undefined
from fuzz.targets import Call, NotApplicable, fill
from msa_ref.profile import Profile
from tests.support.promising import PLAIN, judged, target_of


def test_an_adapter_may_say_that_a_call_is_not_its_own() -> None:
    def raises(call: Call) -> torch.Tensor:
        raise NotApplicable("takes calls on Sundays")

    def returns(call: Call) -> Any:
        return NotApplicable("takes calls on Sundays")

    def binds(call: Call) -> Any:
        return lambda: returns(call)

    replayed = replace(PLAIN, replay=(replace(PLAIN.states[0]),))
    for target in (
        target_of(raises, Profile("x")),
        target_of(returns, Profile("x")),
        target_of(returns, Profile("x"), "decode", bind=returns),
        target_of(returns, Profile("x"), "decode", bind=binds),
    ):
        assert judged(replayed, target) == Undefined("takes calls on Sundays")


@pytest.mark.parametrize("later", [NotApplicable("no third run"), RuntimeError("no third run")])
@pytest.mark.parametrize("is_replayed", [False, True], ids=["split", "replay"])
def test_a_later_refusal_takes_back_no_finding(later: Exception, is_replayed: bool) -> None:
    num_runs = 0

    def right_wrong_gone(call: Call) -> torch.Tensor:
        nonlocal num_runs
        num_runs += 1
        if num_runs > 2:
            raise later
        right = NaiveIndexer(replace(call, out=None)).answer()
        return fill(call, right if num_runs == 1 else torch.zeros_like(right))

    again = {"replay": (PLAIN.states[0],) * 3} if is_replayed else {"num_splits": (0, 2, 3)}
    target = target_of(right_wrong_gone, Profile("x"), "decode", has_splits=not is_replayed)
    verdict = judged(replace(PLAIN, **again), target)
    assert isinstance(verdict, Broke)
    assert "Distinct" in {found.law for found in verdict.violations}


def evidence(run: Callable[[Call], Any], case: Case = PLAIN) -> list[str]:
    verdict = judged(case, target_of(run, Profile("x")))
    assert isinstance(verdict, Broke)
    return [str(found) for found in verdict.violations]


def test_an_adapter_that_forgets_out_is_told_so_with_its_line() -> None:
    def forgets(call: Call) -> None:
        NaiveIndexer(replace(call, out=None)).answer()

    def keeps_its_own(call: Call) -> torch.Tensor:
        return NaiveIndexer(replace(call, out=None)).answer()

    line = forgets.__code__.co_firstlineno
    own = keeps_its_own.__code__.co_firstlineno
    path = "tests/fuzz/test_told.py"
    wrote_nothing = "WritesAll: wrote nothing into call.out, and returned"
    assert evidence(forgets) == [f"{wrote_nothing} None ({path}, line {line})"]
    assert evidence(keeps_its_own) == [
        f"{wrote_nothing} another tensor, which fuzz.targets.fill would hand over ({path}, line {own})"
    ]
    allocates = replace(PLAIN, views=Views(is_out_given=False))
    assert evidence(forgets, allocates) == [
        f"Shape: answered None, not int32 [2, 6, 4] on cpu ({path}, line {line})",
    ]


def test_an_answer_beside_a_kept_out_is_told_from_a_forgotten_one() -> None:
    """A call that keeps an older `out`, as a graph may, returns no tensor of its own."""
    assert evidence(lambda call: call.out)[0].startswith("WritesAll: wrote nothing into call.out, and returned it (")


def test_an_adapter_that_raises_is_told_the_line_of_its_own_file() -> None:
    def raises(call: Call) -> torch.Tensor:
        return torch.zeros(2).view(3)

    line = raises.__code__.co_firstlineno + 1
    (told,) = evidence(raises)
    assert told.startswith("Runs: raised: RuntimeError: ")
    assert told.endswith(f"(tests/fuzz/test_told.py, line {line})")

"""Shown scores are judged by what a target says of them: their scale, and what forced blocks hold."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fuzz.canaries.naive import NaiveIndexer, Row, ShowingIndexer
from fuzz.cases.case import Case, Request
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Call, Target
from msa_ref.profile import Profile
from tests.support.promising import PLAIN, ROUNDED, TIES, answers, judged, laws, target_of


class Shows(ShowingIndexer):
    """Shows scores times a factor, forced blocks as 1e30, and gets one wrong if told so."""

    factor, sentinel, error = 1.0, math.nan, 0.0
    words: dict[str, Any] = {}  # noqa: RUF012 - read alone

    def answer(self) -> torch.Tensor:
        show = self.call.show
        self.call = replace(self.call, show=lambda score, *_: show(score.float(), **self.words))
        return super().answer()

    def shown_score(self, row: Row, block: int) -> float:
        if not math.isnan(self.sentinel) and block in self.forced(row, self.num_blocks(row)):
            return self.sentinel
        score = self.block_score(row, block) + (self.error if block == 1 else 0.0)
        return float(np.float32(self.factor) * np.float32(score))


def showing(**members: Any) -> Target:
    return target_of(answers(type("Showing", (Shows,), members)), Profile("x"))


FACTOR = 0.08838834764 * 1.4426950409


@pytest.mark.parametrize("case", [PLAIN, TIES, ROUNDED])
def test_shown_scores_are_judged_by_what_the_target_says_of_them(case: Case) -> None:
    scaled: dict[str, Any] = {"factor": FACTOR, "words": {"scale": FACTOR}}
    for sentinel in (1e30, math.inf):
        encoded: dict[str, Any] = {"sentinel": sentinel, "words": {"forced": "encoded"}}
        assert isinstance(judged(case, showing(**encoded)), Agreed)
        assert laws([judged(case, showing(**encoded, error=0.01))]) == {"Score"}
        assert "Score" in laws([judged(case, showing(**encoded | {"words": {}}))])
    assert isinstance(judged(case, showing(**scaled)), Agreed)
    assert "Score" in laws([judged(case, showing(**scaled, error=0.01))])
    assert "Score" in laws([judged(case, showing(**scaled | {"words": {}}))])
    assert "Score" in laws([judged(case, showing(**scaled | {"words": {"scale": 1.0001 * FACTOR}}))])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"scale": 0.0}, "scale must be a positive number; got 0.0"),
        ({"forced": "inf"}, "forced must be one of scored, encoded"),
    ],
)
def test_a_wrong_word_about_shown_scores_is_refused(words: dict[str, Any], sentence: str) -> None:
    verdict = judged(PLAIN, showing(words=words))
    assert isinstance(verdict, Broke)
    assert sentence in verdict.violations[0].evidence


def test_a_lazy_targets_unscored_rows_may_have_any_superblocks() -> None:
    """Two of the requests' rows see no more blocks than they select; what is shown of them is garbage."""

    def lazy(call: Call) -> torch.Tensor:
        shape = (call.batch.config.num_index_heads, call.batch.total_q, call.batch.max_blocks)
        score, best = torch.full(shape, 3.0), torch.full((*shape[:2], 1), 5.0)
        call.show(score, best, shape[-1], is_lazy=True)
        return answers(NaiveIndexer)(call)

    short = replace(PLAIN, requests=(Request(2, 40), Request(3, 64)))
    assert isinstance(judged(short, target_of(lazy, Profile("x"))), Agreed)
    long = replace(PLAIN, requests=(Request(2, 40), Request(3, 150)))
    assert laws([judged(long, target_of(lazy, Profile("x")))]) == {"Score", "Superblocks"}


def test_a_misshapen_matrix_is_told_with_the_adapters_place() -> None:
    def shows(call: Call) -> torch.Tensor:
        call.show(torch.zeros(3))
        return answers(NaiveIndexer)(call)

    verdict = judged(PLAIN, target_of(shows, Profile("x")))
    assert isinstance(verdict, Broke)
    line = shows.__code__.co_firstlineno
    assert str(verdict.violations[0]) == (
        "Runs: raised: ValueError: score must be [H, T, N] with H, T = 2, 6; got [3] "
        f"(tests/fuzz/test_shown_scores.py, line {line})"
    )

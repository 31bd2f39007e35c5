"""Each promise of a profile: one target keeps it and agrees, one breaks it and is caught; outside it is Undefined."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.cases.case import Case, PagePlan, Request, ValuePlan, ViewPlan, Views
from fuzz.judge.verdict import Agreed, Undefined
from fuzz.targets import Call
from msa_ref.profile import CONTRACT, Profile
from tests.support.promising import CONFIG, PLAIN, ROUNDED, TIES, answers, judged, laws, target_of

LADDER = replace(PLAIN, values=ValuePlan("ulp_ladder"), dtype="float16")
EXTREMES = replace(PLAIN, values=ValuePlan("extremes"))
NONFINITE = replace(PLAIN, values=ValuePlan("nonfinite"))
PADDED = replace(PLAIN, requests=(Request(3, 150), Request(3, 0)))


def best_first(first: str) -> type[NaiveIndexer]:
    """An indexer that writes the best score first, and its forced blocks `first` or last."""

    class BestFirst(NaiveIndexer):
        def finish(self, row: Row, chosen: list[int]) -> list[int]:
            n = self.num_blocks(row)
            forced = [block for block in chosen if block in self.forced(row, n)]
            ranked = [block for block in chosen if block not in forced]
            return [*forced, *ranked] if first == "forced" else [*ranked, *forced]

    return BestFirst


def rounds_to(bits: int, prefers: int = 1) -> type[NaiveIndexer]:
    """An indexer that ranks by scores cut to so many bits; of equals it prefers the lower id, or the higher by -1."""

    class Rounds(NaiveIndexer):
        def order(self, candidate: Candidate) -> tuple[float, ...]:
            mantissa, exponent = math.frexp(0.0884 * candidate[0]) if math.isfinite(candidate[0]) else (0.0, 0)
            cut = math.ldexp(math.trunc(math.ldexp(mantissa, bits)), exponent - bits)
            return (-(cut if math.isfinite(candidate[0]) else candidate[0]), prefers * candidate[1])

    return Rounds


class NanWins(NaiveIndexer):
    """Ranks a NaN score above all others, and so an infinite one. It is given scores."""

    def block_score(self, row: Row, block: int) -> float:
        assert self.score is not None
        score = float(self.score[row.head, row.token, block])
        return score if math.isfinite(score) else math.inf


class Sentinels(NaiveIndexer):
    """Forces blocks by a score of 1e30, as if no other were as great."""

    def select(self, row: Row) -> list[int]:
        n = self.num_blocks(row)
        forced = self.forced(row, n)
        scores = [1e30 if block in forced else self.block_score(row, block) for block in range(n)]
        ranked = sorted(zip(scores, range(n), strict=True), key=self.order)
        return sorted(block for _, block in ranked[: self.config.topk_blocks])


def refuses(reason: Callable[[Call], bool]) -> Callable[[Call], torch.Tensor]:
    """A right adapter of a kernel that fails where `reason` is true of a call."""

    def run(call: Call) -> torch.Tensor:
        assert not reason(call), "the kernel takes no such call"
        return NaiveIndexer(call).answer()

    return run


@dataclass(frozen=True)
class Promise:
    """A promise, a target that keeps it and nothing beyond, what shows that, and what is outside of it.

    beyond: a stricter profile, which the same target breaks on one of the cases.
    breaks: a target that breaks the promise itself, if the promise is about answers.
    """

    profile: Profile
    keeps: Callable[[Call], torch.Tensor]
    cases: tuple[Case, ...] = (PLAIN, TIES, ROUNDED)
    beyond: Profile | None = CONTRACT
    breaks: Callable[[Call], torch.Tensor] | None = None
    outside: tuple[Case, ...] = ()
    target: dict[str, Any] = field(default_factory=dict)


STRIDED = replace(PLAIN, views=Views(index_k_pages=ViewPlan(pads=(0, 1, 0))))
SHIFTED = replace(PLAIN, views=Views(seq_lens=ViewPlan(offset=1)))
OUT_STRIDED = replace(PLAIN, views=Views(out=ViewPlan(axes=(1, 0, 2))))
RAGGED = replace(PLAIN, requests=(Request(3, 150), Request(1, 260)))


def config(**changes: int) -> Case:
    return replace(PLAIN, config=replace(CONFIG, **changes))


def keys_are_dense(call: Call) -> bool:
    return call.batch.index_k_pages.is_contiguous() and (call.out is None or call.out.is_contiguous())


def is_aligned(call: Call) -> bool:
    return call.batch.seq_lens.data_ptr() % 16 == 0


def within(name: str, *allowed: int) -> Callable[[Call], torch.Tensor]:
    return refuses(lambda call: getattr(call.batch.config, name) not in allowed)


PROMISES = {
    "local last": Promise(
        Profile("x", order="score-desc-local-last"),
        answers(best_first("ranked")),
        breaks=answers(best_first("forced")),
    ),
    "any tie, local last": Promise(
        Profile("x", order="score-desc-local-last", tie_rule="any"),
        answers(best_first("ranked")),
        breaks=answers(best_first("forced")),
    ),
    "eight bits": Promise(
        Profile("x", rank_bits=8), answers(rounds_to(8)), breaks=answers(rounds_to(5)), cases=(TIES, ROUNDED, LADDER)
    ),
    "eight bits, any tie": Promise(
        Profile("x", rank_bits=8, tie_rule="any"),
        answers(rounds_to(8, prefers=-1)),
        beyond=Profile("x", rank_bits=8),
        breaks=answers(rounds_to(5, prefers=-1)),
    ),
    "NaN scores": Promise(
        Profile("x", score_nan="undefined", score_infinities="undefined"),
        answers(NanWins),
        cases=(replace(PLAIN, values=ValuePlan(is_finite=True)),),
        outside=(PLAIN, NONFINITE),
        breaks=answers(rounds_to(2)),
        target={"kind": "any", "takes_score": True},
    ),
    "range of scores": Promise(
        Profile("x", max_abs_score=1e30),
        answers(Sentinels),
        cases=(replace(PLAIN, values=ValuePlan(is_finite=True, max_abs_score=1e30)),),
        outside=(PLAIN, NONFINITE),
        target={"kind": "any", "takes_score": True},
    ),
    "sentinels": Promise(Profile("x", max_abs_score=1e30), answers(Sentinels), outside=(EXTREMES,)),
    "heads": Promise(
        Profile("x", num_index_heads=(1, 2)), within("num_index_heads", 1, 2), outside=(config(num_index_heads=3),)
    ),
    "head dims": Promise(
        Profile("x", index_head_dims=(16,)), within("index_head_dim", 16), outside=(config(index_head_dim=32),)
    ),
    "block sizes": Promise(Profile("x", block_sizes=(16,)), within("block_size", 16), outside=(config(block_size=8),)),
    "slots": Promise(Profile("x", topk_blocks=(4, 16)), within("topk_blocks", 4, 16), outside=(config(topk_blocks=5),)),
    "init": Promise(Profile("x", init_blocks=(0,)), within("init_blocks", 0), outside=(config(init_blocks=1),)),
    "local": Promise(Profile("x", local_blocks=(1,)), within("local_blocks", 1), outside=(config(local_blocks=2),)),
    "rows": Promise(
        Profile("x", max_visible_blocks=17),
        refuses(lambda call: max(call.seq_len_bounds) > 17 * 16),
        outside=(replace(PLAIN, requests=(Request(3, 273),)), replace(PLAIN, host_slack=16)),
    ),
    "query len": Promise(
        Profile("x", max_query_len=3),
        refuses(lambda call: max(call.query_lens) > 3),
        outside=(replace(PLAIN, requests=(Request(4, 150),)),),
    ),
    "requests": Promise(
        Profile("x", max_num_reqs=2),
        refuses(lambda call: call.batch.num_reqs > 2),
        outside=(replace(PLAIN, requests=(Request(1, 9),) * 3),),
    ),
    "tokens": Promise(
        Profile("x", max_total_q=6),
        refuses(lambda call: call.batch.total_q > 6),
        outside=(replace(PLAIN, requests=(Request(7, 150),)),),
    ),
    "table": Promise(
        Profile("x", max_table_blocks=20),
        refuses(lambda call: call.batch.max_blocks > 20),
        outside=(replace(PLAIN, pages=PagePlan(extra_blocks=9)),),
    ),
    "uniform": Promise(
        Profile("x", query_lens="uniform"), refuses(lambda call: len(set(call.query_lens)) > 1), outside=(RAGGED,)
    ),
    "padding": Promise(
        Profile("x", padding_rows="undefined"), refuses(lambda call: 0 in call.seq_lens), outside=(PADDED,)
    ),
    "contiguous": Promise(
        Profile("x", strides="contiguous"),
        refuses(lambda call: not keys_are_dense(call)),
        cases=(PLAIN, SHIFTED),
        outside=(STRIDED, OUT_STRIDED),
    ),
    "aligned": Promise(
        Profile("x", strides="aligned"), refuses(lambda call: not is_aligned(call)), outside=(SHIFTED, STRIDED)
    ),
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_a_promise_is_held_and_nothing_beyond_it(promise: Promise) -> None:
    target = target_of(promise.keeps, promise.profile, **promise.target)
    for case in promise.cases:
        assert isinstance(judged(case, target), Agreed), judged(case, target)
    for case in promise.outside:
        verdict = judged(case, target)
        assert isinstance(verdict, Undefined), verdict
        assert verdict.reason.startswith("x ")
    if promise.beyond is not None:
        beyond = replace(target, profile=promise.beyond)
        assert laws([judged(case, beyond) for case in (*promise.cases, *promise.outside)])
    if promise.breaks is not None:
        assert laws([judged(case, replace(target, run=promise.breaks)) for case in promise.cases])

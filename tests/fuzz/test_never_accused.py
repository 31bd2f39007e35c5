"""A right kernel that promises little is never accused: it sums, rounds, ties and writes as its profile leaves open."""

import math
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from fuzz.canaries.naive import Candidate, NaiveIndexer, Row
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.scale import SMALL
from fuzz.judge.verdict import Agreed
from fuzz.targets import Call
from msa_ref import PagedBatch
from msa_ref.profile import Profile
from tests.support.promising import judged, laws, target_of

NUM_CASES = 8
FACTOR = 0.08838834764 * 1.4426950409


@dataclass
class Kernel:
    """One right kernel, which makes other choices in every run, as far as its profile leaves them open."""

    profile: Profile
    shows: dict[str, Any] | None = None
    rounding: str = "nearest"

    def __call__(self, call: Call) -> torch.Tensor:
        kernel, profile, rng = self, self.profile, random.Random()

        class Honest(NaiveIndexer):
            def token_scores(self, row: Row, keys: np.ndarray) -> np.ndarray:
                """fp32 sums of the products, in an order of this run."""
                products = (keys * self.query(row))[:, rng.sample(range(keys.shape[1]), keys.shape[1])]
                total = products.astype(np.float32).cumsum(axis=1, dtype=np.float32)[:, -1]
                return np.where(np.isnan(total), -np.inf, total).astype(np.float64)

            def block_score(self, row: Row, block: int) -> float:
                memo = self.__dict__.setdefault("memo", {})
                key = row.head, row.token, block
                if key not in memo:
                    memo[key] = super().block_score(row, block)
                return float(memo[key])

            def order(self, candidate: Candidate) -> tuple[float, ...]:
                tie = candidate[1] if profile.tie_rule == "lowest-id" else rng.random()
                return (-kernel.rank(candidate[0]), tie)

            def merge(self, row: Row, parts: list[list[Candidate]], slots: int) -> list[int]:
                best = sorted((one for part in parts for one in part), key=self.order)
                return [block for _, block in best[:slots]]

            def finish(self, row: Row, chosen: list[int]) -> list[int]:
                n = self.num_blocks(row)
                forced = [block for block in chosen if block in self.forced(row, n)]
                ranked = [block for block in chosen if block not in forced]
                if profile.order == "any":
                    return rng.sample(chosen, len(chosen))
                if profile.order == "score-desc-local-last":
                    last = [block for block in forced if block >= max(self.config.init_blocks, n - len(forced))]
                    first = [block for block in forced if block not in last]
                    is_short = n <= self.config.topk_blocks and rng.random() < 0.5
                    return sorted(chosen) if is_short else [*first, *ranked, *sorted(last)]
                return sorted(chosen) if profile.order == "ascending" else [*forced, *ranked]

        indexer = Honest(call)
        answer = indexer.answer()
        if self.shows is not None:
            call.show(self.shown(indexer, call.batch), **self.shows)
        return answer

    def rank(self, score: float) -> float:
        """The number that a score is ranked by: times a factor, rounded to fp32 and then to the profile's bits."""
        bits = self.profile.rank_bits
        if bits is None or not math.isfinite(score):
            return score
        mantissa, exponent = math.frexp(float(np.float32(np.float32(FACTOR) * np.float32(score))))
        to_int = {"nearest": round, "down": math.floor, "up": math.ceil, "zero": math.trunc}[self.rounding]
        return math.ldexp(to_int(math.ldexp(mantissa, bits)), exponent - bits)

    def shown(self, indexer: NaiveIndexer, batch: PagedBatch) -> torch.Tensor:
        """[H, T, N], the scores of this run times the factor, the last block's a sentinel."""
        score = torch.full((batch.config.num_index_heads, batch.total_q, batch.max_blocks), torch.nan)
        for (head, token, block), value in indexer.__dict__.get("memo", {}).items():
            score[head, token, block] = float(np.float32(FACTOR) * np.float32(value))
        return score


KERNELS = {
    "any tie": Kernel(Profile("x", tie_rule="any")),
    "any tie, best first": Kernel(Profile("x", tie_rule="any", order="score-desc")),
    "any order": Kernel(Profile("x", order="any")),
    "local last": Kernel(Profile("x", order="score-desc-local-last", tie_rule="any")),
    "sixteen bits": Kernel(Profile("x", rank_bits=16, order="score-desc"), rounding="zero"),
    "eight bits": Kernel(Profile("x", rank_bits=8), rounding="nearest"),
    "eight bits, any tie, any order": Kernel(Profile("x", rank_bits=8, tie_rule="any", order="any"), rounding="down"),
    "scaled": Kernel(Profile("x", rank_bits=24, order="score-desc"), {"scale": FACTOR, "forced": "encoded"}),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_right_kernel_is_never_accused(kernel: Kernel) -> None:
    profile = replace(kernel.profile, max_visible_blocks=24, max_total_q=6)
    target = target_of(kernel, profile, "foreign", has_splits=True)
    scale = inside(SMALL, Domain(profile))
    verdicts = [judged(case, target) for case in gate_cases(31, NUM_CASES, scale)]
    assert laws(verdicts) == set(), [verdict for verdict in verdicts if not isinstance(verdict, Agreed)]
    assert sum(isinstance(verdict, Agreed) for verdict in verdicts) >= NUM_CASES - 2

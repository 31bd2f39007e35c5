"""A profile's promises, held against brute force: no right answer is accused, and what is accepted is right."""

import itertools
import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import IndexerConfig
from msa_ref.contract import violations
from msa_ref.profile import Profile
from msa_ref.rows import Selection, broken_rows
from tests.support import naive
from tests.support.ref_batches import INF

ORDERS = ("ascending", "score-desc", "score-desc-local-last", "any")


def rows_of(config: IndexerConfig, written, scores, profile: Profile, upper=None) -> Selection:
    """The same row once for each way in which it is written; scores, or their intervals."""
    padded = [[*ids, *[-1] * (config.topk_blocks - len(ids))] for ids in written]
    lower, upper = (
        None if ends is None else torch.tensor(ends, dtype=torch.float64).expand(1, len(written), -1)
        for ends in (scores, upper)
    )
    n = torch.full((len(written),), len(scores))
    return Selection(config, torch.tensor([padded], dtype=torch.int32), n, lower, upper, profile)


def is_accepted(config: IndexerConfig, ids, scores, profile: Profile) -> bool:
    return not bool(broken_rows(rows_of(config, [ids], scores, profile)).any())


def right_answers(scores, config: IndexerConfig, profile: Profile) -> set[tuple[int, ...]]:
    """Every way to write a right answer, by the words of `Profile` and nothing else."""
    n, k = len(scores), config.topk_blocks
    forced = naive.forced_blocks(n, config.init_blocks, config.local_blocks)
    local = {block for block in range(n) if block >= max(config.init_blocks, n - config.local_blocks)}

    def is_before(one: int, other: int) -> bool:
        """True if a block may be ranked before another."""
        if scores[one] == scores[other]:
            return profile.tie_rule == "any" or one < other
        return scores[one] > scores[other]

    def is_best_first(ids) -> bool:
        ranked = [block for block in ids if block not in forced]
        return all(is_before(*pair) for pair in itertools.combinations(ranked, 2))

    def is_written_well(ids) -> bool:
        if profile.order == "any":
            return True
        is_ascending = list(ids) == sorted(ids)
        if profile.order == "ascending":
            return is_ascending
        if profile.order == "score-desc":
            return is_best_first(ids)
        places = [place for place, block in enumerate(ids) if block in local]
        others = [place for place, block in enumerate(ids) if block < n - config.local_blocks]
        is_local_last = not places or not others or min(places) > max(others)
        return (is_best_first(ids) and is_local_last) or (n <= k and is_ascending)

    found = set()
    for ids in itertools.permutations(range(n), min(k, n)):
        left = set(range(n)) - set(ids)
        is_best = all(is_before(block, other) for block in set(ids) - forced for other in left)
        if forced <= set(ids) and is_best and is_written_well(ids):
            found.add(ids)
    return found


@settings(max_examples=300, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-INF, -1.0, 0.0, -0.0, 1.0, 2.0, INF]), min_size=1, max_size=5),
    topk_blocks=st.integers(2, 3),
    forced=st.sampled_from([(0, 0), (0, 1), (1, 1), (1, 0), (0, 2)]),
    tie_rule=st.sampled_from(["lowest-id", "any"]),
    order=st.sampled_from(ORDERS),
)
def test_an_answer_is_accepted_iff_its_promises_allow_it(scores, topk_blocks, forced, tie_rule, order):
    config = IndexerConfig(topk_blocks=topk_blocks, init_blocks=forced[0], local_blocks=forced[1])
    profile = Profile("x", tie_rule=tie_rule, order=order)
    written = list(itertools.permutations(range(len(scores)), min(topk_blocks, len(scores))))
    is_broken = broken_rows(rows_of(config, written, scores, profile))[0].tolist()
    accepted = {ids for ids, is_wrong in zip(written, is_broken, strict=True) if not is_wrong}
    assert accepted == right_answers(scores, config, profile)


def rounded(value: Fraction, bits: int, mode: str) -> Fraction:
    """A number rounded to so many significand bits, any exponent."""
    if value == 0:
        return value
    exponent = math.floor(math.log2(abs(value)))
    exponent += (abs(value) >= Fraction(2) ** (exponent + 1)) - (abs(value) < Fraction(2) ** exponent)
    step = Fraction(2) ** (exponent + 1 - bits)
    units = value / step
    whole = {"nearest": round, "down": math.floor, "up": math.ceil, "zero": math.trunc}[mode](units)
    return whole * step


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    bits=st.integers(1, 8),
    mode=st.sampled_from(["nearest", "down", "up", "zero"]),
    tie_rule=st.sampled_from(["lowest-id", "any"]),
    order=st.sampled_from(ORDERS),
    has_intervals=st.booleans(),
)
def test_a_kernel_that_ranks_by_rounded_scores_is_never_accused(seed, bits, mode, tie_rule, order, has_intervals):
    """Scores crowd around the numbers that the bits hold; a factor moves them, and its product is an fp32 number."""
    rng = random.Random(seed)
    config = IndexerConfig(topk_blocks=rng.randint(1, 3), init_blocks=0, local_blocks=rng.randint(0, 1))
    factor = Fraction(rng.choice([1.0, 0.0883883461, 1.4426950216, rng.uniform(0.5, 2)]))
    near, eighth = rng.choice([1.0, 1.0, 1.5, 127 / 64, -1.0, -1.0, -1.75]), 2.0 ** (-2 - bits)
    exact = [Fraction(near + rng.randint(-9, 9) * eighth + rng.choice([-1, 0, 1]) * 2.0**-26) for _ in range(5)]
    slack = [Fraction(rng.choice([0.0, 2.0**-12])) if has_intervals else Fraction(0) for _ in exact]
    own = [score + s * rng.randint(-1, 1) for score, s in zip(exact, slack, strict=True)]
    rank = [rounded(rounded(score * factor, 24, "nearest"), bits, mode) for score in own]
    tie = {block: block if tie_rule == "lowest-id" else rng.random() for block in range(len(own))}
    forced = naive.forced_blocks(len(own), 0, config.local_blocks)
    best = sorted(set(range(len(own))) - forced, key=lambda block: (-rank[block], tie[block]))
    ids = [*best[: config.topk_blocks - len(forced)], *sorted(forced)]
    profile = Profile("x", tie_rule=tie_rule, order=order, rank_bits=bits)
    low, high = ([float(x + sign * s) for x, s in zip(exact, slack, strict=True)] for sign in (-1, 1))
    row = rows_of(config, [sorted(ids) if order == "ascending" else ids], low, profile, upper=high)
    assert [str(found) for found in violations(row)] == []


TOP_1 = IndexerConfig(topk_blocks=1, local_blocks=0)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_two_roundings_apart_must_be_ranked(bits, sign):
    profile = Profile("x", tie_rule="any", rank_bits=bits)
    far = sorted([sign * 1.0, sign * (1 + 2.5 * 2.0 ** (1 - bits))])
    assert [is_accepted(TOP_1, [block], far, profile) for block in (0, 1)] == [False, True]
    near = sorted([sign * 1.0, sign * (1 + 0.9 * 2.0 ** (1 - bits))])
    assert [is_accepted(TOP_1, [block], near, profile) for block in (0, 1)] == [True, True]


def test_equal_scores_follow_the_tie_rule_however_they_are_rounded():
    for score in (3.0, -3.0, 0.0, -INF):
        assert not is_accepted(TOP_1, [1], [score, score], Profile("x", rank_bits=8))
        assert is_accepted(TOP_1, [1], [score, score], Profile("x", rank_bits=8, tie_rule="any"))
    assert not is_accepted(TOP_1, [1], [-0.0, 0.0], Profile("x", rank_bits=8))
    assert not is_accepted(TOP_1, [1], [1.0, -1.0], Profile("x", rank_bits=1, tie_rule="any"))


def test_the_order_with_local_blocks_last_says_what_stands_where():
    config = IndexerConfig(topk_blocks=3, local_blocks=1)
    profile = Profile("x", order="score-desc-local-last")
    scores = [5.0, 1.0, 7.0, 5.0, 0.0]
    found = [str(v) for ids in ([2, 4, 0], [0, 2, 4]) for v in violations(rows_of(config, [ids], scores, profile))]
    assert found == [
        "Order: head 0, token 0: block 4 at slot 1 stands before block 0 at slot 2, and is local",
        "Order: head 0, token 0: block 0 at slot 0 stands before block 2, which ranks above it: "
        "score 5.0 and score 7.0",
    ]
    assert is_accepted(config, [2, 0, 4], scores, profile)

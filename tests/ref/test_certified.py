"""The certified oracle accuses no correct kernel, and accuses every answer that no kernel could give."""

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msa_ref import IndexerConfig, PagedBatch, index_topk, select_blocks
from msa_ref.certified import block_intervals, certify, interval_chunks, is_certified
from msa_ref.contract import judge, violations
from msa_ref.indexer import scored_chunks
from msa_ref.precision import ScoreBound, any_order_fp32, bound_for, hopper_fp8, ieee_fp32, tf32
from msa_ref.profile import CONTRACT, Profile
from msa_ref.rows import ROW_LAWS, Selection
from msa_ref.writers import e4m3, nvfp4_divided
from tests.support import accumulators as sim
from tests.support import naive
from tests.support.ref_batches import INF, NAN, batches, int32, make_batch, row_batch

ANY_TIE = Profile(name="any-tie", tie_rule="any")


def interval_row(config, intervals, chosen, profile=CONTRACT) -> Selection:
    """One row whose block scores are known only up to intervals."""
    ids = sorted(chosen) + [-1] * (config.topk_blocks - len(chosen))
    lower, upper = (
        torch.tensor([ends], dtype=torch.float64).reshape(1, 1, -1) for ends in zip(*intervals, strict=True)
    )
    return Selection(
        config, torch.tensor([[ids]], dtype=torch.int32), torch.tensor([len(intervals)]), lower, upper, profile
    )


def admissible_sets(config, intervals, profile) -> set[tuple[int, ...]]:
    """Every set that some scores on a grid inside the intervals make the answer, by trying them all."""
    grids = []
    for low, high in intervals:
        grid = [low, high] + [half / 2 for half in range(-1, 8) if low <= half / 2 <= high]
        grids.append(sorted(set(grid)))
    n, found = len(intervals), set()
    forced = naive.forced_blocks(n, config.init_blocks, config.local_blocks)
    free_slots = min(config.topk_blocks, n) - len(forced)
    ranked = [block for block in range(n) if block not in forced]
    for scores in itertools.product(*grids):
        if profile.tie_rule == "lowest-id":
            found.add(tuple(naive.select(scores, config.topk_blocks, config.init_blocks, config.local_blocks)))
            continue
        for taken in itertools.combinations(ranked, free_slots):
            left = [scores[block] for block in ranked if block not in taken]
            if all(scores[block] >= score for block in taken for score in left):
                found.add(tuple(sorted(forced | set(taken))))
    return found


END = st.sampled_from([0.0, 1.0, 2.0, 3.0, -INF, INF])
INTERVAL = st.tuples(END, END).map(lambda ends: (min(ends), max(ends)))


@settings(max_examples=400, deadline=None)
@given(
    intervals=st.lists(INTERVAL, min_size=1, max_size=4),
    topk_blocks=st.integers(1, 3),
    forced=st.sampled_from([(0, 0), (0, 1), (1, 0)]),
    profile=st.sampled_from([CONTRACT, ANY_TIE]),
)
def test_a_set_is_accepted_iff_some_scores_make_it_the_answer(intervals, topk_blocks, forced, profile):
    """Soundness and tightness by brute force, and a row is certified iff one set is left."""
    config = IndexerConfig(topk_blocks=topk_blocks, init_blocks=forced[0], local_blocks=forced[1])
    expected = admissible_sets(config, intervals, profile)
    count = min(topk_blocks, len(intervals))
    accepted = {
        chosen
        for chosen in itertools.combinations(range(len(intervals)), count)
        if not list(violations(interval_row(config, intervals, chosen, profile)))
    }
    assert accepted == expected
    assert bool(is_certified(interval_row(config, intervals, (), profile))) == (len(expected) == 1)


def test_the_worked_example_of_the_docstring():
    config = IndexerConfig(topk_blocks=1, local_blocks=0)
    intervals = [(1.0, 3.0), (2.0, 4.0), (0.0, 1.0)]
    verdicts = [list(violations(interval_row(config, intervals, (block,)))) for block in range(3)]
    assert [len(found) for found in verdicts] == [0, 0, 1]
    assert str(verdicts[2][0]) == (
        "Best: head 0, token 0: takes block 2 with score in [0.0, 1.0] and leaves block 1 with score in [2.0, 4.0]"
    )
    assert not is_certified(interval_row(config, intervals, (0,)))
    assert is_certified(interval_row(config, [(1.0, 1.0), *intervals[1:]], (0,)))


@settings(max_examples=200, deadline=None)
@given(batch=batches())
def test_on_the_lattice_verdicts_are_exact_and_all_rows_certified(batch):
    """Ties, signed zeros, NaN and infinities included: every interval has zero width."""
    topk_idx = index_topk(batch)
    certificate = certify(batch, topk_idx)
    assert certificate.violations == []
    assert certificate.certified_share == 1
    wrong = topk_idx.roll(1, dims=-1)
    assert [str(v) for v in certify(batch, wrong).violations] == [str(v) for v in judge(batch, wrong)]


def simulated_topk(batch: PagedBatch, rng: random.Random) -> torch.Tensor:
    """What a correct fp32 kernel with an order of summation all its own may select."""
    config, rows = batch.config, []
    index_q, pages = batch.index_q.double().tolist(), batch.index_k_pages.double().tolist()
    for token, visible_len in enumerate(batch.visible_lens().tolist()):
        req = int(batch.token_reqs()[token])
        for head in range(config.num_index_heads):
            scores = []
            for pos in range(visible_len):
                key = pages[int(batch.block_table[req, pos // config.block_size])][pos % config.block_size]
                pairs = zip(index_q[token][head], key, strict=True)
                terms = [Fraction(q) * Fraction(k) for q, k in pairs]
                scores.append(float(sim.any_order_sum(terms, rng)))
            by_block = [
                max(scores[first : first + config.block_size]) for first in range(0, visible_len, config.block_size)
            ]
            ids = naive.select(by_block, config.topk_blocks, config.init_blocks, config.local_blocks)
            rows.append(ids + [-1] * (config.topk_blocks - len(ids)))
    shape = (batch.total_q, config.num_index_heads, config.topk_blocks)
    return torch.tensor(rows, dtype=torch.int32).reshape(shape).transpose(0, 1)


def near_tie_batch(seed: int, dtype: torch.dtype) -> PagedBatch:
    """Keys that are permutations of one another under a query of ones: equal scores, but for rounding."""
    rng = random.Random(seed)
    config = IndexerConfig(num_index_heads=2, index_head_dim=8, block_size=2, topk_blocks=3, local_blocks=1)
    batch = make_batch(config, [3], [15], rng, [rng.gauss(0, 1) for _ in range(50)], dtype)
    live = batch.live_slots()
    key = [rng.choice([2.0**-10, 1.0, 2.0**12]) * rng.gauss(0, 1) for _ in range(8)]
    pages = batch.index_k_pages.clone()
    for page, slot in live.nonzero().tolist():
        if rng.random() < 0.7:
            pages[page, slot] = torch.tensor(rng.sample(key, 8)).to(dtype)
    index_q = torch.ones_like(batch.index_q)
    return PagedBatch(config, index_q, pages, batch.block_table, batch.seq_lens, batch.cu_seqlens_q)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_correct_kernel_is_never_accused_however_it_orders_its_sums(dtype):
    disagreed = 0
    for seed in range(40):
        batch = near_tie_batch(seed, dtype)
        topk_idx = simulated_topk(batch, random.Random(seed))
        bound = (ieee_fp32 if dtype == torch.float32 else any_order_fp32)(8)
        assert [str(violation) for violation in certify(batch, topk_idx, bound).violations] == []
        disagreed += not torch.equal(topk_idx, index_topk(batch))
    assert disagreed > 5  # the cases are hard: often the set is not the reference's


def test_most_rows_of_random_inputs_are_certified():
    batch = random_batch(128, torch.bfloat16)
    certificate = certify(batch, index_topk(batch))
    assert certificate.violations == []
    assert certificate.num_rows == 32
    assert certificate.certified_share > 0.95


def test_the_certified_oracle_rejects_an_impostor_that_never_reads_the_keys():
    batch = make_batch(
        IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=2, topk_blocks=3),
        [4],
        [40],
        random.Random(3),
        [random.Random(4).gauss(0, 1) for _ in range(999)],
        torch.bfloat16,
    )
    n = batch.num_visible_blocks()[:, None]
    most_recent = (n - 3 + torch.arange(3)).int().expand(2, 4, 3)
    assert {violation.law for violation in certify(batch, most_recent).violations} == {"Best"}


def random_batch(num_blocks: int, dtype: torch.dtype) -> PagedBatch:
    generator = torch.Generator().manual_seed(5)
    config = IndexerConfig(num_index_heads=4, index_head_dim=128, block_size=8, topk_blocks=16)
    index_q = torch.randn(8, 4, 128, generator=generator).to(dtype)
    pages = torch.randn(num_blocks, 8, 128, generator=generator).to(dtype)
    block_table = torch.arange(num_blocks, dtype=torch.int32)[None]
    return PagedBatch(config, index_q, pages, block_table, int32([num_blocks * 8]), int32([0, 8]))


@pytest.mark.parametrize("rank_dtype", [torch.bfloat16, torch.float16])
def test_a_kernel_that_ranks_on_rounded_scores_is_caught(rank_dtype):
    """D05: sums are right, but compared in half precision."""
    batch = random_batch(512, torch.bfloat16)
    (rows, score), *_ = scored_chunks(batch)
    topk_idx = select_blocks(score.to(rank_dtype), batch.num_visible_blocks()[rows], batch.config)
    assert {violation.law for violation in certify(batch, topk_idx).violations} == {"Best"}


def test_a_kernel_that_multiplies_fp32_in_tf32_is_caught():
    """D38: operands lose 13 of their 23 fraction bits, and keys that differ in these fall together."""
    batch = random_batch(64, torch.float32)
    step = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:, None, None]
    batch = replace(batch, index_k_pages=((1 + step * 2.0**-16) * batch.index_k_pages[0, 0]).expand(64, 8, 128))
    cut = lambda tensor: (tensor.contiguous().view(torch.int32) >> 13 << 13).view(torch.float32)  # noqa: E731
    in_tf32 = replace(batch, index_q=cut(batch.index_q), index_k_pages=cut(batch.index_k_pages))
    assert certify(batch, index_topk(batch)).violations == []
    assert {violation.law for violation in certify(batch, index_topk(in_tf32)).violations} == {"Best"}
    assert certify(batch, index_topk(in_tf32), tf32(128)).violations == []


def test_a_score_that_may_overflow_certifies_nothing():
    """1e38 * 3 - 1e38 * 3 may meet +inf or -inf on the way; the other block scores 1."""
    config = IndexerConfig(num_index_heads=1, index_head_dim=6, block_size=1, topk_blocks=1, local_blocks=0)
    keys = [[1e38, 1e38, 1e38, -1e38, -1e38, -1e38], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    batch = row_batch(config, [[2.0] * 6], keys)
    lower, upper = block_intervals(batch, slice(0, 1), ieee_fp32(6))
    assert lower.tolist() == [[[-INF, 2.0]]]
    assert upper.tolist() == [[[INF, 2.0]]]
    for block in (0, 1):
        certificate = certify(batch, int32([[[block]]]))
        assert certificate.violations == []
        assert certificate.num_certified == 0


@pytest.mark.parametrize(
    ("key", "ends"),
    [
        ([NAN, 1.0], (-INF, -INF)),
        ([INF, -INF], (-INF, -INF)),  # NaN in every order
        ([INF, 1.0], (INF, INF)),
        ([-INF, 3e38], (-INF, -INF)),
        ([-INF, 1.0], (-INF, -INF)),
        ([INF, -3e38], (INF, INF)),
        ([0.0, -0.0], (0.0, 0.0)),
    ],
)
def test_nan_and_infinite_scores_have_no_width(key, ends):
    config = IndexerConfig(num_index_heads=1, index_head_dim=2, block_size=1, topk_blocks=1)
    lower, upper = block_intervals(row_batch(config, [[1.0, 1.0]], [key]), slice(0, 1), ieee_fp32(2))
    assert (lower.item(), upper.item()) == ends


def test_an_infinite_score_beside_products_that_overflow_is_open():
    """+inf - 3e38 - 3e38: the finite products may make -inf first, and NaN with the +inf."""
    config = IndexerConfig(num_index_heads=1, index_head_dim=3, block_size=1, topk_blocks=1)
    lower, upper = block_intervals(row_batch(config, [[1.0] * 3], [[INF, -3e38, -3e38]]), slice(0, 1), ieee_fp32(3))
    assert (lower.item(), upper.item()) == (-INF, INF)


def test_the_unseen_tail_of_a_page_does_not_widen_an_interval():
    config = IndexerConfig(num_index_heads=1, index_head_dim=1, block_size=4, topk_blocks=1)
    batch = row_batch(config, [[1.0]], [[0.1], [0.2]])
    poisoned = batch.index_k_pages.clone()
    poisoned[0, 2:] = 3e38
    widened = PagedBatch(config, batch.index_q, poisoned, batch.block_table, batch.seq_lens, batch.cu_seqlens_q)
    for left, right in zip(
        block_intervals(batch, slice(0, 1), ieee_fp32(1)),
        block_intervals(widened, slice(0, 1), ieee_fp32(1)),
        strict=True,
    ):
        assert torch.equal(left, right)


def test_violations_are_counted_in_full_and_described_in_part():
    batch = random_batch(64, torch.bfloat16)
    certificate = certify(batch, torch.zeros(4, 8, 16, dtype=torch.int32), max_violations=5)
    assert len(certificate.violations) == 5
    assert certificate.num_broken == certificate.num_rows == 32


@settings(max_examples=100, deadline=None)
@given(batch=batches(), max_token_scores=st.integers(1, 100))
def test_chunking_never_changes_the_verdict(batch, max_token_scores):
    wrong = index_topk(batch).roll(1, dims=-1)
    whole, pieces = certify(batch, wrong), certify(batch, wrong, max_token_scores=max_token_scores)
    assert whole.num_certified == pieces.num_certified
    assert {str(v) for v in whole.violations} == {str(v) for v in pieces.violations}


def test_the_exact_score_lies_inside_every_interval():
    batch = near_tie_batch(1, torch.bfloat16)
    for (_, score), (_, lower, upper) in zip(scored_chunks(batch), interval_chunks(batch), strict=True):
        assert ((lower <= score) & (score <= upper)).all()
        assert (lower < upper).any()


@pytest.mark.parametrize("law", [law.name for law in ROW_LAWS.values() if not law.needs_scores])
def test_structure_is_judged_exactly_whatever_the_width(law):
    """A bound so wide that any set will do excuses no broken structure."""
    batch = make_batch(
        IndexerConfig(num_index_heads=1, index_head_dim=2, block_size=1, topk_blocks=3), [1], [6], random.Random(0)
    )
    broken = {
        "Visible": [1, 5, 6],
        "Distinct": [1, 1, 5],
        "Count": [1, 5, -1],
        "PaddedTail": [1, -1, 5],
        "Forced": [0, 1, 2],
        "Order": [5, 1, 0],
    }
    huge = ScoreBound("anything", math.inf, math.inf, 0.0)
    assert certify(batch, int32([[[0, 3, 5]]]), huge).violations == []
    assert law in {violation.law for violation in certify(batch, int32([[broken[law]]]), huge).violations}


def test_the_default_bound_is_that_of_the_dtype():
    batch = near_tie_batch(2, torch.bfloat16)
    default = list(interval_chunks(batch))
    named = list(interval_chunks(batch, bound_for(torch.bfloat16, 8)))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(default, named, strict=True))


def normed_batch(queries: str, keys: str) -> PagedBatch:
    """One request of 24 rows over 6 blocks of RMS-normed vectors, written in some formats."""
    generator = torch.Generator().manual_seed(11)
    config = IndexerConfig(num_index_heads=2, index_head_dim=128, block_size=16, topk_blocks=3)
    q, k = (torch.randn(*size, 128, generator=generator) for size in ((24, 2), (6, 16)))
    q, k = (values * values.square().mean(-1, keepdim=True).rsqrt() for values in (q, k))
    write = {"float8_e4m3fn": e4m3, "nvfp4": nvfp4_divided, "bfloat16": torch.Tensor.bfloat16}
    lens = [int32([96]), int32([0, 24])]
    return PagedBatch(config, write[queries](q), write[keys](k), int32([range(6)]), *lens)


@pytest.mark.parametrize("pair", [("float8_e4m3fn", "float8_e4m3fn"), ("float8_e4m3fn", "nvfp4")], ids="-".join)
def test_scores_of_e4m3_numbers_are_points_unless_the_unit_keeps_13_bits(pair):
    batch = normed_batch(*pair)
    for _, lower, upper in interval_chunks(batch):
        assert torch.equal(lower, upper)
    for _, lower, upper in interval_chunks(batch, hopper_fp8(128)):
        assert (lower < upper).any()
    certificate = certify(batch, index_topk(batch))
    assert not certificate.violations
    assert certificate.certified_share == 1


def test_scores_of_bf16_queries_keep_their_intervals():
    for keys in ("bfloat16", "float8_e4m3fn"):
        assert all((lower < upper).any() for _, lower, upper in interval_chunks(normed_batch("bfloat16", keys)))

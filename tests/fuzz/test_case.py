"""Cases are data: the same on every machine, whole after JSON, refused where they contradict themselves."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.cases.case import Case, Request, Step, ViewPlan
from fuzz.cases.coverage import Coverage
from fuzz.cases.generate import CASES_EACH, NUM_SPECIALIZATIONS, by_specialization, gate_cases
from fuzz.cases.inside import OWN_DTYPES, inside
from fuzz.cases.production import SMALL_CONFIG, production_cases
from fuzz.cases.scale import LARGE, MAX_DECODE_QUERY_LEN, SCALES, SMALL, Scale
from fuzz.cases.specialization import OWN_SHAPE
from fuzz.commands.options import DEFAULT_CASES
from fuzz.targets import find
from fuzz.values.rng import Stream, hashed_integers
from msa_fast.ops.checks import MAX_DECODE_QUERY_LEN as KERNELS_LIMIT
from msa_ref import IndexerConfig
from tests.support.case_strategies import cases

PER_CASE: dict[str, Any] = {"extra_rows": 0, "is_out_given": True, "fence": "", "is_plain": False, "align": 0}
"""Fields of views that every case draws for itself."""
CASE = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 40), Request(1, 9)))


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
def test_json_keeps_a_case_whole(scale: Scale) -> None:
    for case in gate_cases(1, 200, scale):
        assert Case.from_json(case.to_json()) == case


def test_the_same_seed_gives_the_same_cases_whatever_the_count() -> None:
    few, many = list(gate_cases(7, 5, SMALL)), list(gate_cases(7, 50, SMALL))
    assert few == many[:5]
    assert few != list(gate_cases(8, 5, SMALL))


def test_drawn_numbers_are_the_same_on_every_machine() -> None:
    assert Stream(1, "name").integers(-8, 8, (6,)).tolist() == [8, 7, 4, -5, 1, -4]
    assert Stream(1, "name").integer(0, 10**12) == 958_910_439_204
    assert hashed_integers(5, 6, 1, -8, 8, "cpu").tolist() == [4, -4, -2, 7, 3, -7]


def test_any_part_of_a_hashed_tensor_can_be_made_alone() -> None:
    assert hashed_integers(0, 100, 3, -8, 8, "cpu")[40:60].tolist() == hashed_integers(40, 20, 3, -8, 8, "cpu").tolist()


@pytest.mark.gpu
def test_hashed_numbers_are_the_same_on_a_gpu() -> None:
    assert hashed_integers(9, 10_000, 3, -8, 8, "cuda").cpu().equal(hashed_integers(9, 10_000, 3, -8, 8, "cpu"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, "case must have no other keys than"),
        ({"config": {"colour": 1}}, "case.config must have no other keys than"),
        ({"requests": [{"query_len": 1}]}, "case.requests[0] must have the key 'seq_len'"),
        ({"requests": {}}, "case.requests must be a list"),
        ({"seed": "1"}, "case.seed must be of type int"),
        ({"seed": True}, "case.seed must be of type int"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"pages": {"tail": "zero"}}, "tail must be one of"),
        ({"num_splits": []}, "num_splits must hold a split count"),
        ({"num_splits": [0, -1]}, "num_splits must be >= 0"),
        ({"values": {"family": "colours"}}, "family must be one of"),
    ],
)
def test_a_bad_case_is_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        Case.from_json(json.dumps(json.loads(CASE.to_json()) | change))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_replay_that_changes_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="replay must keep num_reqs"):
        replace(CASE, replay=(Step((Request(3, 3),)),))


def test_rows_lie_behind_the_steps_that_bring_fewer_tokens() -> None:
    steps = (Step((Request(9, 9), Request(0, 0))), Step((Request(1, 3), Request(1, 3))))
    case = Case(IndexerConfig(), (Request(2, 3), Request(2, 3)), replay=steps, extra_queries=1)
    assert case.total_q == 10
    assert [case.rows_behind(state) for state in case.states] == [6, 1, 8]


@pytest.mark.parametrize(
    ("scale", "count"), [(SMALL, DEFAULT_CASES["cpu"]), (LARGE, DEFAULT_CASES["cuda"])], ids=["small", "large"]
)
def test_a_default_gate_run_reaches_every_dimension(scale: Scale, count: int) -> None:
    coverage = Coverage(scale)
    for case in gate_cases(20_260, count, scale):
        coverage.add(case)
    table = coverage.table()
    assert [(name, bucket) for name, buckets in table.items() for bucket, count in buckets.items() if not count] == []


def test_drawn_decode_lengths_reach_the_kernels_limit() -> None:
    assert MAX_DECODE_QUERY_LEN == KERNELS_LIMIT


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_hypothesis_draws_the_same_kind_of_cases(case: Case) -> None:
    assert Case.from_json(case.to_json()) == case
    assert not case.replay or case.decode_query_len <= MAX_DECODE_QUERY_LEN


def test_production_shapes_come_whole_and_scaled() -> None:
    whole, scaled = list(production_cases(True, 1)), list(production_cases(False, 1))
    traffic = [case for case, kind in whole if kind == "prefill" and case.note.startswith("production")]
    assert max(case.total_q for case in traffic) == 16_384
    (many,) = (case for case, kind in whole if kind == "prefill" and case.config == SMALL_CONFIG)
    assert many.config.num_index_heads * many.total_q * (many.max_blocks - 1) > 2**31
    assert max(request.seq_len for case, kind in whole if kind != "selection" for request in case.requests) == 2**20
    assert max(len(case.requests) for case, kind in whole if kind != "selection") == 128
    assert {kind for _, kind in scaled} == {"prefill", "decode", "selection"}
    assert {kind for case, kind in whole if case.dtype == "float8_e4m3fn"} == {"prefill", "decode"}
    lens = [(kind, request.seq_len) for case, kind in scaled for request in case.requests]
    assert max(seq_len for kind, seq_len in lens if kind != "selection") <= 2**11
    assert max(seq_len for kind, seq_len in lens) > 16 * 2**16


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_gate_has_a_longest_row_of_65_blocks(seed: int) -> None:
    """One more than a round ranks. The launcher goes by the host's bound, so the bound must be 65, too."""
    longest = []
    for case in gate_cases(seed, DEFAULT_CASES["cpu"], SMALL):
        lens = [request.seq_len for request in case.requests if request.query_len]
        real, bound = (
            max((case.config.num_blocks(n + slack) for n in lens), default=0) for slack in (0, case.host_slack)
        )
        longest += [real] if real == bound else []
    assert 65 in longest
    assert 64 in longest


def test_a_gpus_cases_of_one_specialization_share_views() -> None:
    drawn = {scale.name: by_specialization(3, 2 * NUM_SPECIALIZATIONS * CASES_EACH, scale) for scale in (SMALL, LARGE)}

    def others(cases_of_one: list[tuple[int, Case]]) -> int:
        """Cases whose pages lie near for which kernels are compiled anew, beside those of the commonest kind."""
        near = [case for _, case in cases_of_one if not case.pages.is_far]
        kinds = Counter((case.config, case.dtype, replace(case.views, **PER_CASE)) for case in near)
        return kinds.total() - max(kinds.values())

    for groups in drawn.values():
        assert [len(group) for group in groups] == [2 * CASES_EACH] * NUM_SPECIALIZATIONS
    assert sum(map(others, drawn["large"])) <= NUM_SPECIALIZATIONS / 2  # those of rare sizes
    assert all(others(group) > 1 for group in drawn["small"])  # where nothing is compiled, views differ


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES.keys())
def test_a_third_of_all_cases_have_the_models_own_config(scale: Scale) -> None:
    drawn = list(gate_cases(20260, 120, scale))
    own = [case for case in drawn if replace(case.config, num_index_heads=4) == IndexerConfig()]
    deployed = [case for case in own if case.dtype in OWN_DTYPES and case.config.num_index_heads in (1, 2, 4)]
    assert len(deployed) >= len(drawn) // 3
    assert {case.config.num_index_heads for case in deployed} == {1, 2, 4}
    assert {case.dtype for case in deployed} == set(OWN_DTYPES)


def test_a_sixth_of_a_gpus_cases_have_the_models_own_shape() -> None:
    """In 16 bits, with contiguous keys: kernels made for that shape serve nothing else."""
    drawn = list(gate_cases(20260, 400, inside(LARGE, find("prefill").domain)))
    own = [
        case
        for case in drawn
        if (case.config.index_head_dim, case.config.block_size) == OWN_SHAPE
        and case.dtype != "float32"
        and case.views.index_k_pages == ViewPlan()
    ]
    assert len(own) >= len(drawn) // 6
    assert {case.dtype for case in own} >= {"bfloat16", "float16"}
    assert len({case.config.num_index_heads for case in own}) > 3

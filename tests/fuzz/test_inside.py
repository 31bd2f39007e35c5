"""Cases are drawn inside what a target promises: nearly all of them are judged."""

import pytest
import torch

from fuzz.cases.case import Case
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.promised import outside
from fuzz.cases.scale import LARGE, MAX_DECODE_QUERY_LEN, SMALL, Scale
from fuzz.inputs.scene import Scene
from fuzz.targets import BUILT_IN
from msa_ref.profile import CONTRACT, Profile

M3 = Profile(
    "M3",
    dtypes=(torch.bfloat16,),
    num_index_heads=(4,),
    index_head_dims=(128,),
    block_sizes=(128,),
    topk_blocks=(16,),
    init_blocks=(0,),
    local_blocks=(1,),
    max_query_len=8,
    strides="contiguous",
)
UNUSUAL = Profile(
    "unusual",
    index_head_dims=(192, 256),
    block_sizes=(48,),
    topk_blocks=(6,),
    init_blocks=(2,),
    local_blocks=(3,),
    max_table_blocks=40,
    max_total_q=5,
)
PROFILES = {
    "M3 alone": M3,
    "one format": Profile("x", dtypes=(torch.float16,)),
    "one head": Profile("x", num_index_heads=(1,)),
    "64 by 64": Profile("x", index_head_dims=(64,), block_sizes=(64,)),
    "one token each": Profile("x", query_lens="uniform", max_query_len=1),
    "uniform, no padding": Profile("x", query_lens="uniform", padding_rows="undefined"),
    "ordinary numbers": Profile(
        "x", nan="undefined", infinities="undefined", score_nan="undefined", score_infinities="undefined"
    ),
    "8 requests": Profile("x", max_num_reqs=8),
    "contiguous": Profile("x", strides="contiguous", axes="token-major"),
    "aligned": Profile("x", strides="aligned"),
    "scores within 1e4": Profile("x", max_abs_score=1e4),
    "up to 32 slots": Profile("x", topk_blocks=tuple(range(1, 33))),
    "1,024 blocks": Profile("x", max_visible_blocks=1024, padding_rows="undefined"),
    "nothing of the scale": UNUSUAL,
}


@pytest.mark.parametrize(("scale", "count"), [(LARGE, 100), (SMALL, 100)], ids=["large", "small"])
@pytest.mark.parametrize("domain", [{}, {"is_decode": True}, {"takes_score": True}], ids=["any", "decode", "scores"])
@pytest.mark.parametrize("name", PROFILES)
def test_nine_of_ten_cases_are_inside(name: str, domain: dict[str, bool], scale: Scale, count: int) -> None:
    profile, takes_score = PROFILES[name], domain.get("takes_score", False)
    drawn = list(gate_cases(20_260, count, inside(scale, Domain(profile, **domain))))
    assert len(drawn) == count
    judged = [case for case in drawn if outside(case, profile, takes_score) is None]
    assert len(judged) >= 0.9 * count
    if "is_decode" in domain:
        assert max(case.decode_query_len for case in judged) <= MAX_DECODE_QUERY_LEN
    assert sum(bool(case.replay) for case in judged) >= count // 5


@pytest.mark.parametrize("takes_score", [False, True], ids=["keys", "scores"])
@pytest.mark.parametrize("limit", [1e30, 1e4, 30.0, 0.5])
def test_drawn_scores_stay_within_a_promised_range(limit: float, takes_score: bool) -> None:
    profile = Profile(
        "x",
        max_abs_score=limit,
        **{name: "undefined" for name in ("nan", "infinities", "score_nan", "score_infinities")},
    )
    for case in gate_cases(20_260, 24, inside(SMALL, Domain(profile, takes_score=takes_score))):
        scene = Scene(case, "cpu")
        assert profile.undefined(scene.batch, scene.score() if takes_score else None) is None, case.to_json()


def test_a_domain_without_limits_changes_no_case() -> None:
    assert inside(SMALL, Domain()) == SMALL
    assert inside(LARGE, Domain()) == LARGE


def test_targets_of_one_profile_share_their_cases() -> None:
    drawn = list(gate_cases(20_260, 60, SMALL))
    decode = list(gate_cases(20_260, 60, inside(SMALL, Domain(is_decode=True))))
    shared = [case for case in decode if case in drawn]
    assert len(shared) == sum(case.decode_query_len <= MAX_DECODE_QUERY_LEN for case in shared) >= 25
    assert BUILT_IN["decode"].domain == BUILT_IN["decode-bound"].domain


def test_every_built_in_target_takes_the_cases_drawn_for_it() -> None:
    for name, target in BUILT_IN.items():
        drawn = [case for case in gate_cases(3, 60, inside(LARGE, target.domain)) if target.is_run_by(case, "cuda")]
        assert drawn, name
        refused = [case for case in drawn if not target.takes(case, "cuda")]
        # Kernels refuse NVFP4 keys of 16 elements, which no profile can say.
        assert all((case.formats.keys.name, case.config.index_head_dim) == ("nvfp4", 16) for case in refused), name


def test_m3_alone_has_rows_on_both_sides_of_its_slots() -> None:
    def blocks(case: Case) -> int:
        return case.max_row_blocks

    drawn = list(gate_cases(20_260, 120, inside(SMALL, Domain(M3))))
    assert sum(blocks(case) > 17 for case in drawn) > 60
    assert {15, 16, 17, 33, 64, 65} <= {blocks(case) for case in drawn}
    assert outside(drawn[0], CONTRACT) is None

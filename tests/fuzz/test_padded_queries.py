"""Queries behind the last request's tokens: refused by the contract, PAD to those who promise it, nobody's tokens."""

from dataclasses import replace

import pytest
import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.canaries.padding import PADDED
from fuzz.cases.case import Case, Request, Step, ValuePlan
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.promised import outside
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Undefined, Verdict
from fuzz.targets import BUILT_IN, Target
from msa_fast import PrefillPlan, minimax_m3_index_decode, minimax_m3_index_prefill
from msa_ref import PAD, IndexerConfig, index_topk
from msa_ref.profile import CONTRACT

CASE = Case(
    IndexerConfig(3, 16, 16, 3),
    (Request(2, 130), Request(1, 9), Request(0, 0)),
    seed=5,
    values=ValuePlan("few_values"),
    replay=(Step((Request(1, 131), Request(2, 40), Request(0, 1))),),
    extra_queries=3,
)
CASES = [replace(CASE, values=ValuePlan(family)) for family in ("few_values", "nonfinite", "hashed")]


def _verdict(case: Case, target: Target, device: str) -> Verdict:
    return Examiner(Scene(case, device)).examine(target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.values.family)
def test_the_reference_pads_behind_the_last_request(case: Case, device: str) -> None:
    batch = Scene(case, device).batch
    answer, alone = index_topk(batch), index_topk(replace(batch, index_q=batch.index_q[:3]).validate())
    assert torch.equal(answer[:, :3], alone)
    assert (answer[:, 3:] == PAD).all()


def test_validate_refuses_queries_behind_the_last_request(device: str) -> None:
    with pytest.raises(ValueError, match="cu_seqlens_q must end at total_q = 6; got 3"):
        Scene(CASE, device).batch.validate()


def test_decode_takes_no_padding_for_a_request_and_leaves_its_rows(device: str) -> None:
    batch = Scene(CASE, device).batch
    out = torch.full((3, 6, 3), -7, dtype=torch.int32, device=device)
    minimax_m3_index_decode(batch, 2, out=out)
    assert torch.equal(out[:, :3], index_topk(batch)[:, :3])
    assert (out[:, 3:] == -7).all()


def test_prefill_refuses_a_plan_of_fewer_tokens(device: str) -> None:
    scene = Scene(CASE, device)
    plan = PrefillPlan.build(CASE.config, scene.query_lens, scene.seq_lens, scene.batch.device)
    with pytest.raises(ValueError, match=r"plan must be built for num_reqs, total_q = \(3, 6\); got \(3, 3\)"):
        minimax_m3_index_prefill(scene.batch, plan)


@pytest.mark.parametrize("name", [name for name, target in BUILT_IN.items() if target.profile == CONTRACT])
def test_the_contract_promises_nothing_for_padded_queries(name: str, device: str) -> None:
    verdict = _verdict(replace(CASE, replay=()), BUILT_IN[name], device)
    assert isinstance(verdict, Undefined)
    assert outside(CASE, CONTRACT) == "contract promises nothing for queries after the last request's"
    assert outside(replace(CASE, extra_queries=0), CONTRACT) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.values.family)
def test_a_target_that_promises_pad_is_judged_on_the_padding(case: Case, device: str) -> None:
    sane = Target("sane", "", "foreign", lambda call: NaiveIndexer(call).answer(), profile=PADDED)
    verdict = _verdict(case, sane, device)
    assert isinstance(verdict, Agreed), verdict
    assert verdict.rows == 3 * 6 * 2


@pytest.mark.parametrize("extra", [0, 3])
def test_a_case_tells_the_facts_of_its_padded_batch(extra: int, device: str) -> None:
    case = replace(CASE, extra_queries=extra, values=ValuePlan("integers"))
    promises_no_nan = replace(PADDED, nan="undefined", infinities="undefined")
    assert outside(case, promises_no_nan) is None
    assert promises_no_nan.undefined(Scene(case, device).batch) is None


def test_longer_query_tensors_are_drawn_for_those_that_take_them() -> None:
    for profile, is_drawn in ((PADDED, True), (CONTRACT, False), (replace(PADDED, padding_rows="undefined"), False)):
        drawn = list(gate_cases(7, 24, inside(SMALL, Domain(profile))))
        assert any(case.extra_queries for case in drawn) == is_drawn
        assert not any(outside(case, profile) for case in drawn if profile != PADDED or case.extra_queries)

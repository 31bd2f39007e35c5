"""Every planted defect dies, by the laws that name it, within the gate's default run."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from fuzz.canaries import CANARIES, DEFECTS, MUTANTS, PROCESS_CANARIES, Defect
from fuzz.canaries.naive import ShowingIndexer
from fuzz.canaries.padding import PADDED
from fuzz.cases.case import Case, Views
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge import large_calls
from fuzz.judge.between_runs import diagnose
from fuzz.judge.examiner import Examiner
from fuzz.judge.run_laws import RUN_LAWS
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Target
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from tests.support.case_strategies import cases
from tests.support.gate_scenes import drawn_cases, examiner_of, kept_cases, scene_of, scenes_for

LATE = ("writes_again_later", "writes_seconds_later")
ON_A_CPU = [one for one in CANARIES.values() if not {*one.needs} - {"large cases"} and one.name not in LATE]
"""Canaries that one case shows. The others write late, and are told at a later case: see `test_cheats`."""
ALL_LAWS = {*ROW_LAWS, *RUN_LAWS, *BATCH_LAWS}


@pytest.fixture(autouse=True)
def time_for_large_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine's seconds are no reason to leave a large case out."""
    monkeypatch.setattr(large_calls, "MAX_SECONDS", 600)


@pytest.mark.parametrize("canary", ON_A_CPU, ids=lambda canary: f"{canary.field_defect}-{canary.name}")
def test_the_gate_kills_every_canary_by_the_laws_it_names(canary: Defect) -> None:
    missing = set(canary.laws)
    for examiner in map(examiner_of, scenes_for(canary.name)):
        verdict = examiner.examine(canary.target)
        if isinstance(verdict, Broke):
            missing -= {violation.law for violation in verdict.violations}
            if missing:
                found = diagnose(examiner.scene.case, canary.target, "cpu", verdict.violations[0], missing)
                missing -= {violation.law for violation in found}
        if not missing:
            return
    pytest.fail(f"{canary.name} lived: {sorted(missing)} never broke")


def test_the_indexer_that_canaries_break_is_right_as_it_stands() -> None:
    # The naive one, which shows its scores as well.
    sane = Target("sane", "", "foreign", lambda call: ShowingIndexer(call).answer(), has_splits=True, profile=PADDED)
    for case in [*drawn_cases(), *kept_cases()]:
        assert isinstance(examiner_of(scene_of(case)).examine(sane), Agreed), case.to_json()


def test_every_canary_names_laws_that_exist() -> None:
    for canary in CANARIES.values():
        assert canary.laws
        assert set(canary.laws) <= ALL_LAWS, canary.name


def test_no_two_defects_have_one_name() -> None:
    assert len(DEFECTS) == len(CANARIES) + len(PROCESS_CANARIES) + len(MUTANTS)


LAWS_WITHOUT_CANARY = {
    "Shape": "shown by its own test",
    "Exact": "unreachable while the row laws hold: they leave one right answer",
}


def test_every_law_has_a_canary() -> None:
    named = {law for canary in CANARIES.values() for law in canary.laws}
    assert named | set(LAWS_WITHOUT_CANARY) == ALL_LAWS


@pytest.mark.parametrize("name", ["last_split_forgotten", "rows_behind"])
def test_hypothesis_shrinks_a_failure_to_a_small_plain_case(name: str) -> None:
    def breaks(case: Case) -> bool:
        return isinstance(Examiner(Scene(case, "cpu")).examine(CANARIES[name].target), Broke)

    phases = (Phase.generate, Phase.shrink)  # as a run has them: to explain what was found traces every line
    quick = settings(max_examples=200, deadline=None, database=None, derandomize=True, phases=phases)
    case = find(cases(SMALL), breaks, settings=settings(quick, suppress_health_check=list(HealthCheck)))
    assert len(case.requests) == 1
    assert case.max_blocks <= 40
    assert case.replay == ()
    assert case.views == replace(Views(), extra_rows=case.views.extra_rows, is_out_given=case.views.is_out_given)

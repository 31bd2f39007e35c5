"""A foreign kernel is held to its own promises, all of them, and to no others."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fuzz.__main__ import main
from fuzz.canaries.naive import NaiveIndexer, Row, ShowingIndexer
from fuzz.cases.case import Case, PagePlan, Request, ValuePlan, Views
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined, Verdict
from fuzz.targets import Call, Target, find
from fuzz.targets.profiles import promises_in_words, read_profile
from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT, Profile

PROFILE = replace(CONTRACT, name="engine", tie_rule="any", order="score-desc", axes="token-major", nan="undefined")


class _Engine(NaiveIndexer):
    """Ties to the highest id, ids in the order of their scores, [T, H, K]."""

    def __init__(self, call: Call) -> None:
        super().__init__(replace(call, out=None))

    def order(self, candidate: tuple[float, int]) -> tuple[float, ...]:
        return (-candidate[0], -candidate[1])

    def finish(self, row: Row, chosen: list[int]) -> list[int]:
        return chosen


class _Shows(_Engine, ShowingIndexer):
    pass


class _SkipsTheBest(_Engine):
    def merge(self, row: Row, parts: list[list[tuple[float, int]]], slots: int) -> list[int]:
        return super().merge(row, parts, slots + 1)[1:] or super().merge(row, parts, slots)


def engine(call: Call, kind: type[NaiveIndexer] = _Engine) -> torch.Tensor:
    """An engine that promises less than the contract."""
    topk_idx = kind(call).answer().transpose(0, 1)
    if call.out is None:
        return topk_idx
    call.out[: topk_idx.shape[0]] = topk_idx
    return call.out


engine.profile = PROFILE  # type: ignore[attr-defined]


def broken_engine(call: Call) -> torch.Tensor:
    """Leaves the best block out."""
    return engine(call, _SkipsTheBest)


def _verdicts(target: Target) -> Iterator[Verdict]:
    for case in gate_cases(20_260, 40, SMALL):
        yield Examiner(Scene(case, "cpu")).examine(target)


def test_a_profile_allows_or_leaves_undefined() -> None:
    target = find("tests.fuzz.test_foreign:engine")
    assert target.profile == PROFILE
    verdicts = list(_verdicts(target))
    assert not [verdict for verdict in verdicts if isinstance(verdict, Broke)]
    agreed = [verdict for verdict in verdicts if isinstance(verdict, Agreed)]
    assert len(agreed) > 20
    # Ties are open to it, so on some rows more than one set is right.
    assert 0 < sum(verdict.certified for verdict in agreed) < sum(verdict.rows for verdict in agreed)
    outside = [verdict for verdict in verdicts if isinstance(verdict, Undefined)]
    assert {verdict.reason for verdict in outside} <= {
        "engine promises nothing for NaN",
        "engine promises nothing for infinities, or for the NaN that they make",
    }
    assert outside


@pytest.mark.parametrize(
    ("stricter", "law"), [({"tie_rule": "lowest-id"}, "Best"), ({"order": "ascending"}, "Order"), ({}, "Best")]
)
def test_each_promise_is_held(stricter: dict[str, str], law: str) -> None:
    run = engine if stricter else broken_engine
    target = Target("engine", "", "foreign", run, has_splits=True, profile=replace(PROFILE, **stricter))  # type: ignore[arg-type]
    broken = (verdict for verdict in _verdicts(target) if isinstance(verdict, Broke))
    assert any(violation.law == law for verdict in broken for violation in verdict.violations)


def test_shown_scores_are_held_to_the_profile_alone() -> None:
    case = Case(IndexerConfig(2, 64, 16, 4), (Request(2, 300), Request(1, 90)), values=ValuePlan("normal"))
    target = Target("engine", "", "foreign", lambda call: engine(call, _Shows), has_splits=True, profile=PROFILE)
    assert isinstance(Examiner(Scene(case, "cpu")).examine(target), Agreed)
    verdict = Examiner(Scene(case, "cpu")).examine(replace(target, profile=replace(PROFILE, order="ascending")))
    assert isinstance(verdict, Broke)
    assert {violation.law for violation in verdict.violations} == {"Order"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_sums_that_round_are_judged_on_intervals(dtype: str, device: str) -> None:
    case = Case(
        IndexerConfig(2, 64, 16, 4),
        (Request(2, 300), Request(1, 90)),
        dtype=dtype,
        values=ValuePlan("normal"),
        pages=PagePlan(spare_pages=2, tail="bait"),
        num_splits=(0, 3),
    )
    for name in ("reference", "prefill", "decode"):
        verdict = Examiner(Scene(case, device)).examine(find(name))
        assert isinstance(verdict, Agreed), verdict
        assert verdict.certified > 0
    verdict = Examiner(Scene(case, device)).examine(find("fuzz.canaries:local_forgotten"))
    assert isinstance(verdict, Broke)
    wrong = Examiner(Scene(replace(case, views=Views(is_out_given=False)), device))
    assert isinstance(wrong.examine(find("fuzz.canaries:always_the_most_recent")), Broke)


def test_a_profile_comes_from_a_file_behind_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "narrow.json"
    narrow = {"dtypes": ["float16"], "topk_blocks": {"min": 9, "max": 12}, "axes": "token-major", "order": "any"}
    path.write_text(json.dumps(narrow))
    profile = read_profile(path)
    fp16 = (torch.float16,)
    assert profile == Profile("narrow", axes="token-major", order="any", dtypes=fp16, topk_blocks=(9, 10, 11, 12))
    assert promises_in_words(profile) == "order any, axes token-major, dtypes float16, topk_blocks {9..12}"
    assert promises_in_words(CONTRACT) == "contract"
    options = ["--device", "cpu", "--cases", "6", "--no-production", "--no-corpus", "--findings", str(tmp_path / "f")]
    assert main(["gate", *options, "--target", f"tests.fuzz.test_foreign:engine@{path}"]) == 1
    printed = capsys.readouterr().out
    assert "0 undefined" in printed  # cases are drawn inside the profile
    assert "Best: " in printed  # of equals it takes any, where the file promises the lowest ids
    assert "Order: " not in printed  # which it promises by its own profile alone


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"colour": 1}', "must have no other keys than"),
        ('{"dtypes": ["int8"]}', r"dtypes\[0\] must be one of"),
        ('{"order": "random"}', "order must be one of"),
        ("[]", "must hold an object"),
        ("{", "bad.json must be a file of JSON"),
    ],
)
def test_a_bad_profile_is_refused_by_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_profile(path)


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^nosuch.json must be a file of JSON that can be read; got "):
        find("tests.fuzz.test_foreign:engine@nosuch.json")

"""A row law is one row of one table: what judges, explains and reports rows reads it, and nothing else is edited."""

import pytest
import torch

from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke
from fuzz.targets import find
from msa_ref import IndexerConfig, index_topk
from msa_ref.contract import judge
from msa_ref.rows import ROW_LAWS, Law, Selection

CONFIG = IndexerConfig(2, 16, 16, 4)


def breaks_thrifty(selection: Selection) -> torch.Tensor:
    """Block 0 is left out wherever more blocks are visible than selected. [0, 2, 4] breaks it."""
    return selection.is_chosen[..., 0] & (selection.num_visible_blocks > selection.config.topk_blocks)


@pytest.fixture
def _thrifty(monkeypatch: pytest.MonkeyPatch) -> None:
    law = Law("Thrifty", breaks_thrifty, lambda row: f"takes block 0 of {int(row.num_visible_blocks)}")
    monkeypatch.setitem(ROW_LAWS, "Thrifty", law)


@pytest.mark.usefixtures("_thrifty")
@pytest.mark.parametrize("family", ["integers", "normal"])
def test_a_law_in_the_table_is_judged_explained_and_reported(family: str) -> None:
    case = Case(CONFIG, (Request(3, 120),), values=ValuePlan(family))
    scene = Scene(case, "cpu")
    exact = list(judge(scene.batch, index_topk(scene.batch)))
    assert {violation.law for violation in exact} == {"Thrifty"}

    verdict = Examiner(scene).examine(find("reference"))
    assert isinstance(verdict, Broke)
    first, *_ = verdict.violations
    assert (first.law, first.req, first.how) == ("Thrifty", 0, "")
    assert str(first).startswith(f"Thrifty: head {first.head}, token {first.token}, request 0: takes block 0 of 8")

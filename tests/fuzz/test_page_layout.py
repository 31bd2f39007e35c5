"""Pages of blocks: a page may come twice in a row of the table, and everything else holds as before."""

from dataclasses import replace

import numpy as np
import pytest

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed
from fuzz.targets import BUILT_IN
from fuzz.values.families import DRAWN_FAMILIES
from msa_ref import IndexerConfig

CASE = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 150), Request(1, 9), Request(1, 70)), seed=5)


def _table(case: Case) -> list[list[int]]:
    scene = Scene(case, "cpu")
    scene.batch.validate()
    return [
        row[: -(-length // 16)] for row, length in zip(scene.batch.block_table.tolist(), scene.seq_lens, strict=True)
    ]


@pytest.mark.parametrize("shared_blocks", [0, 3])
@pytest.mark.parametrize("repeated_blocks", [1, 5, 99])
def test_blocks_lie_in_the_pages_of_others(repeated_blocks: int, shared_blocks: int) -> None:
    pages = PagePlan(repeated_blocks=repeated_blocks, shared_blocks=shared_blocks)
    for row in _table(replace(CASE, pages=pages)):
        repeats = min(repeated_blocks, len(row) - 1)
        counts = np.unique(row, return_counts=True)[1]
        assert len(row) - len(counts) <= repeats
        assert counts.max() > repeats // 2, "half of them in one page"


@pytest.mark.parametrize(
    "pages", [PagePlan(repeated_blocks=3, tail="bait"), PagePlan(pool_pages=4)], ids=["few", "all"]
)
@pytest.mark.parametrize("family", DRAWN_FAMILIES)
def test_targets_agree_where_a_page_comes_twice(family: str, pages: PagePlan) -> None:
    case = replace(CASE, values=ValuePlan(family, is_future_best=True), pages=pages)
    examiner = Examiner(Scene(case, "cpu"))
    for name in ("reference", "decode"):
        assert isinstance(examiner.examine(BUILT_IN[name]), Agreed)

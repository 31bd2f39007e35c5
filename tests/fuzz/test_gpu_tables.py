"""Small batches are selected from by a GPU's launch tables, also on the interpreter; no other call notices."""

import pytest

from fuzz.cases.case import Case, Request
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed
from fuzz.targets import find
from fuzz.targets.call import Call
from fuzz.targets.gpu_tables import LONG_ROW, as_on_a_gpu
from msa_fast.ops import launch_table
from msa_fast.ops.dot import IS_INTERPRETED
from msa_ref import IndexerConfig

CONFIG = IndexerConfig(2, 16, 16, 3)
SMALL_BATCH = Case(CONFIG, (Request(1, 400), Request(2, 90)))
TABLES = ("TOPK_ROWS", "MAX_RUNS")


@as_on_a_gpu
def _tables(call: Call, package: str) -> list[int]:
    assert package == "msa_fast"
    return [launch_table.number(getattr(launch_table, name), "interpreter") for name in TABLES]


def _call(case: Case) -> Call:
    return Call(Scene(case, "cpu").batch, None, None, 2, None, [], [])


@pytest.mark.skipif(not IS_INTERPRETED, reason="a GPU has its own tables")
def test_small_batches_have_a_gpus_tables_and_others_the_interpreters() -> None:
    own, of_gpu = ([getattr(launch_table, name)[key] for name in TABLES] for key in ("interpreter", launch_table.ANY))
    assert _tables(_call(SMALL_BATCH)) == [of_gpu[0], own[1]]
    long = Case(CONFIG, (Request(1, 16 * (LONG_ROW + 1)),))
    assert _tables(_call(long)) == of_gpu
    assert _tables(_call(Case(CONFIG, (Request(5, 90),)))) == own
    assert [getattr(launch_table, name)["interpreter"] for name in TABLES] == own


@pytest.mark.parametrize("name", ["decode", "decode-topk", "topk", "prefill"])
def test_kernels_agree_by_a_gpus_tables(name: str) -> None:
    assert isinstance(Examiner(Scene(SMALL_BATCH, "cpu")).examine(find(name)), Agreed)

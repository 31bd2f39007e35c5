"""A case that the kernels would refuse accuses nobody: it is Undefined, in the kernels' own words."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from fuzz.campaign.results import Results
from fuzz.cases.case import Case, Request
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.isolation.worker import Judged, Task
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Undefined
from fuzz.report.record import Record, TargetRecord
from fuzz.targets import BUILT_IN, find
from msa_ref import IndexerConfig

ORDINARY = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 40), Request(1, 9)))
ON_KERNELS = [name for name, target in BUILT_IN.items() if target.is_kernel and not (target.is_graph or target.bind)]


@pytest.mark.parametrize("name", ON_KERNELS)
@pytest.mark.parametrize(
    ("strange", "value"), [("index_head_dim", 256), ("block_size", 256), ("num_index_heads", 65), ("topk_blocks", 129)]
)
def test_a_config_that_kernels_refuse_is_undefined_in_their_words(name: str, strange: str, value: int) -> None:
    config = replace(ORDINARY.config, **{strange: value})
    with pytest.raises(ValueError, match=rf"^{strange} must .* for the kernels; got {value}$") as refusal:
        importlib.import_module("msa_fast.ops.checks").check_config(config)
    verdict = Examiner(Scene(replace(ORDINARY, config=config), "cpu")).examine(find(name))
    assert verdict == Undefined(str(refusal.value))


@pytest.mark.parametrize("name", [name for name in ON_KERNELS if BUILT_IN[name].kind == "decode"])
def test_requests_longer_than_decode_serves_are_undefined(name: str) -> None:
    case = replace(ORDINARY, requests=(Request(9, 40), Request(1, 9)))
    verdict = Examiner(Scene(case, "cpu")).examine(find(name))
    assert isinstance(verdict, Undefined)
    assert verdict.reason.startswith("decode_query_len must be")
    assert verdict.reason.endswith("; got 9")


def test_the_bounds_themselves_are_within_the_limits() -> None:
    config = replace(ORDINARY.config, index_head_dim=128, block_size=128, num_index_heads=64, topk_blocks=128)
    scene = Scene(replace(ORDINARY, config=config, requests=(Request(8, 40), Request(1, 9))), "cpu")
    assert [BUILT_IN[name].limits(scene.case, scene.device.type) for name in ON_KERNELS] == [None] * len(ON_KERNELS)


def test_more_splits_than_decode_serves_are_undefined() -> None:
    verdict = Examiner(Scene(replace(ORDINARY, num_splits=(0, 257)), "cpu")).examine(find("decode"))
    assert verdict == Undefined("num_splits must be an int from 1 to 256; got 257")


@pytest.mark.parametrize("name", ON_KERNELS)
def test_rows_of_more_blocks_than_kernels_tell_apart_are_refused(name: str) -> None:
    check = BUILT_IN[name].check
    assert check is not None
    check(replace(ORDINARY, requests=(Request(1, 2**24),)))
    with pytest.raises(ValueError, match=r" must hold <= 1048576 blocks of a request; got 1048577$"):
        check(replace(ORDINARY, requests=(Request(1, 2**24 + 1),)))


def test_a_report_counts_a_refused_rule_once_whatever_cases_had() -> None:
    targets = (TargetRecord("decode", "", "contract"),)
    results = Results(Record("gate", "", 0, "small", "cpu", {}, targets=targets), SMALL, Path("unused"))
    for query_len in (9, 12):
        case = replace(ORDINARY, requests=(Request(query_len, 40),))
        verdict = Examiner(Scene(case, "cpu")).examine(find("decode"))
        results.add(Judged(Task(case, ("decode",), "cpu"), (("decode", verdict, 0.0),)))
    assert results.record.target("decode").undefined == {"decode_query_len must be an int from 1 to 8": 2}

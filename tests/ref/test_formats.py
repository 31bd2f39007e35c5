"""The table of element formats agrees with torch, and a format outside of the kernels is one row more."""

from pathlib import Path

import pytest
import torch

from msa_ref.formats import ELEMENTS, ElementFormat, format_of
from tests.support.edited_house import copy_house, run_in

E4M3 = """
        ElementFormat(
            name="float8_e4m3fn",
            short_name="e4m3",
            dtype=torch.float8_e4m3fn,
            bits=8,
            precision=4,
            max=448.0,
            min_normal=2.0**-6,
            subnormal_step=2.0**-9,
            has_infinities=False,
            has_nan=True,
            bounds=("any_order_fp32",),
        ),
"""
"""A row that no kernel serves yet."""
PROGRAM = """
import torch
from fuzz.cases.case import TAILS, Case, PagePlan, Request, ValuePlan
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Undefined
from fuzz.targets import find
from fuzz.values.families import FAMILIES
from msa_fast.compile_gate.sweep import DTYPES
from msa_ref import IndexerConfig, index_topk
from msa_ref.certified import certify
from msa_ref.precision import any_order_fp32, bound_for
from msa_ref.profile import CONTRACT

e4m3 = torch.float8_e4m3fn
assert e4m3 in CONTRACT.dtypes and DTYPES["e4m3"] == e4m3
assert bound_for(e4m3, 128) == any_order_fp32(128)
drawn = [case for case in gate_cases(1, 300, SMALL) if case.dtype == "float8_e4m3fn"]
assert len(drawn) > 50
assert all(-9 <= case.values.log2_scale <= 4 for case in drawn)
assert all(Scene(case, "cpu").batch.index_q.dtype == e4m3 for case in drawn)
for family in FAMILIES:
    for tail in TAILS:
        values = ValuePlan(family, is_future_best=not FAMILIES[family].is_on_device)
        pages = PagePlan(tail=tail, spare_pages=1)
        requests = (Request(3, 150), Request(2, 40))
        case = Case(IndexerConfig(2, 16, 16, 3), requests, 1, "float8_e4m3fn", values, pages)
        batch = Scene(case, "cpu").batch
        assert not certify(batch, index_topk(batch)).violations, family
for name in ("prefill", "decode"):
    verdict = Examiner(Scene(case, "cpu")).examine(find(name))
    assert verdict == Undefined("index_q must be bf16, fp16 or fp32 for the kernels; got e4m3"), verdict
print("judged", len(FAMILIES), "families")
"""


@pytest.mark.parametrize("row", ELEMENTS.values(), ids=ELEMENTS.keys())
def test_a_format_is_as_torch_has_it(row: ElementFormat) -> None:
    info = torch.finfo(row.dtype)
    assert (row.bits, row.max, row.min_normal) == (info.bits, info.max, info.smallest_normal)
    assert info.eps == 2.0 ** (1 - row.precision)
    assert row.subnormal_step == info.smallest_normal * info.eps
    extremes = torch.tensor([torch.inf, torch.nan], dtype=row.dtype).float()
    assert (bool(extremes[0].isinf()), bool(extremes[1].isnan())) == (row.has_infinities, row.has_nan)
    assert row.max / 2 < row.max_power <= row.max
    assert format_of(row.dtype) is row


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="index_q must be bf16, fp16 or fp32"):
        format_of(torch.float64, "index_q")


def test_a_new_format_is_one_row(tmp_path: Path) -> None:
    file = copy_house(tmp_path) / "msa_ref" / "formats.py"
    rows, end, rest = file.read_text().partition("    )\n}\n")
    file.write_text(rows + E4M3.lstrip("\n") + end + rest)
    assert run_in(tmp_path, PROGRAM).startswith("judged")

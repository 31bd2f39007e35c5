"""Each recipe of CONTRIBUTING, made to a copy of the packages: one registration, and the suite uses it."""

import re
from pathlib import Path

import pytest

from tests.support.edited_house import copy_house, run_in
from tests.support.markdown import ROOT, blocks

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PLACE = re.compile(r"# ([\w/]+\.py), (above|in place of|in|at the end|a new file)(?: (\w+))?$")
"""The first line of a recipe's block: its file, and where in it the block stands."""

START = """
import torch
from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.cases.coverage import Coverage
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import find
from msa_ref import IndexerConfig, index_topk

def verdict(case, name):
    return Examiner(Scene(case, "cpu")).examine(find(name))

config, requests = IndexerConfig(2, 16, 16, 4), (Request(3, 150), Request(2, 40))
"""

RECIPES = {
    "A Triton or Gluon kernel on the twin": (
        ["fuzz/twin/emit/tensors.py"],
        """
from fuzz.twin.emit.emitter import Emitter
from fuzz.twin.ir.read import read

text = "module {\\ntt.func public @k(%a: tensor<4xi32>) {\\n%b = tt.cat %a, %a : tensor<4xi32> -> tensor<8xi32>\\n}\\n"
assert "np.concatenate([v_a, v_a])" in Emitter(read(text)).source()
""",
    ),
    "A row law": (
        ["msa_ref/rows.py"],
        """
from msa_ref.contract import judge
from tests.support.pages.laws import row_laws
from tests.support.ref_batches import row_batch

batch = row_batch(IndexerConfig(1, 1, 1, topk_blocks=3), [[1.0]], [[5.0], [1.0], [7.0], [5.0], [0.0]])
found = [str(violation) for violation in judge(batch, torch.tensor([[[0, 2, 3]]], dtype=torch.int32))]
assert "Newest: head 0, token 0, request 0: lacks block 4, the newest" in found, found
assert list(judge(batch, index_topk(batch))) == []
broke = verdict(Case(config, requests), "fuzz.canaries:local_forgotten")
assert "Newest" in {violation.law for violation in broke.violations}
assert "[`Newest`](" in row_laws()
""",
    ),
    "A canary": (
        ["fuzz/canaries/ranking.py"],
        """
from fuzz.canaries import CANARIES

assert CANARIES["even_ids_first"].sentence == "Breaks ties towards even block ids."
broke = verdict(Case(config, requests, values=ValuePlan("few_values")), "fuzz.canaries:even_ids_first")
assert isinstance(broke, Broke) and "Best" in {violation.law for violation in broke.violations}
""",
    ),
    "A family of values": (
        ["fuzz/values/designed.py"],
        """
assert isinstance(verdict(Case(config, requests, values=ValuePlan("pairs")), "topk"), Agreed)
assert "pairs" in {case.values.family for case in gate_cases(1, 150, SMALL)}
assert Coverage(SMALL).table()["values"]["pairs"] == 0
assert "pairs of equals" in Coverage(SMALL).tie_classes()
""",
    ),
    "A dimension of cases": (
        ["fuzz/cases/dimensions.py"],
        """
coverage = Coverage(SMALL)
coverage.add(Case(config, requests))
assert coverage.table()["parity of requests"] == {"even": 1, "odd": 0}
""",
    ),
    "An element format": (
        ["msa_ref/formats.py"],
        """
from msa_ref.certified import certify
from msa_ref.profile import CONTRACT

assert torch.float8_e5m2 in CONTRACT.dtypes
batch = Scene(Case(config, requests, dtype="float8_e5m2"), "cpu").batch
assert batch.index_q.dtype == torch.float8_e5m2
assert not certify(batch, index_topk(batch)).violations
""",
    ),
    "A kernel for one architecture": (
        ["msa_fast/ops/decode.py", "msa_fast/ops/geforce/decode.py"],
        """
from msa_fast import minimax_m3_index_decode
from msa_fast.ops.geforce import decode as geforce

launch, launched = geforce.launch_score, []
geforce.launch_score = lambda *arguments: (launched.append(arguments), launch(*arguments))
batch = Scene(Case(config, requests), "cpu").batch
assert torch.equal(minimax_m3_index_decode(batch, 3), index_topk(batch))
assert launched
assert isinstance(verdict(Case(config, requests), "decode"), Agreed)
""",
    ),
}
"""Heading of a recipe -> the files that its blocks stand in, and a program that sees the change used."""


def _changes(heading: str) -> list[tuple[str, str, str, str]]:
    """(file, how, anchor, code) of a recipe's blocks."""
    section = CONTRIBUTING.split(f"### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    found = []
    for _, body in blocks(section, "python"):
        first, _, code = body.partition("\n")
        place = PLACE.match(first)
        assert place, first
        file, how, anchor = place.groups()
        found.append((file, how, anchor or "", code))
    return found


def _put(file: Path, how: str, anchor: str, code: str) -> None:
    """Write a recipe's block to its place."""
    if how == "a new file":
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
        return
    lines = file.read_text().splitlines(keepends=True)
    if how == "at the end":
        place = len(lines)
    else:
        place = next(number for number, line in enumerate(lines) if re.match(rf"{anchor}\b", line))
    if how == "in":  # a row, before what closes its table: `)`, or `    )` and `}` where rows are named by themselves
        place = next(number for number in range(place + 1, len(lines)) if lines[number][0] in ")]}")
        place -= lines[place - 1] == "    )\n"
        code = f"{code.rstrip()},\n"
    if how == "in place of":
        del lines[place]
    file.write_text("".join([*lines[:place], "\n", code, "\n", *lines[place:]]))


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_is_one_registration_that_the_suite_uses(heading, tmp_path):
    files, program = RECIPES[heading]
    changes = _changes(heading)
    assert sorted({file for file, *_ in changes}) == files
    house = copy_house(tmp_path)
    for file, how, anchor, code in changes:
        _put(house / file, how, anchor, code)
    run_in(house, START + program)

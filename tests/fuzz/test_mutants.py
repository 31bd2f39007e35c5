"""Planted defects in the real kernels: all can still be planted, and the gate names law and place."""

import ast
import importlib
import inspect
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.canaries import MUTANTS, Mutant
from fuzz.canaries.kernels import enumerated
from fuzz.canaries.kernels.mutant import mutants_of, package_of
from fuzz.judge.run_laws import RUN_LAWS
from fuzz.targets import find
from msa_fast.ops import dispatch
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS


@lru_cache(maxsize=2)
def meaning(source: str) -> str:
    """A module without its comments and layout. Many mutants in turn are of one file."""
    return ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_every_fragment_is_where_its_mutant_says_and_leaves_a_module(mutant: Mutant) -> None:
    assert meaning(mutant.source()) != meaning(mutant.fragment.original())
    assert set(mutant.laws) <= {*ROW_LAWS, *RUN_LAWS, *BATCH_LAWS}
    assert find(f"fuzz.canaries:{mutant.name}").sentence == mutant.sentence


TOO_MANY_BLOCKS = {"ops/device_plan.py"}
"""Files whose widened number only 2,048 query tiles of a million blocks each would pass."""


def test_each_part_of_what_launches_are_kept_by_and_each_widened_number_has_a_mutant() -> None:
    folder = Path(inspect.getfile(dispatch)).parent
    widening = {f"ops/{file.name}" for file in folder.glob("*.py") if re.search(r"[( ]tl\.int64\)", file.read_text())}
    assert widening - TOO_MANY_BLOCKS == enumerated.WIDENED.keys()
    paths = Counter(mutant.fragment.path for mutant in enumerated.ALL)
    assert all(paths[path] >= 4 for path in (*enumerated.KEPT_BY, *enumerated.CONDITIONS, *enumerated.WIDENED))
    assert enumerated.CANNOT_SHOW.keys() <= {mutant.name for mutant in enumerated.MUTANTS}


def test_an_enumerated_mutant_is_written_elsewhere_exactly_if_it_says_so() -> None:
    paths, written = {mutant.fragment.path for mutant in enumerated.ALL}, dict[str, str]()
    others = MUTANTS.keys() - {mutant.name for mutant in enumerated.ALL}
    by_meaning = {meaning(MUTANTS[name].source()): name for name in others if MUTANTS[name].fragment.path in paths}
    for mutant in enumerated.ALL:
        if (same := by_meaning.get(meaning(mutant.source()))) is not None:
            written[mutant.name] = same
    assert written == enumerated.WRITTEN


def test_a_fragment_that_is_gone_is_refused_by_a_sentence() -> None:
    gone = mutants_of("ops/prefill_plan.py", "topk")("gone", "Breaks nothing.", "no such text", "", ("Best",))
    with pytest.raises(ValueError, match=r"fragment 'no such text' must occur 1 x in ops/prefill_plan.py; got 0"):
        gone.source()


def test_a_mutant_leaves_the_real_kernels_alone() -> None:
    mutant = MUTANTS["tie_to_the_highest_id"]
    mutated = importlib.import_module(f"{package_of(mutant.name, mutant.fragment)}.ops.cut")
    original = importlib.import_module("msa_fast.ops.cut")
    assert mutant.fragment.new in inspect.getsource(mutated.settle.fn)
    assert mutant.fragment.old in inspect.getsource(original.settle.fn)
    assert inspect.getsource(mutated.find_cut.fn) == inspect.getsource(original.find_cut.fn)
    assert mutated.find_cut is not original.find_cut


# Of these seeds one of the first two cases shows it, and few findings are tried again.
@pytest.mark.parametrize(
    ("mutant", "seed"),
    [
        ("tie_to_the_highest_id", 4),
        ("score_tail_not_masked", 8),
        ("plan_last_range_forgotten", 8),
        ("decode_last_split_forgotten", 9),
    ],
)
def test_broken_kernels_fail_the_gate_which_names_law_and_place(
    mutant: str, seed: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Why a case broke takes the interpreter minutes to say; that is tested on plain targets.
    arguments = ["--device", "cpu", "--no-production", "--no-corpus", "--no-diagnose", "--jobs", "1", "--cases", "2"]
    arguments += ["--findings", str(tmp_path)]
    assert main(["gate", *arguments, "--seed", str(seed), "--target", f"fuzz.canaries:{mutant}"]) == 1
    report = capsys.readouterr().out
    assert re.search(r"^    Best: head \d+, token \d+, request \d+.*: .*$", report, re.MULTILINE), report
    again = rf"again: python -m fuzz replay \S*-Best-\S+ --target fuzz.canaries:{mutant} --device cpu$"
    assert re.search(again, report, re.MULTILINE), report

"""The suite's own promise of refusals: whatever a function of `msa_fast` refuses is offered to it by the gate."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import msa_fast
from fuzz.targets.own_refusals import hold_to_refusals
from msa_fast.ops.dot import IS_INTERPRETED
from msa_ref import config

FOLDER = Path(msa_fast.__file__).parent
BY_LIMITS = "by `fuzz.judge.limit_calls`, with tensors of 2**31 elements and more"
BY_STEPS = "by later steps of a builder, `fuzz.targets.own_outs`"
ASKED_ELSEWHERE = {
    "fmha_sm100.py": "by the vendor's package alone, for which `fuzz.targets.own_vendor` has a stand-in",
    "graph.py: replay": "by replays of a GPU",
    "ops/bound.py: _batch_of_checked": BY_STEPS,
    "ops/checks.py: check_batch": "by versions of Triton and numpy, and on a machine with and without a GPU in turn",
    "ops/checks.py: check_formats": "no dtype of torch is a format that no kernel reads",
    "ops/checks.py: check_interpreter": "by versions of Triton and numpy",
    "ops/checks.py: check_out: check_reach": BY_LIMITS,
    "ops/checks.py: check_reach": BY_LIMITS,
    "ops/device_plan.py: plan_on_device: check_reach": BY_LIMITS,
    "ops/product.py: check_product": "by e4m3 queries, `fuzz.targets.own_engine`",
    "ops/step_kinds.py: add_bound": BY_STEPS,
    "prefill_scorer.py: choose_scorer": "where the vendor's package is",
}
"""File, or file and function, or these and what it calls, of refusals that are offered elsewhere, and where."""


def _sites() -> Iterator[tuple[str, range]]:
    """Every call in a function of the package that may refuse: (file: function: what it calls, its lines)."""
    for path in sorted(FOLDER.rglob("*.py")):
        file = str(path.relative_to(FOLDER))
        if file.startswith(("bench/", "compile_gate/")):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and _name(call).startswith(("require", "check_")):
                    yield (
                        f"{file}: {function.name}: {_name(call)}",
                        range(call.lineno, (call.end_lineno or call.lineno) + 1),
                    )


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


@pytest.mark.skipif(not IS_INTERPRETED, reason="refusals are offered where kernels are interpreted")
def test_every_refusal_is_offered_by_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    met = set[tuple[str, int]]()

    class Met(ValueError):
        """A refusal that keeps the lines which led to it."""

        def __init__(self, *words: object) -> None:
            super().__init__(*words)
            frame = sys._getframe(1)
            while frame is not None:
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(FOLDER):
                    met.add((str(path.relative_to(FOLDER)), frame.f_lineno))
                frame = frame.f_back

    monkeypatch.setattr(config, "ValueError", Met, raising=False)
    hold_to_refusals.__wrapped__("msa_fast", torch.device("cpu"))
    sites = list(_sites())
    left = {
        f"{place}, line {lines.start}"
        for place, lines in sites
        if not any((place.partition(":")[0], line) in met for line in lines)
        and not place.startswith(tuple(ASKED_ELSEWHERE))
    }
    assert not left, "\n".join(sorted(left))
    assert all(any(place.startswith(name) for place, _ in sites) for name in ASKED_ELSEWHERE)

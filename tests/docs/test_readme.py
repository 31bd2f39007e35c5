"""README's commands, adapter and length."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace

from fuzz.cases.case import Case, Request, Views
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import Target
from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT
from tests.support.markdown import ROOT, blocks

README = (ROOT / "README.md").read_text()
MAX_LINES = 130


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MAX_LINES


def test_the_two_commands_of_the_readme_are_whole_lines_that_ci_can_find():
    commands = [body.strip() for _, body in blocks(README, "sh") if body.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith(".venv/bin/python -m fuzz gate")
    assert commands[1].endswith(".venv/bin/python -m pytest -n auto")
    ci = (ROOT / ".ci" / "run").read_text()
    for heading in ("The gate", "The tests"):
        assert f"readme '{heading}'" in ci
        assert f"\n{heading}" in README


def test_the_requirements_of_the_readme_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].replace('>=', '>= ')}" in README
    for name in ("torch", "triton"):
        (bound,) = (wanted for wanted in project["dependencies"] if wanted.startswith(name))
        assert bound.replace(">=", " >= ") in README


def test_every_figure_of_speed_in_the_readme_is_in_the_results():
    (paragraph,) = (text for text in README.split("\n\n") if text.startswith("GPU time"))
    results = (ROOT / "msa_fast" / "bench" / "RESULTS.md").read_text()
    figures = re.findall(r"\b(\d+(?:\.\d+)?) (?:us|ms)|\((\d+(?:\.\d+)?)\)", paragraph)
    assert len(figures) > 8
    assert [one or other for one, other in figures if not re.search(rf"\b{one or other}\b", results)] == []


def test_the_readmes_adapter_is_short_and_keeps_what_its_profile_promises():
    (source,) = (body for _, body in blocks(README, "python") if "def adapter" in body)
    assert len(source.splitlines()) < 10
    scope: dict = {}
    exec(compile(source, "README.md", "exec"), scope)
    adapter = scope["adapter"]
    case = Case(IndexerConfig(3, 16, 16, topk_blocks=4), (Request(2, 200), Request(3, 20)), dtype="float32")
    for views in (Views(is_out_given=False), Views(extra_rows=2)):
        examiner = Examiner(Scene(replace(case, views=views), "cpu"))
        promised = Target("adapter", "", "foreign", adapter, profile=adapter.profile)
        assert isinstance(examiner.examine(promised), Agreed)
        assert isinstance(examiner.examine(replace(promised, profile=CONTRACT)), Broke)


def test_the_benchmark_says_in_one_sentence_that_it_needs_a_gpu():
    program = [sys.executable, "-m", "msa_fast.bench"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "python -m msa_fast.bench measures a CUDA device and there is none here.\n"

"""What the documents claim is so."""

import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.markdown import blocks

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING = (ROOT / "README.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()


def test_the_two_commands_of_the_readme_are_whole_lines_that_ci_can_find():
    commands = [body.strip() for _, body in blocks(README, "sh") if body.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith(".venv/bin/python -m fuzz gate")
    assert commands[1].endswith(".venv/bin/python -m pytest -n auto")


@pytest.fixture
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign engine: token-major ids, best score first, made from the reference's scores."""
    from msa_ref import IndexerConfig, PagedBatch, forced_mask, index_topk
    from msa_ref.indexer import scored_chunks

    def my_index_topk(index_q, index_k_pages, block_table, seq_lens, cu_seqlens_q, topk):
        heads, dim, size = *index_q.shape[1:], index_k_pages.shape[1]
        config = IndexerConfig(heads, dim, size, topk, local_blocks=min(1, topk))
        batch = PagedBatch(config, index_q, index_k_pages, block_table, seq_lens, cu_seqlens_q)
        topk_idx = index_topk(batch)
        for rows, score in scored_chunks(batch):
            chosen = topk_idx[:, rows].long()
            forced = forced_mask(batch.num_visible_blocks()[rows], score.shape[-1], config)
            rank = score.masked_fill(forced, torch.inf).gather(-1, chosen.clamp(min=0))
            order = rank.masked_fill(chosen < 0, -torch.inf).argsort(dim=-1, descending=True, stable=True)
            topk_idx[:, rows] = topk_idx[:, rows].gather(-1, order)
        return topk_idx.transpose(0, 1).contiguous()

    module = types.ModuleType("my_engine")
    module.my_index_topk = my_index_topk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_engine", module)


@pytest.mark.usefixtures("_engine")
def test_the_adapter_in_contributing_is_short_and_keeps_what_its_profile_promises():
    from fuzz.cases.case import Case, Request, Views
    from fuzz.inputs.scene import Scene
    from fuzz.judge.examiner import Examiner
    from fuzz.judge.verdict import Agreed, Broke
    from fuzz.targets import Target
    from msa_ref import IndexerConfig
    from msa_ref.profile import CONTRACT

    ((_, source),) = blocks(CONTRIBUTING, "python")
    assert len(source.splitlines()) < 30
    scope: dict = {}
    exec(compile(source, "CONTRIBUTING.md", "exec"), scope)
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

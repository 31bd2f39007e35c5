"""What the interpreter is spared changes no answer, and is spared."""

import inspect

import pytest
import torch

from msa_fast import minimax_m3_index_decode_with_score
from msa_fast.interpreter import prepare
from msa_ref import IndexerConfig, index_topk
from tests.support.kernel_batches import make_batch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are not interpreted where there is a GPU")
BATCH = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=4), [2, 0, 1], [150, 40, 33]


def looks_at_the_language(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whatever the interpreter looks through for functions to replace, from now on."""
    looks: list[object] = []
    real = inspect.getmembers
    monkeypatch.setattr(inspect, "getmembers", lambda of: looks.append(of) or real(of))
    return looks


def test_an_interpreter_that_is_spared_gives_the_bits_of_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    batch = make_batch(*BATCH, torch.bfloat16, "cpu")
    looks = looks_at_the_language(monkeypatch)
    topk_idx, score = minimax_m3_index_decode_with_score(batch, 2)
    spared = len(looks)
    with monkeypatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", interpreter._patch_lang.original)
        patch.setattr(interpreter.interpreter_builder, "options", interpreter.InterpreterOptions())
        whole_idx, whole_score = minimax_m3_index_decode_with_score(batch, 2)
    assert torch.equal(topk_idx, whole_idx)
    assert torch.equal(topk_idx, index_topk(batch))
    seen = slice(2), slice(10)  # what the first request's two tokens see; the other's scores need not be written
    assert torch.equal(score[:, *seen].view(torch.int32), whole_score[:, *seen].view(torch.int32))
    assert 0 < 4 * spared < len(looks)


def test_to_spare_it_again_changes_nothing() -> None:
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    before = interpreter._patch_lang, interpreter.interpreter_builder.options
    assert not before[1].sanitize_overflow
    prepare()
    assert (interpreter._patch_lang, interpreter.interpreter_builder.options) == before

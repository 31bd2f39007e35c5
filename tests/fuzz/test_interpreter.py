"""Triton's interpreter is right and quick as soon as the kernels are imported."""

import inspect

import pytest
import torch
import triton
import triton.language as tl

from msa_fast import minimax_m3_index_decode, minimax_m3_index_decode_with_score
from msa_fast.interpreter import mend
from msa_ref import IndexerConfig, index_topk
from tests.support.kernel_batches import make_batch, prefill

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are not interpreted where there is a GPU")
CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=4)
QUERY_LENS, SEQ_LENS = [2, 0, 1], [150, 40, 33]


@triton.jit
def _widen_kernel(in_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.load(in_ptr + offs).to(out_ptr.dtype.element_ty))


@triton.jit
def _maximum_kernel(left_ptr, right_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.maximum(tl.load(left_ptr + offs), tl.load(right_ptr + offs)))


@pytest.mark.parametrize("wide", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("narrow", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_every_code_of_an_8_bit_float_is_widened_exactly(narrow: torch.dtype, wide: torch.dtype) -> None:
    values = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(narrow)
    widened = torch.empty(256, dtype=wide)
    _widen_kernel[(1,)](values, widened, 256)
    torch.testing.assert_close(widened, values.to(wide), rtol=0, atol=0, equal_nan=True)


def test_every_bf16_number_is_widened_exactly() -> None:
    values = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    widened = torch.empty(1 << 16)
    _widen_kernel[(1,)](values, widened, 1 << 16)
    torch.testing.assert_close(widened, values.float(), rtol=0, atol=0, equal_nan=True)


def test_the_maximum_of_nan_and_a_number_is_the_number() -> None:
    left, right = torch.tensor([float("nan"), 1.0, 2.0, float("nan")]), torch.tensor([1.0, float("nan"), 3.0, -1.0])
    greater = torch.empty(4)
    _maximum_kernel[(1,)](left, right, greater, 4)
    assert greater.tolist() == [1.0, 1.0, 3.0, -1.0]


@pytest.mark.parametrize("is_decode", [True, False], ids=["decode", "prefill"])
def test_blocks_are_ranked_right_by_subnormal_scores(is_decode: bool) -> None:
    query_lens, seq_lens = [1], [16 * 40]
    batch = make_batch(CONFIG, query_lens, seq_lens, torch.bfloat16, "cpu")
    batch.index_q.zero_()[..., 0] = 1
    codes = torch.arange(1, 1 + len(batch.index_k_pages))  # below 128, so the exponent is 0: subnormal numbers
    batch.index_k_pages.copy_(codes.to(torch.int16).view(torch.bfloat16)[:, None, None])
    selected = minimax_m3_index_decode(batch, 1) if is_decode else prefill(batch, query_lens, seq_lens)
    assert torch.equal(selected, index_topk(batch))


def looks_at_the_language(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The objects that the interpreter searches for functions to replace, from now on."""
    looks: list[object] = []
    real = inspect.getmembers
    monkeypatch.setattr(inspect, "getmembers", lambda of: looks.append(of) or real(of))
    return looks


def test_saved_work_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    batch = make_batch(CONFIG, QUERY_LENS, SEQ_LENS, torch.bfloat16, "cpu")
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


def test_mending_twice_changes_nothing() -> None:
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    before = interpreter._patch_lang, interpreter._convert_float, interpreter.interpreter_builder.options
    assert not before[2].sanitize_overflow
    mend()
    assert (interpreter._patch_lang, interpreter._convert_float, interpreter.interpreter_builder.options) == before


@pytest.mark.parametrize("element", [tl.float32, tl.pointer_type(tl.int32), tl.pointer_type(tl.int32, const=True)])
def test_a_kept_type_is_the_one_that_triton_makes(element: tl.dtype) -> None:
    made = object.__new__(tl.block_type)
    tl.block_type.__init__.original(made, element, [4, 2])
    plain = object.__new__(tl.tensor)
    tl.tensor.__init__.original(plain, "handle", made)
    for shape in ([4, 2], tl.tuple([4, 2]), [tl.constexpr(4), 2], [4, 2]):
        kept = tl.block_type(element, shape)
        assert (kept, kept.name, kept.numel, kept.scalar) == (made, made.name, made.numel, element)
        tensor = tl.tensor("handle", kept)
        assert vars(tensor).keys() == vars(plain).keys()
        assert (tensor.handle, tensor.type, tensor.dtype, tensor.numel.value) == ("handle", made, element, 8)
        assert [size.value for size in tensor.shape] == [4, 2]


def test_a_shape_that_is_refused_once_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="power of 2"):
            tl.block_type(tl.float32, [3])

"""Foreign Triton kernels compute on the interpreter what they compute on a GPU, or are refused with the reason."""

import pytest
import torch
import triton
import triton.language as tl

from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Agreed, Undefined
from msa_ref import IndexerConfig
from tests.support.foreign_kernels import KERNELS

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are not interpreted where there is a GPU")
SIZE = 256
CASE = Case(IndexerConfig(2, 16, 16, 4), (Request(2, 180), Request(1, 9)), values=ValuePlan("normal"))


@triton.jit
def _convert_kernel(in_ptr, out_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.store(out_ptr + offs, tl.load(in_ptr + offs).to(out_ptr.dtype.element_ty))


@triton.jit
def _scaled_dot_kernel(a_ptr, b_ptr, scale_ptr, out_ptr):
    rows, columns = tl.arange(0, 32)[:, None], tl.arange(0, 32)[None, :]
    a, b = tl.load(a_ptr + rows * 32 + columns), tl.load(b_ptr + rows * 32 + columns)
    scale = tl.load(scale_ptr + rows)
    tl.store(out_ptr + rows * 32 + columns, tl.dot_scaled(a, scale, "e4m3", b, None, "bf16"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_computes_what_torch_computes(name: str, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(3)
    x, y = (torch.randn(SIZE, generator=random).to(dtype) for _ in range(2))
    x[0], x[3], x[7], y[7] = 0.0, -0.0, 2.0**-130, 2.0**-128
    y[y == 0] = 1
    out = torch.zeros(SIZE, dtype=dtype)
    KERNELS[name].kernel[(1,)](x.clone(), y.clone(), out, SIZE)
    step = 0.0 if KERNELS[name].is_exact else torch.finfo(dtype).eps
    torch.testing.assert_close(out, KERNELS[name].in_torch(x, y), rtol=8 * step, atol=32 * step)


def test_fp32_is_rounded_to_the_nearest_bf16() -> None:
    high = torch.arange(1 << 16, dtype=torch.int64)
    for low in (0x0000, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        codes = (high << 16 | low).to(torch.int32)  # the upper half wraps around, as it should
        rounded = torch.empty(1 << 16, dtype=torch.bfloat16)
        _convert_kernel[(1,)](codes.view(torch.float32), rounded, 1 << 16)
        expected = codes.view(torch.float32).bfloat16()
        torch.testing.assert_close(rounded, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("target", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_wide_numbers_are_rounded_to_the_nearest_8_bits(target: torch.dtype, source: torch.dtype) -> None:
    numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).to(source)
    rounded = torch.empty(1 << 16, dtype=target)
    _convert_kernel[(1,)](numbers, rounded, 1 << 16)
    limit = torch.finfo(target).max
    expected = numbers.clamp(-limit, limit).to(target)
    torch.testing.assert_close(rounded.float(), expected.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif(triton.__version__ < "3.7", reason="the interpreter of older versions has no scaled products")
def test_a_scaled_product_with_bf16_is_that_of_torch() -> None:
    random = torch.Generator().manual_seed(4)
    a = torch.randn((32, 32), generator=random).to(torch.float8_e4m3fn)
    b = torch.randn((32, 32), generator=random).bfloat16() * 2.0**60  # no fp16 number
    scale = torch.randint(120, 134, (32, 1), generator=random, dtype=torch.uint8)
    out = torch.empty((32, 32))
    _scaled_dot_kernel[(1,)](a, b, scale, out)
    torch.testing.assert_close(out, (a.float() * 2.0 ** (scale.float() - 127)) @ b.float())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_foreign_kernel_of_any_format_agrees(dtype: str) -> None:
    with Worker(60) as worker:
        case = Case(CASE.config, CASE.requests, dtype=dtype, values=CASE.values)
        ((_, verdict, _),) = worker.judge(Task(case, ("tests.support.foreign_indexer:in_bf16",), "cpu")).verdicts
        assert isinstance(verdict, Agreed), verdict


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("in_assembly", "Triton's interpreter cannot run it: inline_asm not supported in interpreter mode"),
        ("on_a_gpu", "it needs a CUDA device: "),
    ],
)
def test_what_cannot_run_here_is_undefined_with_the_reason(name: str, reason: str) -> None:
    with Worker(60) as worker:
        ((_, verdict, _),) = worker.judge(Task(CASE, (f"tests.support.foreign_indexer:{name}",), "cpu")).verdicts
        assert isinstance(verdict, Undefined), verdict
        assert verdict.reason.startswith(reason)

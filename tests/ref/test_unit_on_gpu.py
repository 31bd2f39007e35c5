"""The bit models of matrix units give the very numbers of the GPU at hand, a million products of each kind."""

import pytest
import torch
import triton
import triton.language as tl

from msa_ref.matrix_units import UNITS, unit_product

ROWS, D, TILE = 1024, 128, 64
MODELS = {  # major compute capability -> unit of 16-bit formats, unit of e4m3
    9: ("wgmma", "wgmma fp8"),
    10: ("tcgen05", "tcgen05 fp8"),
}
KINDS = ("normal", "one direction", "wide", "subnormal", "few")


@triton.jit
def products(q_ptr, k_ptr, out_ptr, ROWS: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Grid (ROWS / TILE, ROWS / TILE): a tile of q [ROWS, D] times k [ROWS, D], all of D in one product."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    depth = tl.arange(0, D)
    q = tl.load(q_ptr + rows[:, None] * D + depth[None, :])
    k = tl.load(k_ptr + columns[:, None] * D + depth[None, :])
    tl.store(out_ptr + rows[:, None] * ROWS + columns[None, :], tl.dot(q, k.T, out_dtype=tl.float32))


def operand(kind: str, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """[ROWS, D] vectors of some kind, within the range of the dtype."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(ROWS, D, generator=generator)
    match kind:
        case "one direction":  # scores far from zero: what is dropped adds up
            vectors = vectors * 0.3 + torch.randn(D, generator=torch.Generator().manual_seed(9)) * 0.9
        case "wide":
            vectors *= torch.exp2(torch.randint(-6, 6, (ROWS, D), generator=generator).float())
        case "subnormal":
            vectors[:, ::3] *= torch.finfo(dtype).smallest_normal
        case "few":
            vectors = torch.randint(-8, 9, (ROWS, D), generator=generator).float()
    limit = torch.finfo(dtype).max
    return vectors.clamp(-limit, limit).to(dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn], ids=str)
def test_the_gpus_products_are_the_bit_models(dtype: torch.dtype, kind: str) -> None:
    major = torch.cuda.get_device_capability()[0]
    if major not in MODELS:
        pytest.skip(f"no bit model is claimed for compute capability {major}.x")
    unit = UNITS[MODELS[major][dtype.itemsize == 1]]
    q, k = (operand(kind, dtype, seed).cuda() for seed in (1, 2))
    out = torch.empty(ROWS, ROWS, device="cuda")
    products[ROWS // TILE, ROWS // TILE](q, k, out, ROWS, D, TILE, num_warps=4)
    expected = unit_product(q, k, unit)
    is_same = out == expected
    share = is_same.float().mean().item()
    assert share == 1, f"{unit.name}, {kind}: {share:.6f} equal; largest distance {(out - expected).abs().max().item()}"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_upcast_products_of_e4m3_are_exact_below_64_on_the_gpu(kind: str) -> None:
    """As the kernels score e4m3: in bf16, which holds every e4m3 number."""
    q, k = (operand(kind, torch.float8_e4m3fn, seed).cuda() for seed in (1, 2))
    out = torch.empty(ROWS, ROWS, device="cuda")
    products[ROWS // TILE, ROWS // TILE](q.bfloat16(), k.bfloat16(), out, ROWS, D, TILE, num_warps=4)
    exact = q.double() @ k.double().T
    is_small = (exact.abs() + q.double().abs() @ k.double().abs().T) / 2 <= 64
    assert kind != "normal" or is_small.float().mean() > 0.9
    assert torch.equal(out[is_small].double(), exact[is_small])

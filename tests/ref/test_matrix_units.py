"""The bit models of matrix units give the very numbers of the public package `mmasim`; skipped without it."""

import pytest
import torch

from msa_ref.matrix_units import UNITS, unit_product

try:
    from mmasim import nv_ptx
except Exception as error:
    pytest.skip(f"mmasim does not load: {error}", allow_module_level=True)

M, N, D = 64, 64, 128
MODELS = {
    "wgmma": (nv_ptx.WGMMA, "Hopper", "m64n64k16.f32.{}.{}", (torch.bfloat16, torch.float16)),
    "tcgen05": (nv_ptx.TCGen05MMA, "Blackwell", "m64n64k16.kind::f16.f32.{}.{}", (torch.bfloat16, torch.float16)),
    "wgmma fp8": (nv_ptx.WGMMA, "Hopper", "m64n64k32.f32.{}.{}", (torch.float8_e4m3fn,)),
    "tcgen05 fp8": (
        nv_ptx.TCGen05MMA,
        "Blackwell",
        "m64n64k32.kind::f8f6f4.f32.{}.{}",
        (torch.float8_e4m3fn,),
    ),
}
PTX_NAMES = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float8_e4m3fn: "e4m3"}


def _operands(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    q, k = (torch.randn(rows, D, generator=generator) for rows in (M, N))
    match kind:
        case "wide":
            q *= torch.exp2(torch.randint(-30, 30, q.shape, generator=generator).float())
        case "tiny":
            q, k = q * 2.0**-120, k * 2.0**-10
        case "special":
            q[0, 3], k[2, 5] = torch.inf, torch.nan
            q[3], k[4, ::2] = 0, 0
        case "cancelling":
            q[:, 1::2], k[:, 1::2] = -q[:, ::2], k[:, ::2]
    return q, k


@pytest.mark.parametrize("kind", ["normal", "wide", "tiny", "special", "cancelling"])
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, model in MODELS.items() for dtype in model[3]], ids=str
)
def test_unit_sums_to_the_bit(name: str, dtype: torch.dtype, kind: str) -> None:
    unit, architecture, shape, _ = MODELS[name]
    q, k = (operand.to(dtype) for operand in _operands(kind))
    start = torch.randn(M, N, generator=torch.Generator().manual_seed(8)) if kind == "normal" else torch.zeros(M, N)
    columns = k.view(torch.uint8 if k.itemsize == 1 else torch.int16).T.contiguous().view(dtype)
    expected = unit(architecture, shape.format(*2 * [PTX_NAMES[dtype]]))(q, columns, start)
    got = unit_product(q, k, UNITS[name], start)
    assert torch.equal(got.nan_to_num(nan=1e38), expected.nan_to_num(nan=1e38))


def test_sum_that_a_unit_can_hold_is_exact() -> None:
    q, k = (torch.randint(-8, 9, (M, D), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for name in ("wgmma", "tcgen05", "mma.sync", "mma.sync of Ampere"):
        assert torch.equal(unit_product(q.bfloat16(), k.bfloat16(), UNITS[name]), (q @ k.T).float())


def test_hoppers_fp8_unit_drops_what_others_keep() -> None:
    q, k = torch.ones(1, D).to(torch.float8_e4m3fn), torch.full((1, D), 2.0**-9).to(torch.float8_e4m3fn)
    q[0, 0], k[0, 0] = 64.0, 64.0
    assert unit_product(q, k, UNITS["wgmma fp8"]).item() == 4096.0
    assert unit_product(q, k, UNITS["tcgen05 fp8"]).item() == 4096.0 + 127 * 2.0**-9

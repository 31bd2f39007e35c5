"""The quick way of a bit model gives the very numbers of the plain one, within its range and past it."""

import pytest
import torch

from msa_ref.matrix_units import UNITS, unit_product, unit_sums

DTYPES = (torch.bfloat16, torch.float16, torch.float8_e4m3fn)


@pytest.mark.parametrize("log2_scale", [0, 6, 15, 39, 44])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNITS)
def test_quick_sums_are_the_plain_ones_bit_for_bit(name: str, dtype: torch.dtype, log2_scale: int) -> None:
    draw = torch.Generator().manual_seed(1 + log2_scale)
    q, k, start = (torch.randn(rows, width, generator=draw) for rows, width in ((24, 128), (20, 128), (24, 20)))
    q *= torch.exp2(torch.randint(-log2_scale, log2_scale + 1, q.shape, generator=draw).float())
    q[:, 64:], k[:, 64:] = q[:, :64], -k[:, :64]  # what is left of sums that cancel
    q[3], q[:, 32:48], q[5, 2] = 0, 0, -0.0
    q, k = (values.clamp(-448, 448).to(dtype) if dtype == DTYPES[2] else values.to(dtype) for values in (q, k))
    for accumulator in (None, start * 2.0**log2_scale, start * 2.0**-60):
        quick = unit_product(q, k, UNITS[name], accumulator)
        plain = unit_sums(q[:, None], k[None], UNITS[name], accumulator)
        assert torch.equal(quick.view(torch.int32), plain.view(torch.int32))

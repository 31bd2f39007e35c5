"""Writers: how engines turn numbers into e4m3 bytes and NVFP4 keys. They are no part of the selection.

The contract begins with bytes, so two engines may store other bytes of the same keys and both be right. A writer is
a named profile of one way in which that is done, for those who measure what a format changes, or who make inputs.

Sources: OCP 8-bit Floating Point Specification (OFP8) 1.0, 5.2, for conversion to e4m3; OCP Microscaling Formats (MX)
Specification 1.0, 5.3.3, for E2M1; PTX ISA, `cvt`, for saturation and for what becomes of NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from msa_ref.nvfp4 import GROUP, MAX_E4M3, together

MAX_E2M1 = 6.0
MIDDLES_E2M1 = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""The middles between each E2M1 number that is not negative and the next."""


@dataclass(frozen=True)
class Writer:
    """One way to write. format: of what it writes, by its name in `msa_ref.formats`. write: numbers [..., D] to it."""

    name: str
    format: str
    write: Callable[[torch.Tensor], torch.Tensor]


def e4m3(numbers: torch.Tensor) -> torch.Tensor:
    """The nearest e4m3 numbers, ties to even; 448 at most; NaN stays. PTX: `cvt.rn.satfinite.e4m3x2.f32`."""
    return numbers.float().clamp(-MAX_E4M3, MAX_E4M3).to(torch.float8_e4m3fn)


def e4m3_through_bf16(numbers: torch.Tensor) -> torch.Tensor:
    """As `e4m3`, after rounding to bf16: some numbers near the middle of two come out as the other one."""
    return e4m3(numbers.bfloat16())


def e4m3_nan_to_least(numbers: torch.Tensor) -> torch.Tensor:
    """As `e4m3`, but NaN becomes -448: a clamp by C's `fmaxf` and `fminf` gives the bound where a number is NaN."""
    return e4m3(numbers.float().nan_to_num(nan=-MAX_E4M3))


def nvfp4_divided(numbers: torch.Tensor) -> torch.Tensor:
    """The scale is greatest / 6, rounded to e4m3, and the code is the E2M1 number nearest to number / scale."""
    groups, greatest = _groups(numbers)
    scales = e4m3(greatest / MAX_E2M1)
    scale = scales.float()
    return _key(torch.where(scale == 0, 0.0, groups / scale), scales)


def nvfp4_by_reciprocals(numbers: torch.Tensor) -> torch.Tensor:
    """As `nvfp4_divided`, with products in place of quotients: fp32's nearest to 1/6, and to 1 / scale."""
    groups, greatest = _groups(numbers)
    scales = e4m3(greatest * torch.tensor(1 / MAX_E2M1, dtype=torch.float32))
    scale = scales.float()
    return _key(torch.where(scale == 0, 0.0, groups * scale.reciprocal()), scales)


def nearest_e2m1(numbers: torch.Tensor) -> torch.Tensor:
    """uint8, the codes of the nearest E2M1 numbers, ties to the even code; 6 at most, and 6 for NaN."""
    size = numbers.abs()
    codes = torch.zeros_like(size, dtype=torch.uint8)
    for code, middle in enumerate(MIDDLES_E2M1):  # the middle itself goes to the even code
        codes += size >= middle if code % 2 else size > middle
    codes += 8 * numbers.signbit()
    return codes.masked_fill_(numbers.isnan(), 7)


def _groups(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(numbers [..., D/16, 16] float32, the greatest magnitude of each group [..., D/16, 1], NaN passed over)."""
    groups = numbers.float().reshape(*numbers.shape[:-1], numbers.shape[-1] // GROUP, GROUP)
    return groups, groups.abs().nan_to_num(nan=0.0, posinf=torch.inf).amax(-1, keepdim=True)


def _key(quotients: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """[..., D/2 + D/16] uint8 of quotients [..., D/16, 16] and e4m3 scales [..., D/16, 1]."""
    codes = nearest_e2m1(quotients).flatten(-2)
    return together(codes[..., ::2] | codes[..., 1::2] << 4, scales.view(torch.uint8).flatten(-2))


WRITERS = {
    writer.name: writer
    for writer in (
        Writer("e4m3", "float8_e4m3fn", e4m3),
        Writer("e4m3 through bf16", "float8_e4m3fn", e4m3_through_bf16),
        Writer("e4m3, NaN to -448", "float8_e4m3fn", e4m3_nan_to_least),
        Writer("nvfp4, divided", "nvfp4", nvfp4_divided),
        Writer("nvfp4, by reciprocals", "nvfp4", nvfp4_by_reciprocals),
    )
}
"""Every writer, by name."""

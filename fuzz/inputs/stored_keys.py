"""Keys as a format stores them: numbers of a family of values, written so that as many as possible come back."""

import numpy as np
import torch

from fuzz.values.rng import Stream
from msa_ref.formats import ElementFormat
from msa_ref.nvfp4 import E2M1, GROUP, apart, together
from msa_ref.writers import e4m3, nearest_e2m1, nvfp4_divided

SCALE_OF_NAN = 0x7F


def stored(numbers: torch.Tensor, row: ElementFormat) -> torch.Tensor:
    """Keys [..., D] float32 as tensors of a format hold them.

    In NVFP4 sixteen neighbours share a scale: they come back exactly where some scale makes all of them E2M1 numbers,
    as 0 to 4 are, and rounded elsewhere. A NaN makes NaN of its group.
    """
    return _nvfp4(numbers) if row.numbers else numbers.to(row.dtype)


def _nvfp4(numbers: torch.Tensor) -> torch.Tensor:
    codes, scales = (part.clone() for part in apart(nvfp4_divided(numbers)))
    groups = numbers.reshape(-1, GROUP)
    greatest = groups.abs().nan_to_num(nan=0.0).amax(-1)
    group_codes, group_scales = codes.view(-1, GROUP // 2), scales.view(-1)
    is_rounded = torch.ones_like(greatest, dtype=torch.bool)
    for size in reversed(E2M1[1:]):  # the scale at which the greatest has this code
        scale = greatest / size
        tried = (is_rounded & (scale > 0) & (e4m3(scale).float() == scale)).nonzero()[:, 0]
        sizes, scale = groups[tried].abs(), scale[tried]
        written = nearest_e2m1(groups[tried] / scale[:, None])
        is_exact = (torch.tensor(E2M1)[(written & 7).long()] * scale[:, None] == sizes).all(-1)
        exact, written = tried[is_exact], written[is_exact]
        group_codes[exact] = written[:, ::2] | written[:, 1::2] << 4
        group_scales[exact] = e4m3(scale[is_exact]).view(torch.uint8)
        is_rounded[exact] = False
    group_scales.masked_fill_(groups.isnan().any(-1), SCALE_OF_NAN)
    return together(codes, scales)


def any_nvfp4_bytes(stream: Stream, size: tuple[int, ...], index_head_dim: int) -> torch.Tensor:
    """[*size, D/2 + D/16] uint8, any bytes; scales of NaN are rarer than other scales, and every byte comes."""
    codes = stream.integers(0, 255, (*size, index_head_dim // 2))
    scales = stream.integers(0, 255, (*size, index_head_dim // GROUP))
    is_nan = (scales % 128 == SCALE_OF_NAN) & (stream.integers(0, 7, scales.shape) > 0)
    return torch.from_numpy(np.concatenate([codes, np.where(is_nan, 0x7E, scales)], axis=-1).astype(np.uint8))


def hashed_nvfp4(integers: torch.Tensor, log2_scale: int) -> torch.Tensor:
    """Integers [..., D] of magnitude 4 at most, times a power of two, on their own device."""
    codes = torch.tensor([0, 2, 4, 5, 6], device=integers.device)[integers.abs().long()] + 8 * (integers < 0)
    scale = e4m3(torch.tensor(2.0**log2_scale)).view(torch.uint8).item()
    scales = torch.full((*integers.shape[:-1], integers.shape[-1] // GROUP), scale, device=integers.device)
    return together((codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8), scales.to(torch.uint8))

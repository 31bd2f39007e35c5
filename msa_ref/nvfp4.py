"""NVFP4 keys: E2M1 codes of four bits, and an e4m3 scale for each 16 elements of a key.

In a page of the cache a key of D elements is a row of D/2 + D/16 bytes: the codes, two in a byte and the lower
element in the lower four bits, and after them the scales. Some engines keep codes and scales in tensors apart. A
key's element is e4m3_rn_satfinite(e2m1 * scale): the product rounded to the nearest e4m3 number, ties to even, no
farther from 0 than 448. A scale whose code is NaN makes 16 NaN of any codes.

Source of the elements: OCP Microscaling Formats (MX) Specification 1.0, 5.3.3, for E2M1.
"""

import torch

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The number of each code from 0 to 7; codes 8 to 15 are the same with a minus sign."""
GROUP = 16
"""Elements that share a scale."""
MAX_E4M3 = 448.0


def row_bytes(index_head_dim: int) -> int:
    """Bytes of a key: D/2 of codes and D/16 of scales."""
    return index_head_dim // 2 + index_head_dim // GROUP


def apart(pages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [..., D/2] and scales [..., D/16] of keys [..., D/2 + D/16], all uint8. Views."""
    num_scales = pages.shape[-1] * 2 // (GROUP + 2)
    return pages[..., : -num_scales or None], pages[..., pages.shape[-1] - num_scales :]


def together(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Keys [..., D/2 + D/16] of codes [..., D/2] and scales [..., D/16], all uint8. A copy."""
    return torch.cat([codes, scales], dim=-1)


def values(pages: torch.Tensor) -> torch.Tensor:
    """[..., D] float32, the numbers of keys [..., D/2 + D/16] uint8."""
    codes, scales = apart(pages)
    nibbles = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2)
    elements = torch.tensor((*E2M1, *(-value for value in E2M1)), device=pages.device)[nibbles.long()]
    scale = scales.view(torch.float8_e4m3fn).float()
    products = elements * scale.repeat_interleave(GROUP, dim=-1)  # exact: 2 significant bits times 4
    return products.clamp(-MAX_E4M3, MAX_E4M3).to(torch.float8_e4m3fn).float()


def constant(value: float, index_head_dim: int) -> torch.Tensor:
    """[D/2 + D/16] uint8, a key all of whose elements are one e4m3 number: the code of 1, and the number as scale."""
    one = 0x22 if value >= 0 or value != value else 0xAA
    codes = torch.full((index_head_dim // 2,), one, dtype=torch.uint8)
    scales = torch.full((index_head_dim // GROUP,), abs(value)).to(torch.float8_e4m3fn).view(torch.uint8)
    return together(codes, scales)

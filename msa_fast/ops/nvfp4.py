"""Keys of NVFP4 pages, as the scorers take them. `msa_ref/nvfp4.py` says what the bytes mean."""

import torch
import triton
import triton.language as tl

from msa_fast.ops.launch_table import KEY_WORDS, architecture_of, number

MAX_E4M3 = tl.constexpr(448.0)
"""The greatest e4m3 number: greater products become it."""
WORD_DIM = 128
"""D of keys whose codes and scales are whole words of eight bytes: eight and one."""


def in_words(index_k_pages: torch.Tensor) -> torch.Tensor:
    """The pages as words of eight bytes [num_pages, S, 9] where they are NVFP4 and lie so; else the pages themselves.

    A view. A row of 72 bytes begins at a multiple of eight, not of 16.
    """
    pages, bytes_of_key = index_k_pages, WORD_DIM // 2 + WORD_DIM // 16
    is_nvfp4 = pages.dtype == torch.uint8 and pages.shape[2] == bytes_of_key and pages.stride(2) == 1
    is_nvfp4 = is_nvfp4 and bool(number(KEY_WORDS, architecture_of(pages.device)))
    places = pages.data_ptr(), pages.storage_offset(), pages.stride(0), pages.stride(1)
    return pages.view(torch.int64) if is_nvfp4 and all(place % 8 == 0 for place in places) else pages


@triton.jit
def nvfp4_keys(page_ptr, stride_s, stride_d, S: tl.constexpr, D: tl.constexpr):
    """fp16 [S, D], the keys of a page: e2m1 codes times the scale of their 16 elements, rounded to e4m3.

    page_ptr: to bytes, or to words of eight, which hold the codes of 16 elements or the scales of D = 128.
    A code's three bits of magnitude, put where an fp16 has its lowest exponent bits and its highest bit of
    fraction, are its number times 2^-14, subnormal one included. fp16 holds all products: they have six bits.
    """
    row = page_ptr + tl.arange(0, S)[:, None] * stride_s
    if page_ptr.dtype.element_ty == tl.int64:
        words = tl.load(row + tl.arange(0, D // 16)[None, :] * stride_d)
        nibbles = (words[:, :, None] >> (tl.arange(0, 16) * 4)[None, None, :]).to(tl.int16)
        scales = (tl.load(row + D // 16 * stride_d) >> (tl.arange(0, D // 16)[None, :] * 8)).to(tl.uint8)
    else:
        codes = tl.load(row + tl.arange(0, D // 2)[None, :] * stride_d)
        scales = tl.load(row + (D // 2 + tl.arange(0, D // 16))[None, :] * stride_d)
        nibbles = tl.reshape(tl.interleave(codes & 15, codes >> 4).to(tl.int16), (S, D // 16, 16))
    elements = ((nibbles & 7) << 9).to(tl.float16, bitcast=True) * 16384.0
    elements = tl.where((nibbles & 8) != 0, -elements, elements)
    scale = scales.to(tl.float8e4nv, bitcast=True).to(tl.float16)
    products = elements * scale[:, :, None]
    # By comparison, not by minimum and maximum, which would drop NaN.
    products = tl.where(products > MAX_E4M3, MAX_E4M3, products)
    products = tl.where(products < -MAX_E4M3, -MAX_E4M3, products)
    return tl.reshape(products, (S, D)).to(tl.float8e4nv).to(tl.float16)

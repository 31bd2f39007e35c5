"""Keys of NVFP4 pages, as the scorers take them. `msa_ref/nvfp4.py` says what the bytes mean."""

import triton
import triton.language as tl

MAX_E4M3 = tl.constexpr(448.0)
"""The greatest e4m3 number: greater products become it."""


@triton.jit
def nvfp4_keys(page_ptr, stride_s, stride_d, S: tl.constexpr, D: tl.constexpr):
    """fp16 [S, D], the keys of a page: e2m1 codes times the scale of their 16 elements, rounded to e4m3.

    A code's three bits of magnitude, put where an fp16 has its lowest exponent bits and its highest bit of
    fraction, are its number times 2^-14, subnormal one included.
    """
    row = page_ptr + tl.arange(0, S)[:, None] * stride_s
    codes = tl.load(row + tl.arange(0, D // 2)[None, :] * stride_d)
    scales = tl.load(row + (D // 2 + tl.arange(0, D // 16))[None, :] * stride_d)
    nibbles = tl.interleave(codes & 15, codes >> 4).to(tl.int16)
    elements = ((nibbles & 7) << 9).to(tl.float16, bitcast=True).to(tl.float32) * 16384.0
    elements = tl.where((nibbles & 8) != 0, -elements, elements)
    scale = scales.to(tl.float8e4nv, bitcast=True).to(tl.float32)
    products = tl.reshape(elements, (S, D // 16, 16)) * scale[:, :, None]
    # By comparison, not by minimum and maximum, which would drop NaN.
    products = tl.where(products > MAX_E4M3, MAX_E4M3, products)
    products = tl.where(products < -MAX_E4M3, -MAX_E4M3, products)
    return tl.reshape(products, (S, D)).to(tl.float8e4nv).to(tl.float16)

"""Mutants of how kernels read keys and queries of one byte: NVFP4 codes and scales, and e4m3 numbers."""

from fuzz.canaries.kernels.mutant import mutants_of

_keys = mutants_of("ops/nvfp4.py", "decode")
_dot = mutants_of("ops/dot.py", "decode")
_decode = mutants_of("ops/decode.py", "decode")
_prefill = mutants_of("ops/score.py", "prefill-apart")

_LAWS = ("Score", "Best", "Exact")

MUTANTS = [
    _keys(
        "nvfp4_words_whatever_the_page_stride",
        "Keys are read in words of eight bytes though a page does not begin at one.",
        "pages.storage_offset(), pages.stride(0), pages.stride(1)\n",
        "pages.storage_offset(), pages.stride(1)\n",
        ("Runs", *_LAWS),
        defect="D29",
    ),
    _keys(
        "nvfp4_pages_follow_each_other",
        "Keys that are read in words are taken to have no gap between their pages.",
        "return pages.view(torch.int64) if is_nvfp4 and all(place % 8 == 0 for place in places) else pages",
        "if is_nvfp4 and all(place % 8 == 0 for place in (*places[:2], places[3])):\n"
        "        row = pages.stride(1)\n"
        "        near = pages.as_strided(pages.shape, (pages.stride(0) // 8 * 8, row, 1), pages.storage_offset())\n"
        "        return near.view(torch.int64)\n"
        "    return pages",
        _LAWS,
        defect="D29",
    ),
    _keys(
        "nvfp4_words_of_four_bytes",
        "NVFP4 keys are read in words of eight bytes where they begin at multiples of four.",
        "all(place % 8 == 0 for place in places)",
        "all(place % 4 == 0 for place in places)",
        ("Runs", "Score", "Best"),
        defect="D29",
    ),
    _keys(
        "nvfp4_nibbles_swapped",
        "The upper four bits of a byte come first.",
        "tl.interleave(codes & 15, codes >> 4)",
        "tl.interleave(codes >> 4, codes & 15)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_words_swapped",
        "The upper four bytes of a word of codes come first.",
        "(tl.arange(0, 16) * 4)[None, None, :]",
        "((tl.arange(0, 16) ^ 8) * 4)[None, None, :]",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_scale_word_reversed",
        "The first scale is looked for in the highest byte of its word.",
        ">> (tl.arange(0, D // 16)[None, :] * 8)",
        ">> ((D // 16 - 1 - tl.arange(0, D // 16))[None, :] * 8)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_halves_apart",
        "A byte's upper code is taken for an element of the key's second half.",
        "tl.interleave(codes & 15, codes >> 4).to(tl.int16)",
        "tl.reshape(tl.trans(tl.join(codes & 15, codes >> 4), 0, 2, 1), (S, D)).to(tl.int16)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_scale_of_every_eighth",
        "Scales belong to elements that lie a stride apart, instead of to 16 neighbours.",
        "elements * scale[:, :, None]",
        "tl.reshape(tl.reshape(elements, (S, 16, D // 16)) * scale[:, None, :], (S, D // 16, 16))",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_scales_first",
        "A key's scales are looked for in front of its codes.",
        "codes = tl.load(row + tl.arange(0, D // 2)[None, :] * stride_d)\n"
        "        scales = tl.load(row + (D // 2 + tl.arange(0, D // 16))[None, :] * stride_d)",
        "codes = tl.load(row + (D // 16 + tl.arange(0, D // 2))[None, :] * stride_d)\n"
        "        scales = tl.load(row + tl.arange(0, D // 16)[None, :] * stride_d)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_not_saturated",
        "Products greater than 448 stay what they are.",
        "tl.reshape(products, (S, D)).to(tl.float8e4nv).to(tl.float16)",
        "tl.reshape(elements * scale[:, :, None], (S, D)).to(tl.float16)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_not_rounded",
        "Products are not rounded to e4m3.",
        "tl.reshape(products, (S, D)).to(tl.float8e4nv).to(tl.float16)",
        "tl.reshape(products, (S, D)).to(tl.float16)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_smallest_code_is_zero",
        "The subnormal code, 0.5, counts as 0.",
        "elements = tl.where((nibbles & 8) != 0, -elements, elements)",
        "elements = tl.where((nibbles & 7) == 1, 0.0, elements)\n"
        "    elements = tl.where((nibbles & 8) != 0, -elements, elements)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_sign_lost",
        "The sign of a code is not looked at.",
        "elements = tl.where((nibbles & 8) != 0, -elements, elements)",
        "elements = tl.where(nibbles < 0, -elements, elements)",
        _LAWS,
        defect="D50",
    ),
    _keys(
        "nvfp4_nan_scale_saturates",
        "A scale of NaN makes the greatest number, as a minimum does that drops NaN.",
        "products = tl.where(products > MAX_E4M3, MAX_E4M3, products)",
        "products = tl.minimum(products, MAX_E4M3)",
        _LAWS,
        defect="D50",
    ),
    _decode(
        "decode_native_unasked",
        "Decode gives e4m3 operands to the fp8 unit, which keeps 13 bits of a sum, though nobody asked for it.",
        'if product == "exact" else (NativeDecode(),)',
        "if batch.index_q.dtype != torch.float8_e4m3fn or batch.key_format.group > 1 else (NativeDecode(),)",
        _LAWS,
        defect="D54",
    ),
    _prefill(
        "prefill_native_unasked",
        "Prefill gives e4m3 operands to the fp8 unit, which keeps 13 bits of a sum, though nobody asked for it.",
        'if product == "exact" else NATIVE_SCORERS',
        "if batch.index_q.dtype != torch.float8_e4m3fn or batch.key_format.group > 1 else (NativePrefill(),)",
        _LAWS,
        defect="D54",
    ),
    _dot(
        "e4m3_as_e5m2",
        "The bytes of e4m3 operands are read as e5m2.",
        "        b = b.to(a.dtype)\n    if IS_INTERPRETED",
        "        b = b.to(tl.float8e5, bitcast=True).to(a.dtype)\n    if IS_INTERPRETED",
        _LAWS,
        target="prefill-apart",
        defect="D49",
    ),
    _dot(
        "e4m3_keys_as_e5m2",
        "The bytes of decode's e4m3 keys are read as e5m2.",
        "        a = a.to(b.dtype)\n",
        "        a = a.to(tl.float8e5, bitcast=True).to(b.dtype)\n",
        _LAWS,
        defect="D49",
    ),
    _dot(
        "e4m3_queries_lose_subnormals",
        "Subnormal e4m3 queries become 0.",
        "        q = q.to(tl.float16)\n",
        "        q = q.to(tl.float16)\n        q = tl.where(tl.abs(q) < 0.015625, 0.0, q).to(tl.float16)\n",
        _LAWS,
        defect="D49",
    ),
]

"""The table of element formats agrees with torch and with bytes read by hand, and a new format is one row more."""

import math
import random
from pathlib import Path

import pytest
import torch

from msa_ref import IndexerConfig, PagedBatch, index_topk
from msa_ref.formats import ELEMENTS, FORMAT_PAIRS, ElementFormat, FormatPair, format_of, format_pair
from msa_ref.nvfp4 import apart, together
from tests.support.byte_values import E2M1, e4m3, nearest_e4m3, nvfp4_key
from tests.support.edited_house import copy_house, run_in
from tests.support.naive import index_topk as naive_topk

E5M2 = """
        ElementFormat(
            name="float8_e5m2",
            short_name="e5m2",
            dtype=torch.float8_e5m2,
            bits=8,
            precision=3,
            max=57_344.0,
            min_normal=2.0**-14,
            subnormal_step=2.0**-16,
            has_infinities=True,
            has_nan=True,
            bounds=("any_order_fp32",),
        ),
"""
"""A row that no kernel serves yet."""
PROGRAM = """
from dataclasses import replace

import torch
from fuzz.cases.case import TAILS, Case, PagePlan, Request, ValuePlan
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import SMALL
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Undefined
from fuzz.targets import find
from fuzz.values.families import FAMILIES
from msa_ref import IndexerConfig, index_topk
from msa_ref.certified import certify
from msa_ref.precision import any_order_fp32, bound_for
from msa_ref.profile import CONTRACT

e5m2 = torch.float8_e5m2
assert e5m2 in CONTRACT.dtypes
assert bound_for(e5m2, 128) == any_order_fp32(128)
drawn = list(gate_cases(1, 60, replace(SMALL, dtypes=("float8_e5m2",))))
assert all(-16 <= case.values.log2_scale <= 12 for case in drawn)
assert all(Scene(case, "cpu").batch.index_q.dtype == e5m2 for case in drawn)
for family in FAMILIES:
    for tail in TAILS:
        values = ValuePlan(family, is_future_best=not FAMILIES[family].is_on_device)
        pages = PagePlan(tail=tail, spare_pages=1)
        requests = (Request(3, 150), Request(2, 40))
        case = Case(IndexerConfig(2, 16, 16, 3), requests, 1, "float8_e5m2", values, pages)
        batch = Scene(case, "cpu").batch
        assert not certify(batch, index_topk(batch)).violations, family
for name in ("prefill", "decode"):
    verdict = Examiner(Scene(case, "cpu")).examine(find(name))
    assert verdict == Undefined("index_q must be bf16, fp16, fp32, e4m3 or nvfp4 for the kernels; got e5m2"), verdict
print("judged", len(FAMILIES), "families")
"""


PLAIN = [row for row in ELEMENTS.values() if row.is_for_queries]


@pytest.mark.parametrize("row", PLAIN, ids=[row.name for row in PLAIN])
def test_a_format_is_as_torch_has_it(row: ElementFormat) -> None:
    info = torch.finfo(row.dtype)
    assert (row.bits, row.max, row.min_normal) == (info.bits, info.max, info.smallest_normal)
    assert info.eps == 2.0 ** (1 - row.precision)
    assert row.subnormal_step == info.smallest_normal * info.eps
    extremes = torch.tensor([torch.inf, torch.nan], dtype=row.dtype).float()
    assert (bool(extremes[0].isinf()), bool(extremes[1].isnan())) == (row.has_infinities, row.has_nan)
    assert row.max / 2 < row.max_power <= row.max
    assert format_of(row.dtype) is row


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="index_q must be bf16, fp16, fp32, e4m3 or nvfp4"):
        format_of(torch.float64, "index_q")


def test_a_new_format_is_one_row(tmp_path: Path) -> None:
    file = copy_house(tmp_path) / "msa_ref" / "formats.py"
    rows, end, rest = file.read_text().partition("    )\n}\n")
    file.write_text(rows + E5M2.lstrip("\n") + end + rest)
    assert run_in(tmp_path, PROGRAM).startswith("judged")


def same_numbers(got: torch.Tensor, expected: list[float]) -> bool:
    """True if numbers are equal, the signs of zeros and NaN included."""
    exact = torch.tensor(expected, dtype=torch.float32)
    is_same = torch.where(exact.isnan(), got.isnan(), (got == exact) & (got.signbit() == exact.signbit()))
    return bool(is_same.all())


ALL_BYTES = torch.arange(256, dtype=torch.uint8)


def test_e4m3_bytes_mean_what_their_bits_say() -> None:
    got = ELEMENTS["float8_e4m3fn"].values(ALL_BYTES.view(torch.float8_e4m3fn))
    assert same_numbers(got, [e4m3(byte) for byte in range(256)])
    assert [byte for byte in range(256) if math.isnan(e4m3(byte))] == [0x7F, 0xFF]


def test_an_nvfp4_element_is_the_rounded_product_of_code_and_scale() -> None:
    """All 16 codes with all 256 scales: a key for each scale, its elements the codes in order."""
    codes = torch.tensor([0x10 + 0x22 * pair for pair in range(8)], dtype=torch.uint8).expand(256, 8)
    got = ELEMENTS["nvfp4"].values(torch.cat([codes, ALL_BYTES[:, None]], dim=-1))
    expected = [nearest_e4m3(code * e4m3(scale)) for scale in range(256) for code in E2M1]
    assert same_numbers(got.flatten(), expected)
    assert got.abs().nan_to_num(0).max() == 448


def test_nvfp4_codes_lie_low_half_first_and_each_scale_has_its_sixteen() -> None:
    """Every element of a key of 64, alone, and every scale alone."""
    for element in range(64):
        row = torch.zeros(36, dtype=torch.uint8)
        row[element // 2] = 0x2 if element % 2 == 0 else 0x20
        row[32 + element // 16] = 0x40  # 2.0
        got = ELEMENTS["nvfp4"].values(row)
        assert got.nonzero().flatten().tolist() == [element]
        assert got[element] == 2.0
    with_nan = torch.zeros(36, dtype=torch.uint8)
    with_nan[33] = 0x7F
    assert ELEMENTS["nvfp4"].values(with_nan).isnan().nonzero().flatten().tolist() == list(range(16, 32))


def test_an_nvfp4_key_is_as_read_by_hand_in_both_layouts() -> None:
    rows = torch.randint(0, 256, (40, 2, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    codes, scales = apart(rows)
    assert codes.shape == (40, 2, 64)
    assert scales.shape == (40, 2, 8)
    assert torch.equal(together(codes.contiguous(), scales.contiguous()), rows)
    got = ELEMENTS["nvfp4"].values(rows)
    assert same_numbers(got.flatten(), [number for row in rows.flatten(0, 1).tolist() for number in nvfp4_key(row)])


@pytest.mark.parametrize("row", ELEMENTS.values(), ids=ELEMENTS.keys())
@pytest.mark.parametrize("number", [0.0, 1.5, -3.0, 1e9, -math.inf, math.nan])
def test_a_vector_of_one_number_holds_the_nearest_there_is(row: ElementFormat, number: float) -> None:
    got = row.values(row.vector(number, 32))
    assert got.shape == (32,)
    assert row.vector(number, 32).shape == (row.row_len(32),)
    exact = torch.tensor(max(-row.top, min(row.top, number)) if number == number else number).to(torch.float64)
    expected = exact if row.short_name == "nvfp4" else exact.to(row.dtype).double()
    assert torch.equal(got.double().nan_to_num(7.0), expected.expand(32).nan_to_num(7.0))


def test_only_deployed_pairs_of_formats_make_a_batch() -> None:
    rows = {row.short_name: row for row in ELEMENTS.values()}
    allowed = {"bf16": ["bf16", "e4m3"], "fp16": ["fp16"], "fp32": ["fp32"], "e4m3": ["e4m3", "nvfp4"], "nvfp4": []}
    for queries, query_row in rows.items():
        for keys, key_row in rows.items():
            if keys in allowed[queries]:
                assert format_pair(query_row.dtype, key_row.dtype) == (query_row, key_row)
            else:
                with pytest.raises(ValueError, match=r"^index_(q|k_pages) must be [a-z0-9, ]+( or [a-z0-9]+)?"):
                    format_pair(query_row.dtype, key_row.dtype)
    with pytest.raises(ValueError, match=r"index_k_pages must be fp16 for fp16 queries; got torch\.bfloat16"):
        format_pair(torch.float16, torch.bfloat16)
    with pytest.raises(ValueError, match=r"index_q must be bf16, fp16, fp32 or e4m3; got torch\.uint8"):
        format_pair(torch.uint8, torch.uint8)


def batch_of(queries: str, keys: str, seed: int) -> PagedBatch:
    """Five requests in some formats: any bytes in queries and keys of eight bits, integers elsewhere."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    config = IndexerConfig(2, 16, 4, rng.randint(1, 3))
    q_row, k_row = ELEMENTS[queries], ELEMENTS[keys]

    def drawn(row: ElementFormat, *shape: int) -> torch.Tensor:
        size = (*shape, row.row_len(16))
        if row.bits == 8:
            return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator).view(row.dtype)
        return torch.randint(-8, 9, size, generator=generator).to(row.dtype)

    query_lens = [rng.randint(0, 3) for _ in range(5)]
    seq_lens = [rng.randint(query_len, 20) for query_len in query_lens]
    return PagedBatch(
        config,
        drawn(q_row, sum(query_lens), 2),
        drawn(k_row, 12, 4),
        torch.randint(0, 12, (5, 5), dtype=torch.int32, generator=generator),
        torch.tensor(seq_lens, dtype=torch.int32),
        torch.tensor([0, *query_lens], dtype=torch.int32).cumsum(0, dtype=torch.int32),
    ).validate()


@pytest.mark.parametrize("pair", FORMAT_PAIRS.values(), ids=FORMAT_PAIRS.keys())
def test_the_reference_agrees_with_the_naive_reading_in_every_pair(pair: FormatPair) -> None:
    for seed in range(20):
        batch = batch_of(pair.queries.name, pair.keys.name, seed)
        assert (batch.query_format, batch.key_format) == (pair.queries, pair.keys)
        assert index_topk(batch).tolist() == naive_topk(batch)


def test_nvfp4_keys_have_the_bytes_of_codes_and_scales() -> None:
    good = batch_of("float8_e4m3fn", "nvfp4", 0)
    parts = (good.block_table, good.seq_lens, good.cu_seqlens_q)
    with pytest.raises(ValueError, match="index_k_pages must have bytes of a key = 9 on axis 2; got 8"):
        PagedBatch(good.config, good.index_q, good.index_k_pages[..., :8], *parts)
    config = IndexerConfig(2, 8, 4, 2)
    with pytest.raises(ValueError, match="index_head_dim must be a multiple of 16 for nvfp4 keys; got 8"):
        PagedBatch(config, good.index_q[..., :8], good.index_k_pages, *parts)

"""The bounds hold for the bit-exact models of matrix units in the public package `mmasim`.

`pip install mmasim` (it builds a small C++ file on first import, so it wants a compiler); skipped without it.
"""

from fractions import Fraction
from functools import cache

import pytest
import torch

from msa_ref import IndexerConfig, PagedBatch, index_topk, magnitudes, precision, select_blocks
from msa_ref.certified import certify
from msa_ref.staged import stages

try:
    from mmasim import amd, nv_ptx
except Exception as error:
    pytest.skip(f"mmasim does not load: {error}", allow_module_level=True)

D = 128
UNITS = {
    "wgmma bf16": (precision.wgmma, torch.bfloat16, nv_ptx.WGMMA, "Hopper", "m64n8k16.f32.bf16.bf16"),
    "wgmma fp16": (precision.wgmma, torch.float16, nv_ptx.WGMMA, "Hopper", "m64n8k16.f32.f16.f16"),
    "tcgen05 bf16": (
        precision.tcgen05,
        torch.bfloat16,
        nv_ptx.TCGen05MMA,
        "Blackwell",
        "m64n8k16.kind::f16.f32.bf16.bf16",
    ),
    "tcgen05 fp16": (
        precision.tcgen05,
        torch.float16,
        nv_ptx.TCGen05MMA,
        "Blackwell",
        "m64n8k16.kind::f16.f32.f16.f16",
    ),
    "mma.sync Turing": (precision.mma_sync, torch.float16, nv_ptx.MMA, "Turing", "m16n8k8.f32.f16.f16.f32"),
    "mma.sync Ampere": (precision.mma_sync, torch.bfloat16, nv_ptx.MMA, "Ampere", "m16n8k16.f32.bf16.bf16.f32"),
    "mma.sync Hopper": (precision.mma_sync, torch.bfloat16, nv_ptx.MMA, "Hopper", "m16n8k16.f32.bf16.bf16.f32"),
    "mma.sync SM120": (precision.mma_sync, torch.bfloat16, nv_ptx.MMA, "RTX Blackwell", "m16n8k16.f32.bf16.bf16.f32"),
    "MFMA bf16": (precision.mfma, torch.bfloat16, amd.MFMA, "CDNA3", "f32_32x32x8_bf16"),
    "MFMA fp16": (precision.mfma, torch.float16, amd.MFMA, "CDNA3", "f32_32x32x8_f16"),
    "TF32 Ampere": (precision.tf32, torch.float32, nv_ptx.MMA, "Ampere", "m16n8k8.f32.tf32.tf32.f32"),
    "TF32 Hopper": (precision.tf32, torch.float32, nv_ptx.WGMMA, "Hopper", "m64n8k8.f32.tf32.tf32"),
    "fp8 Hopper": (precision.hopper_fp8, torch.float8_e4m3fn, nv_ptx.WGMMA, "Hopper", "m64n8k32.f32.e4m3.e4m3"),
    "fp8 Ada": (precision.ada_fp8, torch.float8_e4m3fn, nv_ptx.MMA, "Ada Lovelace", "m16n8k32.f32.e4m3.e4m3.f32"),
    "fp8 tcgen05": (
        precision.blackwell_fp8,
        torch.float8_e4m3fn,
        nv_ptx.TCGen05MMA,
        "Blackwell",
        "m64n8k32.kind::f8f6f4.f32.e4m3.e4m3",
    ),
}


def operands(kind: str, dtype: torch.dtype, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """[64, D] queries and keys: plain, of one sign, over many exponents, steep, or partly subnormal."""
    q, k = torch.randn(2, 64, D, generator=generator, dtype=torch.float64)
    wide = 6 if dtype in (torch.float8_e4m3fn, torch.float16) else 40
    if kind == "one sign":
        q, k = q.abs(), k.abs()
    elif kind == "wide":
        q = q * torch.randint(-wide, wide, q.shape, generator=generator).double().exp2()
    elif kind == "steep":  # one large product, the others where a unit of few or of many bits stops keeping them
        largest = 2.0**8 if dtype == torch.float8_e4m3fn else 1.0
        small = (0.5 + torch.rand(2, 64, D, generator=generator, dtype=torch.float64) / 2) * largest
        small[:, :32] *= 2.0**-6
        small[:, 32:] *= 2.0**-12
        q, k = small
        q[:, 0] = k[:, 0] = largest
    elif kind == "subnormal":
        q[:, ::3] *= torch.finfo(dtype).smallest_normal
    limit = torch.finfo(dtype).max
    return q.clamp(-limit, limit).to(dtype), k.clamp(-limit, limit).to(dtype)


@cache
def largest_share(name: str) -> float:
    """The largest error that the model of a unit makes, as a share of the bound."""
    make_bound, dtype, model, arch, shape_and_type = UNITS[name]
    unit, bound = model(arch, shape_and_type), make_bound(D)
    generator = torch.Generator().manual_seed(0)
    worst = Fraction(0)
    for kind in ("plain", "one sign", "wide", "steep", "subnormal"):
        q, k = operands(kind, dtype, generator)
        score = torch.zeros(64)
        for first in range(0, D, unit.k):
            score = unit.dpa(q[:, first : first + unit.k], k[:, first : first + unit.k], score)
        magnitude = (magnitudes.magnitudes(q, dtype) * magnitudes.magnitudes(k, dtype)).sum(-1)
        for row in range(64):
            pairs = zip(q[row].double().tolist(), k[row].double().tolist(), strict=True)
            exact = sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))
            allowed = Fraction(bound.relative) * Fraction(magnitude[row].item()) + Fraction(bound.absolute)
            worst = max(worst, abs(Fraction(score[row].item()) - exact) / allowed)
    return float(worst)


@pytest.mark.parametrize("name", UNITS)
def test_no_modelled_unit_exceeds_its_bound(name):
    assert largest_share(name) < 1


@pytest.mark.parametrize("name", UNITS)
def test_no_bound_is_looser_than_50_times_what_its_unit_reaches(name):
    assert largest_share(name) > 1 / 50


@pytest.mark.parametrize("name", [name for name in UNITS if "fp8" not in name])
def test_a_score_on_the_lattice_is_exact_in_every_model(name):
    _, dtype, model, arch, shape_and_type = UNITS[name]
    unit = model(arch, shape_and_type)
    q, k = torch.randint(-8, 9, (2, 256, D), generator=torch.Generator().manual_seed(1)).to(dtype)
    score = torch.zeros(256)
    for first in range(0, D, unit.k):
        score = unit.dpa(q[:, first : first + unit.k], k[:, first : first + unit.k], score)
    assert torch.equal(score.double(), (q.double() * k.double()).sum(-1))


def modelled_scores(batch: PagedBatch, unit) -> torch.Tensor:
    """[H, T, n] fp32 block scores of one request, from the model of a unit."""
    keys = batch.index_k_pages[batch.block_table[0].long()].flatten(0, 1)
    q, k = torch.broadcast_tensors(batch.index_q.transpose(0, 1)[:, :, None], keys)
    token_score = torch.zeros(q.shape[:-1])
    for first in range(0, D, unit.k):
        token_score = unit.dpa(q[..., first : first + unit.k], k[..., first : first + unit.k], token_score)
    is_seen = torch.arange(len(keys)) < batch.visible_lens()[:, None]
    return token_score.masked_fill(~is_seen, -torch.inf).unflatten(-1, (-1, batch.config.block_size)).amax(-1)


@pytest.mark.parametrize("name", ["wgmma bf16", "tcgen05 fp16", "mma.sync Ampere", "TF32 Hopper"])
def test_a_modelled_unit_is_never_accused_on_near_ties(name):
    """Keys are one key with its numbers in other orders, the query all ones: scores differ by rounding alone."""
    make_bound, dtype, model, arch, shape_and_type = UNITS[name]
    config = IndexerConfig(num_index_heads=2, index_head_dim=D, block_size=2, topk_blocks=6)
    generator = torch.Generator().manual_seed(2)
    differs = 0
    for _ in range(5):
        exponent = torch.randint(-6, 7, (D,), generator=generator)
        key = (torch.randn(D, generator=generator) * exponent.float().exp2()).to(dtype)
        pages = torch.stack([key[torch.randperm(D, generator=generator)] for _ in range(64)]).reshape(32, 2, D)
        batch = PagedBatch(
            config,
            torch.ones(3, 2, D, dtype=dtype),
            pages,
            torch.randperm(32, generator=generator).int()[None],
            torch.tensor([64], dtype=torch.int32),
            torch.tensor([0, 3], dtype=torch.int32),
        )
        score = modelled_scores(batch, model(arch, shape_and_type))
        topk_idx = select_blocks(score, batch.num_visible_blocks(), config)
        assert certify(batch, topk_idx, make_bound(D)).violations == []
        found = stages(batch, topk_idx, score, make_bound(D))
        assert (found.score, found.selection) == ([], [])
        differs += not torch.equal(topk_idx, index_topk(batch))
    assert differs > 0


if __name__ == "__main__":
    for name in UNITS:
        print(f"{name:16} {largest_share(name):.3f} of the bound")

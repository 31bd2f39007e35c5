"""Products in e4m3, which a caller must name: those of Hopper's unit, judged on its own interval."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fuzz.cases.case import Case, Request, ValuePlan
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke
from fuzz.targets import native_fp8
from fuzz.twin.finding import NotModelled
from fuzz.twin.matrix import unit_dot
from msa_fast import PrefillPlan, minimax_m3_index_decode_with_score, minimax_m3_index_score
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAImpl
from msa_fast.interpreter_fp8 import hopper_sums
from msa_fast.ops import decode, product
from msa_ref import IndexerConfig, PagedBatch
from msa_ref.matrix_units import UNITS, unit_product
from msa_ref.profile import CONTRACT, Profile
from tests.support.byte_batches import batch_of

E4M3 = torch.float8_e4m3fn
UNIT_OF = {"interpreter": "wgmma fp8", "sm_90": "wgmma fp8", "sm_100": "tcgen05 fp8", "sm_103": "tcgen05 fp8"}


def _batch(device: str, num_blocks: int = 12, dim: int = 64) -> PagedBatch:
    """One token of three heads on normal keys, whose sums 13 bits do not hold."""
    generator = torch.Generator().manual_seed(3)
    config = IndexerConfig(3, dim, 16, topk_blocks=3)
    query, pages = torch.randn(1, 3, dim, generator=generator), torch.randn(num_blocks, 16, dim, generator=generator)
    table, starts = torch.arange(num_blocks).int()[None], torch.tensor([0, 1]).int()
    tensors = (query.to(E4M3), pages.to(E4M3), table, torch.tensor([num_blocks * 16]).int(), starts)
    return PagedBatch(config, *(tensor.to(device) for tensor in tensors))


def test_both_scorers_have_the_bits_of_the_unit(device: str) -> None:
    batch = _batch(device)
    unit = UNITS[UNIT_OF[product.architecture_of(batch.device)]]
    keys = batch.index_k_pages.flatten(0, 1).cpu()
    expected = unit_product(batch.index_q[0].cpu(), keys, unit).view(3, 12, 16).amax(-1)
    _, by_decode = minimax_m3_index_decode_with_score(batch, 1, product="fp8")
    by_prefill = minimax_m3_index_score(batch, PrefillPlan.build(batch.config, [1], [192], device), product="fp8")
    for score in (by_decode, by_prefill):
        assert torch.equal(score[:, 0, :12].cpu(), expected)


def test_nobody_gets_products_in_e4m3_without_asking(device: str) -> None:
    batch = _batch(device)
    exact = (batch.index_q[0].double() @ batch.index_k_pages.flatten(0, 1).double().T).view(3, 12, 16).amax(-1)
    _, score = minimax_m3_index_decode_with_score(batch, 1)
    assert torch.equal(score[:, 0, :12].double(), exact)
    if UNIT_OF[product.architecture_of(batch.device)] == "wgmma fp8":
        _, coarse = minimax_m3_index_decode_with_score(batch, 1, product="fp8")
        assert not torch.equal(coarse[:, 0, :12].double(), exact)


def test_the_twin_multiplies_e4m3_by_the_fp8_unit_of_its_gpu_or_says_that_it_has_no_model() -> None:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(16, 64, generator=generator).to(E4M3) for _ in range(2))
    for architecture, name in (("sm_90", "wgmma fp8"), ("sm_100", "tcgen05 fp8")):
        product_of = unit_dot(architecture)
        got = product_of(a.float().numpy(), b.float().numpy().T, None, "f8E4M3FN")
        assert np.array_equal(got, unit_product(a, b, UNITS[name]).numpy())
    with pytest.raises(NotModelled, match="the twin has no bit model of products in f8E4M3FN"):
        unit_dot("sm_120")(a.float().numpy(), b.float().numpy().T, None, "f8E4M3FN")


@pytest.mark.parametrize("has_any_bytes", [False, True])
def test_the_interpreters_sums_are_the_bit_model(has_any_bytes: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(24, 96, generator=generator).to(E4M3) for _ in range(2))
    start = torch.randn(24, 24, generator=generator) if not has_any_bytes else torch.zeros(24, 24)
    if has_any_bytes:
        a, b = (torch.randint(0, 0x7F, (24, 96), generator=generator).byte().view(E4M3) for _ in range(2))
        a[0, 3] = torch.nan
    got = hopper_sums(a.float().numpy(), b.float().numpy().T, start.numpy())
    assert np.array_equal(got, unit_product(a, b, UNITS["wgmma fp8"], start).numpy(), equal_nan=True)


def test_a_sum_of_exactly_fourteen_bits_is_kept_whole() -> None:
    a, b = torch.zeros(1, 96), torch.zeros(96, 1)
    a[0, :3], b[:3, 0] = torch.tensor([448.0, 15.0, 7.5]), torch.tensor([18.0, 8.0, 1.0])
    assert hopper_sums(a.numpy(), b.numpy(), np.zeros((1, 1), dtype=np.float32)).item() == 8_191.5
    assert unit_product(a.to(E4M3), b.T.to(E4M3), UNITS["wgmma fp8"]).item() == 8_191.5


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("bfloat16", "float8_e4m3fn"), "product can be 'fp8' only for e4m3 queries and keys; got bf16 x e4m3"),
        (("float8_e4m3fn", "nvfp4"), "product can be 'fp8' only for e4m3 queries and keys; got e4m3 x nvfp4"),
    ],
)
def test_other_formats_are_refused(pair: tuple[str, str], words: str, device: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode.minimax_m3_index_decode(batch_of(pair, device, has_every_byte=False), 5, product="fp8")


def test_small_dims_other_names_and_gpus_without_the_unit_are_refused(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="product can be 'fp8' only for index_head_dim >= 32; got 16"):
        decode.minimax_m3_index_decode(_batch(device, dim=16), 1, product="fp8")
    with pytest.raises(ValueError, match="product must be one of exact, fp8; got 'fp4'"):
        decode.minimax_m3_index_decode(_batch(device), 1, product="fp4")
    monkeypatch.setattr(product, "architecture_of", lambda device: "gfx942")
    with pytest.raises(ValueError, match=r"product can be 'fp8' only on sm_90, .*; got gfx942"):
        decode.minimax_m3_index_decode(_batch(device), 1, product="fp8")


def test_the_impl_takes_a_product_by_name_with_the_suites_own_scorer(device: str) -> None:
    config, buffer = IndexerConfig(3, 64, 16, topk_blocks=3), torch.zeros(3, 8, 3, dtype=torch.int32, device=device)
    assert MiniMaxM3IndexerMSAImpl(config, buffer).product == "exact"
    assert MiniMaxM3IndexerMSAImpl(config, buffer, product="fp8").product == "fp8"
    with pytest.raises(ValueError, match="product must be one of exact, fp8; got 'fast'"):
        MiniMaxM3IndexerMSAImpl(config, buffer, product="fast")
    with pytest.raises(ValueError, match="product can be 'fp8' only with prefill_scorer='triton'"):
        MiniMaxM3IndexerMSAImpl(config, buffer, lambda batch, plan, out: out, product="fp8")


@pytest.mark.parametrize("target", [native_fp8.decode, native_fp8.prefill], ids=lambda target: target.name)
@pytest.mark.parametrize("family", ["model", "integers", "any_bytes"])
def test_products_in_e4m3_are_admissible_on_the_interval_of_their_unit(target, family: str, device: str) -> None:
    values = ValuePlan(family)
    requests = Request(1, 300), Request(2, 90)
    case = Case(IndexerConfig(2, 32, 16, topk_blocks=4), requests, dtype="float8_e4m3fn", values=values)
    verdict = Examiner(Scene(case, device)).examine(target)
    assert isinstance(verdict, Agreed), verdict


def test_a_profile_without_the_unit_accuses_hoppers_sums() -> None:
    case = Case(
        IndexerConfig(2, 64, 16, topk_blocks=4), (Request(1, 600),), dtype="float8_e4m3fn", values=ValuePlan("model")
    )
    strict = replace(native_fp8.decode, profile=replace(native_fp8.PROFILE, unit=None))
    examiner = Examiner(Scene(case, "cpu"))
    assert isinstance(examiner.examine(strict), Broke)
    assert isinstance(examiner.examine(native_fp8.decode), Agreed)


def test_a_profile_names_a_unit_that_has_a_bound() -> None:
    assert CONTRACT.has_one_answer
    assert not Profile(unit="hopper_fp8").has_one_answer
    with pytest.raises(ValueError, match=r"unit must be one of any_order_fp32, .*, or None; got 'tf33'"):
        Profile(unit="tf33")

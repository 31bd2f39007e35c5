"""Sizes that no array of fixed size holds: each is drawn by a gate of the default number of cases, inside promises."""

from collections import Counter

import pytest
import torch

from fuzz.cases.case import Case
from fuzz.cases.dimensions import DIMENSIONS
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.promised import outside
from fuzz.cases.rare_sizes import EVERY, RARE_SIZES
from fuzz.cases.scale import LARGE, SMALL, Scale
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from msa_ref.profile import Profile

OWN = Profile(
    name="MiniMax-M3's decode",
    num_index_heads=(4,),
    index_head_dims=(128,),
    block_sizes=(128,),
    topk_blocks=(16,),
    init_blocks=(0,),
    local_blocks=(1,),
    dtypes=(torch.bfloat16,),
    strides="contiguous",
    padding_rows="undefined",
)
SIZES = next(dimension for dimension in DIMENSIONS if dimension.name == "more than an array holds")


def _cases(scale: Scale, domain: Domain) -> list[Case]:
    count = DEFAULT_CASES["cuda" if scale.is_compiled else "cpu"]
    return list(gate_cases(DEFAULT_SEED, count, inside(scale, domain)))


@pytest.mark.parametrize("scale", [SMALL, LARGE], ids=lambda scale: scale.name)
def test_a_default_gate_draws_every_rare_size(scale: Scale) -> None:
    counts = Counter(bucket for case in _cases(scale, Domain()) for bucket in SIZES.of(case))
    assert not set(SIZES.buckets(scale)) - set(counts)


def test_decode_of_the_own_config_alone_meets_long_bands_and_many_requests() -> None:
    domain = Domain(OWN, is_decode=True)
    cases = _cases(SMALL, domain)
    assert not [case for case in cases if outside(case, OWN)]
    counts = Counter(bucket for case in cases for bucket in SIZES.of(case))
    assert min(counts["33 requests"], counts["2,049 blocks in a band"]) > 1


def test_every_rare_size_has_a_kind_that_is_drawn() -> None:
    for size in RARE_SIZES:
        assert all(size.kind in EVERY[scale] for scale in size.scales)

"""Kept cases are projected into what a target promises, where their point survives."""

from dataclasses import replace

import pytest
import torch

from fuzz.canaries import CANARIES
from fuzz.cases.case import Case, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.inside import Domain
from fuzz.cases.project import project
from fuzz.cases.promised import outside
from fuzz.corpus import entries
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Broke
from msa_ref import IndexerConfig
from msa_ref.profile import Profile

M3 = Domain(
    Profile(
        "M3",
        dtypes=(torch.bfloat16,),
        num_index_heads=(4,),
        index_head_dims=(128,),
        block_sizes=(128,),
        topk_blocks=(16,),
        init_blocks=(0,),
        local_blocks=(1,),
        max_query_len=8,
        strides="contiguous",
    )
)
SMALL_CASE = Case(IndexerConfig(1, 16, 16, 2, 0, 1), (Request(1, 33), Request(2, 17), Request(1, 0)))


def test_a_case_inside_stays_as_it_is() -> None:
    assert project(SMALL_CASE, Domain()) is SMALL_CASE


def test_lengths_are_kept_in_blocks_counted_from_the_slots() -> None:
    projected = project(SMALL_CASE, M3)
    assert projected.config == IndexerConfig()
    # One block more than slots, whose last holds one token; a query of which one token is in the second block.
    assert projected.requests == (Request(1, 16 * 128 + 1), Request(2, 15 * 128 + 1), Request(1, 0))


def test_longer_queries_are_cut_to_their_last_tokens() -> None:
    case = Case(IndexerConfig(2, 128, 128, 16, 0, 1), (Request(20, 300),))
    assert project(case, Domain(is_decode=True)).requests == (Request(8, 300),)


def test_replay_steps_change_as_before() -> None:
    step = Step((Request(1, 49), Request(2, 17), Request(1, 16)), is_remapped=True, between="eager")
    projected = project(replace(SMALL_CASE, replay=(step,)), M3)
    assert projected.replay[0].requests == (Request(1, 17 * 128 + 1), Request(2, 15 * 128 + 1), Request(1, 128))
    assert projected.replay[0].is_remapped


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            replace(SMALL_CASE, config=IndexerConfig(1, 16, 16, 2, 1, 1)),
            "init_blocks must have a value that the target",
        ),
        (replace(SMALL_CASE, values=ValuePlan("nonfinite")), "promises nothing for NaN"),
    ],
)
def test_a_point_that_does_not_survive_is_named(case: Case, sentence: str) -> None:
    finite = Domain(replace(M3.profile, nan="undefined", infinities="undefined"))
    with pytest.raises(ValueError, match=sentence):
        project(case, finite)


def test_views_become_contiguous_where_they_must() -> None:
    views = Views(index_q=ViewPlan(axes=(1, 0, 2)), extra_rows=3)
    projected = project(
        replace(SMALL_CASE, views=views), Domain(Profile("x", strides="contiguous", axes="token-major"))
    )
    assert projected.views == Views(out=ViewPlan(axes=(1, 0, 2)), extra_rows=3)


def test_most_kept_cases_still_show_their_defect_in_m3s_shape() -> None:
    shown = lost = 0
    for entry in entries().values():
        canary = CANARIES.get(entry.target.partition(":")[2])
        if canary is None or not canary.shows_in(M3.profile) or canary.needs:
            continue
        try:
            case = project(entry.case, M3)
        except ValueError:
            lost += 1
            continue
        assert outside(case, M3.profile) is None
        target = replace(canary.target, profile=M3.profile)
        is_shown = isinstance(Examiner(Scene(case, "cpu")).examine(target), Broke)
        shown, lost = shown + is_shown, lost + (not is_shown)
    assert shown >= 2 * lost
    assert shown > 20


def test_at_least_half_of_the_kept_cases_have_m3s_shape() -> None:
    shapes = [(entry.case.config.index_head_dim, entry.case.config.block_size) for entry in entries().values()]
    assert shapes.count((128, 128)) >= len(shapes) / 2

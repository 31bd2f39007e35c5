"""Whole kernels on the twin: right ones agree with the reference, and planted races are found, whatever the moments."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain
from multiprocessing import get_context

import pytest

from fuzz.cases.case import Case, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.commands.replay import NO_STRIP_OF_TWIN
from fuzz.commands.replay import replay as replayed
from fuzz.commands.twin_schedules import Place, run_task
from fuzz.commands.twin_schedules import Task as Schedules
from fuzz.corpus import entries
from fuzz.isolation.messages import Task
from fuzz.isolation.worker import Worker
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.targets import find
from fuzz.targets.twins import Twin
from fuzz.twin.options import ARCHITECTURES
from msa_ref import IndexerConfig
from tests.support import on_twin

DECODE = Case(
    config=IndexerConfig(),
    requests=(Request(1, 100), Request(1, 4000), Request(1, 2700), Request(1, 0)),
    seed=3,
    num_splits=(3,),
    replay=(Step((Request(1, 128 * 40), Request(1, 5), Request(1, 128 * 18), Request(1, 1)), is_remapped=True),),
)
PREFILL = Case(
    config=IndexerConfig(num_index_heads=3),
    requests=(Request(40, 40), Request(3, 128 * 19), Request(47, 47 + 128 * 20)),
    seed=4,
    num_splits=(1,),
    values=ValuePlan("few_values"),
)


BY_THREADS = Case(
    config=IndexerConfig(num_index_heads=2, index_head_dim=64, topk_blocks=4),
    requests=(Request(5, 700), Request(3, 300)),
    seed=6,
    dtype="float16",
    views=Views(index_k_pages=ViewPlan(axes=(0, 2, 1), pads=(0, 1, 0), offset=3)),
)
"""Keys that no copy takes: threads store each page, eight warps multiply it, and its memory is used again."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One process for all of the module's runs, so that kernels are compiled once."""
    with Worker() as worker:
        yield worker


@pytest.fixture(scope="module")
def compiler() -> Iterator[ProcessPoolExecutor]:
    """A process in which kernels are compiled and not interpreted, for all of the module's runs."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "0")
        pool.submit(os.getpid).result()  # it begins here
        patch.undo()
        yield pool


def verdict(worker: Worker, case: Case, target: str) -> Agreed | Broke | Undefined:
    ((_, found, _),) = worker.judge(Task(case, (target,), "cpu")).verdicts
    return found


@pytest.mark.parametrize("level", ["source", "compiled"])
@pytest.mark.parametrize("stage", ["decode", "prefill-apart"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_agree_on_the_twin(worker: Worker, architecture: str, stage: str, level: str) -> None:
    case = DECODE if stage == "decode" else PREFILL
    found = verdict(worker, case, f"twin-{architecture}+{level}/{stage}")
    if isinstance(found, Undefined):  # of a release that shows no such level
        assert "must be `source`" in found.reason
        return
    assert isinstance(found, Agreed), found


def test_level_that_a_release_cannot_show_accuses_no_kernel(compiler: ProcessPoolExecutor) -> None:
    reason = compiler.submit(on_twin.refused_level).result()
    assert reason == "level must be `source` with this release of Triton; got 'compiled'"


@pytest.mark.parametrize("stage", ["decode", "prefill-apart"])
@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"])
def test_barriers_that_lowering_adds_of_its_own_are_known(worker: Worker, architecture: str, stage: str) -> None:
    found = verdict(worker, BY_THREADS, f"twin-{architecture}/{stage}")
    assert isinstance(found, Agreed), found


@pytest.mark.parametrize("policy", ["late", "early", "random"])
@pytest.mark.parametrize(
    "mutant",
    [
        "sm90_phase_not_flipped",
        "sm90_slot_one_on",
        "decode_sm90_half_not_waited_for",
        "decode_sm90_phase_not_flipped",
        "decode_sm100_page_not_waited_for",
        "decode_sm100_product_not_waited_for",
        "decode_sm100_queries_in_the_slot_in_use",
        "sm100_page_freed_by_an_arrival",
        "sm100_queries_not_waited_for",
        "sm100_taken_before_it_is_loaded",
    ],
)
def test_planted_race_is_found_at_any_moment(worker: Worker, mutant: str, policy: str) -> None:
    case = DECODE if mutant.startswith("decode") else PREFILL
    architecture = "sm_100" if "sm100" in mutant else "sm_90"
    found = verdict(worker, case, f"twin-{architecture}+source+{policy}/fuzz.canaries:{mutant}")
    assert isinstance(found, Broke)
    assert {violation.how for violation in found.violations} == {"twin"}
    assert any(violation.evidence.startswith(("race", "deadlock")) for violation in found.violations)


def test_schedules_are_their_seeds_and_no_two_alike(worker: Worker) -> None:
    place = Place(Twin("sm_90", "source"), "decode")
    first, again = (run_task(worker, Schedules(place, 1, count)) for count in (3, 2))
    assert first.count == len(set(chain(*first.orders.values()))) == 3
    assert all(first.orders[kernel][: len(orders)] == orders for kernel, orders in again.orders.items())


def test_schedule_with_a_finding_names_its_seed(worker: Worker) -> None:
    place = Place(Twin("sm_90", "source"), "fuzz.canaries:sm90_phase_not_flipped")
    ((finding, command),) = run_task(worker, Schedules(place, 6, 2)).found.items()
    assert ", seed 6: Runs: " in finding
    assert command.endswith("--schedules 1 --seed 6 --arch sm_90 --level source --target " + place.name)


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100", "sm_120"])
def test_foreign_kernel_runs_on_the_twin(worker: Worker, architecture: str) -> None:
    config = IndexerConfig(2, 32, 16, 3, 0, 1)
    case = Case(config=config, requests=(Request(1, 50), Request(2, 17)), seed=5)
    foreign = f"twin-{architecture}/tests.support.foreign_indexer"
    assert isinstance(verdict(worker, case, f"{foreign}:in_bf16"), Agreed)
    unknown = verdict(worker, case, f"{foreign}:in_assembly")
    assert isinstance(unknown, Undefined)
    assert "the twin has no assembly on scalars" in unknown.reason


def test_replay_judges_a_twin_in_a_process_of_its_own() -> None:
    case = replace(BY_THREADS, dtype="bfloat16", views=Views(), values=ValuePlan("few_values"))
    assert replayed(case, find("twin-sm_90/prefill-apart"), "cpu").verdict == "agreed"
    broken = replayed(case, find("twin-sm_90/fuzz.canaries:highest_id_wins_ties"), "cpu")
    assert (broken.verdict, broken.unexplained) == ("broke", NO_STRIP_OF_TWIN)


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"])
def test_bits_are_those_of_the_matrix_unit(worker: Worker, architecture: str) -> None:
    case = replace(DECODE, requests=DECODE.requests[1:2], replay=(), values=ValuePlan("normal"))
    assert isinstance(verdict(worker, case, f"twin-{architecture}+bits/decode"), Agreed)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "bfloat16/float8_e4m3fn"])
def test_blackwells_decode_agrees_on_keys_of_one_byte(worker: Worker, dtype: str) -> None:
    assert isinstance(verdict(worker, replace(DECODE, dtype=dtype), "twin-sm_100+source/decode"), Agreed)


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "bfloat16/float8_e4m3fn"])
def test_a_ring_of_queries_waits_for_the_products_that_read_it(worker: Worker, architecture: str, dtype: str) -> None:
    case = replace(entries()["D46-decode_sm100_queries_while_multiplied"].case, dtype=dtype)
    assert isinstance(verdict(worker, case, f"twin-{architecture}+source/decode"), Agreed)


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100", "sm_120"])
def test_scores_are_the_matrix_units_to_the_bit(compiler: ProcessPoolExecutor, architecture: str) -> None:
    unlike = compiler.submit(on_twin.unlike_the_unit, architecture).result()
    assert len(unlike) == 8
    assert [name for name, (own, _) in unlike.items() if own] == []
    assert all(other for name, (_, other) in unlike.items() if name.endswith("in bf16")), "equal bits say nothing here"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("twin-sm_90", "must say what runs on the twin"),
        ("twin-sm_70/decode", "must be one of sm_90"),
        ("twin-sm_90+later/decode", "must be one of source, compiled, late"),
        ("twin-sm_90/nosuch", "must be one of reference"),
    ],
)
def test_twin_that_there_is_not_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find(name)


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_each_operation_that_orders_is_missed_or_a_barrier_of_the_compilers(
    compiler: ProcessPoolExecutor, stage: on_twin.Stage
) -> None:
    count, unneeded = compiler.submit(on_twin.unneeded, "sm_90", "source", stage).result()
    assert count > 10
    # Barriers between the loads and stores of the threads themselves, which every release adds where they are left out.
    assert len(unneeded) <= 3
    assert all("barrier at" in outcome.what and "wait" not in outcome.what for outcome in unneeded), unneeded


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_on_bytes_agree_on_the_twin(compiler: ProcessPoolExecutor, architecture: str) -> None:
    assert compiler.submit(on_twin.wrong_on_bytes, architecture, "source").result() == []


def test_ways_to_bring_operands_and_results_are_right_on_the_twin(compiler: ProcessPoolExecutor) -> None:
    assert compiler.submit(on_twin.wrong_on_blackwell, "sm_100").result() == []

"""The twin's machine: each of its rules finds the mistake that it is about, and accuses no right program."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from fuzz.twin.finding import Finding
from fuzz.twin.global_memory import GlobalMemory, Launch
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from fuzz.twin.matrix import exact_dot
from fuzz.twin.options import Level, Policy

POLICIES: tuple[Policy, ...] = ("late", "early", "random")
TILE = (16, 16)
BYTES = 16 * 16 * 4
NUM_WARPS = 4


class Tiles:
    """A tensor descriptor whose tiles hold the number that the copy names."""

    def read(self, at: list[int], shape: tuple[int, ...], place: str) -> np.ndarray[Any, Any]:
        return np.full(shape, at[0], np.float32).view(np.uint32)


def run(program: Callable[..., Any], policy: Policy, is_right: bool, level: Level = "compiled") -> None:
    """Run a program as it is, or with its mistake."""
    machine = Machine(1 << 16, level, policy, 1, exact_dot, has_waits=True, is_gluon=True)
    group = Group.fresh("the program", NUM_WARPS)
    machine.run(program(machine, group, is_right), group)


def page_and_barrier(m: Machine, g: Group, count: int = 1) -> tuple[Any, Any]:
    """A tile of shared memory, and an mbarrier that all warps know."""
    page, bar = m.local_alloc(TILE, "f32", 1024, "page"), m.local_alloc((1,), "i64", 0, "bar")
    m.init_barrier(g, bar, count, "init")
    m.barrier(g)
    return page, bar


def fetch(m: Machine, g: Group, page: Any, bar: Any, number: int = 1) -> None:
    m.expect(g, bar, BYTES, True, "expect")
    m.tensor_copy(g, Tiles(), [number, 0], page, bar, True, "copy")


# ---- one program for each rule. Left out where `is_right` is False: what the rule asks for. ----


def copy_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    assert (m.local_load(g, page, "load") == 1).all()
    yield from m.wait(g, bar, 0, True, "wait")


def slot_is_free_before_it_is_refilled(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0, True, "wait")
    m.local_load(g, page, "load")
    if is_right:
        m.barrier(g)
    # One thread announces the bytes without a barrier of its group, as a producer's warp does.
    m.mbarrier(g, bar, "expect").arrive(1, BYTES, g.knows[0], g.fenced[0], m.log.tell, "expect")
    m.tensor_copy(g, Tiles(), [2, 0], page, bar, True, "copy")
    yield from m.wait(g, bar, 1, True, "wait")


def store_is_fenced_before_a_product(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.local_store(g, np.ones(TILE, np.float32), page, "store")
    if is_right:
        m.fence(g)
    m.barrier(g)
    product = m.warp_group_dot(g, page, page, None, False, "f32", True, "product")
    m.wait_for_products(g, [product], 0)
    yield


def stores_of_all_warps_are_seen_by_a_product(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.local_store(g, np.ones(TILE, np.float32), page, "store")
    m.fence(g)
    if is_right:
        m.barrier(g)
    m.wait_for_products(g, [m.warp_group_dot(g, page, page, None, False, "f32", True, "product")], 0)
    yield


def product_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    ones = np.ones(TILE, np.float32)
    product = m.warp_group_dot(g, ones, ones, None, False, "f32", True, "product")
    yield
    if is_right:
        (product,) = m.wait_for_products(g, [product], 0)
    assert (np.fmax(product, 0) == 16).all()
    m.wait_for_products(g, [], 0)


def page_is_kept_until_a_product_is_done(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0, True, "wait")
    product = m.warp_group_dot(g, page, page, None, False, "f32", True, "product")
    (product,) = m.wait_for_products(g, [product], 0 if is_right else 1)
    m.barrier(g)
    fetch(m, g, page, bar, 2)
    yield from m.wait(g, bar, 1, True, "wait")
    m.wait_for_products(g, [product], 0)


def bytes_of_all_copies_are_expected(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    """Two copies may arrive at one barrier, if it expects the bytes of both."""
    page, bar = page_and_barrier(m, g)
    other = m.local_alloc(TILE, "f32", 1024 + BYTES, "other page")
    m.expect(g, bar, 2 * BYTES if is_right else BYTES, True, "expect")
    for number, target in enumerate((page, other)):
        m.tensor_copy(g, Tiles(), [number, 0], target, bar, True, "copy")
    yield from m.wait(g, bar, 0, True, "wait")
    assert (m.local_load(g, page, "load") == 0).all()
    assert (m.local_load(g, other, "load") == 1).all()


def barrier_has_turned_before_its_next_phase_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0, True, "wait")
    if is_right:
        fetch(m, g, page, bar, 2)
    yield from m.wait(g, bar, 1, True, "wait")


def every_phase_is_seen(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    barrier = m.mbarrier(g, bar, "arrival")
    barrier.arrive(1, 0, 0, 0, m.log.tell, "arrival")
    yield from m.wait(g, bar, 0, True, "wait")
    g.meet()  # the next arrival comes from one that knows of the wait, or from one that does not
    barrier.arrive(1, 0, g.knows[0] if is_right else 0, 0, m.log.tell, "arrival")
    yield from m.wait(g, bar, 1, True, "wait")


def no_more_arrivals_than_expected(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g, count=1)
    m.arrive(g, bar, 1 if is_right else 2, True, "arrival")
    yield from m.wait(g, bar, 0, True, "wait")


def barrier_is_initialised_for_all(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    bar = m.local_alloc((1,), "i64", 0, "bar")
    m.init_barrier(g, bar, 1, "init")
    if is_right:
        m.barrier(g)
    m.mbarriers[bar.low].arrive(1, 0, 0, 0, m.log.tell, "arrival")
    yield from m.wait(g, bar, 0, True, "wait")


def barrier_is_invalidated_between_phases(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    m.invalidate_barrier(g, bar, "end")
    yield


def nothing_is_in_flight_at_the_end(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")


def no_bytes_are_expected_in_vain(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    if is_right:
        fetch(m, g, page, bar)
        yield from m.wait(g, bar, 0, True, "wait")
    else:
        m.expect(g, bar, BYTES, True, "expect")
        yield


def group_of_copies_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.copy(g, page, np.ones(TILE, np.float32), "copy")
    m.commit_copies(g)
    m.wait_for_copies(g, 0 if is_right else 1)
    m.barrier(g)
    assert (m.local_load(g, page, "load") == 1).all()
    yield


def copies_of_other_warps_are_seen(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.copy(g, page, np.ones(TILE, np.float32), "copy")
    m.commit_copies(g)
    m.wait_for_copies(g, 0)
    if is_right:
        m.barrier(g)
    m.local_load(g, page, "load")
    yield


def scratch_memory_is_free(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    m.scratch(g, 0, 64, "one reduction")
    if is_right:
        m.barrier(g)
    m.scratch(g, 32, 96, "the next")
    yield


def accumulator_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d = m.tensor_alloc((128, 128), "f32", 0, "d")
    a = m.local_alloc((128, 16), "f32", 8192, "a")
    b = m.local_alloc((16, 128), "f32", 16384 + 8192, "b")
    for view in (a, b):
        m.local_store(g, 1.0, view, "store")
    m.fence(g)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    assert (m.tensor_load(g, d, "load") == 16).all()
    yield from m.wait(g, bar, 0, True, "wait")


def tensor_memory_is_read_before_it_is_written_again(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d, a = m.tensor_alloc((128, 128), "f32", 0, "d"), m.tensor_alloc((128, 16), "f32", 128, "a")
    b = m.local_alloc((16, 128), "f32", 8192, "b")
    m.local_store(g, 1.0, b, "store")
    m.fence(g)
    m.tensor_store(g, 1.0, a, True, "store")
    m.tensor_wait(g, True)
    m.tensor_load(g, d, "load")
    if is_right:
        m.tensor_wait(g, False)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    yield from m.wait(g, bar, 0, True, "wait")


def store_to_tensor_memory_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d, a = m.tensor_alloc((128, 128), "f32", 0, "d"), m.tensor_alloc((128, 16), "f32", 128, "a")
    b = m.local_alloc((16, 128), "f32", 8192, "b")
    m.local_store(g, 1.0, b, "store")
    m.fence(g)
    m.tensor_store(g, 1.0, a, True, "store")
    if is_right:
        m.tensor_wait(g, True)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    yield from m.wait(g, bar, 0, True, "wait")


def entry_exists(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    pages = m.local_alloc((3, *TILE), "f32", 0, "pages")
    m.local_load(g, pages.index(2 if is_right else 3, "index"), "load")
    yield


def allocation_fits_shared_memory(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    m.local_alloc((1,), "f32", (1 << 16) - (4 if is_right else 3), "page")
    yield


def allocation_fits_tensor_memory(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    m.tensor_alloc((128, 128), "f32", 384 if is_right else 385, "d")
    yield


def tile_has_the_layout_of_its_target(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    if not is_right:
        m.mismatch("copy")
    yield


def partitions_hand_over_by_barrier(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)

    def producer(other: Group) -> Iterator[Any]:
        m.local_store(other, np.ones(TILE, np.float32), page, "store")
        m.arrive(other, bar, 1, True, "arrival")
        yield

    def consumer() -> Iterator[Any]:
        if is_right:
            yield from m.wait(g, bar, 0, True, "wait")
        else:
            yield
        m.local_load(g, page, "load")

    yield from m.specialize(g, [(1, producer)], consumer())


RULES: dict[Callable[..., Any], str] = {
    copy_is_waited_for: "race",
    slot_is_free_before_it_is_refilled: "race",
    store_is_fenced_before_a_product: "fence",
    stores_of_all_warps_are_seen_by_a_product: "race",
    product_is_waited_for: "unwaited",
    page_is_kept_until_a_product_is_done: "race",
    bytes_of_all_copies_are_expected: "race",
    barrier_has_turned_before_its_next_phase_is_waited_for: "deadlock",
    every_phase_is_seen: "barrier",
    no_more_arrivals_than_expected: "barrier",
    barrier_is_initialised_for_all: "barrier",
    barrier_is_invalidated_between_phases: "barrier",
    nothing_is_in_flight_at_the_end: "in flight",
    no_bytes_are_expected_in_vain: "in flight",
    group_of_copies_is_waited_for: "race",
    copies_of_other_warps_are_seen: "race",
    scratch_memory_is_free: "race",
    accumulator_is_waited_for: "race",
    tensor_memory_is_read_before_it_is_written_again: "race",
    store_to_tensor_memory_is_waited_for: "race",
    entry_exists: "bounds",
    allocation_fits_shared_memory: "memory",
    allocation_fits_tensor_memory: "memory",
    tile_has_the_layout_of_its_target: "copy",
    partitions_hand_over_by_barrier: "race",
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("program", RULES, ids=lambda program: program.__name__)
def test_rule_accuses_no_right_program(program: Callable[..., Any], policy: Policy) -> None:
    run(program, policy, is_right=True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("program", RULES, ids=lambda program: program.__name__)
def test_rule_finds_its_mistake(program: Callable[..., Any], policy: Policy) -> None:
    with pytest.raises(Finding) as found:
        run(program, policy, is_right=False)
    assert found.value.kind == RULES[program], found.value


def launch(memory: GlobalMemory, number: int, is_early: bool = False) -> Launch:
    return Launch(memory, number, (2, 1, 1), is_early)


def test_address_in_no_tensor_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.arange(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    assert launch(memory, 1).load(start + 28, None, None, "i32", "load") == 7
    with pytest.raises(Finding, match="no tensor"):
        launch(memory, 1).load(start + 32, None, None, "i32", "load")


def test_store_of_two_programs_in_one_place_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    first = launch(memory, 1)
    first.begin((0, 0, 0))
    first.store(start, 1, None, "i32", "store")
    first.begin((1, 0, 0))
    first.store(start + 4, 1, None, "i32", "store")
    with pytest.raises(Finding, match="two programs"):
        first.store(start, 1, None, "i32", "store")
    second = launch(memory, 2)
    second.begin((1, 0, 0))
    second.store(start, 2, None, "i32", "store")  # another launch may
    assert tensor[0] == 2


def test_early_launch_that_does_not_wait_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    launch(memory, 1).store(start, 1, None, "i32", "store")
    waits = launch(memory, 2, is_early=True)
    waits.begin((0, 0, 0))
    waits.dependency_wait()
    assert waits.load(start, None, None, "i32", "load") == 1
    rushes = launch(memory, 2, is_early=True)
    rushes.begin((0, 0, 0))
    with pytest.raises(Finding, match="does not wait for the launch"):
        rushes.load(start, None, None, "i32", "load")

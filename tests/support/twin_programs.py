"""Small programs of the twin's machine, one for each of its rules: right, or without what the rule asks for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from fuzz.twin.tiles import Source

TILE = (16, 16)
BYTES = 16 * 16 * 4


def tile_of(number: float) -> Source:
    """A tile that holds one number."""
    return Source(lambda: None, lambda shape: np.full(shape, number, np.float32).view(np.uint32))


def page_and_barrier(m: Machine, g: Group, count: int = 1) -> tuple[Any, Any]:
    """A tile of shared memory, and an mbarrier that all warps know."""
    page, bar = m.local_alloc(TILE, "f32", 1024, "page"), m.local_alloc((1,), "i64", 0, "bar")
    m.init_barrier(g, bar, count, "init")
    m.barrier(g)
    return page, bar


def fetch(m: Machine, g: Group, page: Any, bar: Any, number: int = 1) -> None:
    m.expect(g, bar, BYTES, True, "expect")
    m.tensor_copy(g, tile_of(number), page, bar, True, "copy")


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
    m.fence(g)
    if is_right:
        m.barrier(g)
    # One thread announces the bytes without a barrier of its group, as a producer's warp does.
    m.mbarrier(g, bar, "expect").arrive(1, BYTES, g.knows[0], g.fenced[0], m.log.tell, "expect")
    m.tensor_copy(g, tile_of(2), page, bar, True, "copy")
    yield from m.wait(g, bar, 1, True, "wait")


def loads_are_fenced_before_a_slot_is_refilled(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0, True, "wait")
    m.local_load(g, page, "load")
    if is_right:
        m.fence(g)
    m.barrier(g)
    fetch(m, g, page, bar, 2)
    yield from m.wait(g, bar, 1, True, "wait")


def bytes_of_all_copies_are_expected(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    """Two copies may arrive at one barrier, if it expects the bytes of both."""
    page, bar = page_and_barrier(m, g)
    other = m.local_alloc(TILE, "f32", 1024 + BYTES, "other page")
    m.expect(g, bar, 2 * BYTES if is_right else BYTES, True, "expect")
    for number, target in enumerate((page, other)):
        m.tensor_copy(g, tile_of(number), target, bar, True, "copy")
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


def parity_of_a_phase_is_0_or_1(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0 if is_right else 2, True, "wait")


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
    loads_are_fenced_before_a_slot_is_refilled: "fence",
    bytes_of_all_copies_are_expected: "race",
    barrier_has_turned_before_its_next_phase_is_waited_for: "deadlock",
    parity_of_a_phase_is_0_or_1: "barrier",
    every_phase_is_seen: "barrier",
    no_more_arrivals_than_expected: "barrier",
    barrier_is_initialised_for_all: "barrier",
    barrier_is_invalidated_between_phases: "barrier",
    nothing_is_in_flight_at_the_end: "in flight",
    no_bytes_are_expected_in_vain: "in flight",
    group_of_copies_is_waited_for: "race",
    copies_of_other_warps_are_seen: "race",
    scratch_memory_is_free: "race",
    entry_exists: "bounds",
    allocation_fits_shared_memory: "memory",
    allocation_fits_tensor_memory: "memory",
    tile_has_the_layout_of_its_target: "copy",
    partitions_hand_over_by_barrier: "race",
}
"""Program -> the kind of finding that it is without what its rule asks for (`is_right` False)."""
